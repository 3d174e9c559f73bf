// The selection in the address of a page, so that a link shows the same.

import { element } from "../dom";
import type { Selection } from "./bundle";
import type { Store } from "./store";

const NUMBERS = ["layer", "query", "key"] as const;

/** Keep selection and address in line; a note in `root` names a sample that the page lacks. */
export function linked(store: Store, root: HTMLElement): void {
  const titles = store.bundle.samples.map(({ title }) => title);
  const note = element("p", "stockformer-page-note");
  note.setAttribute("role", "alert");
  const read = () => {
    const fragment = new URLSearchParams(location.hash.slice(1));
    store.set(selected(fragment, titles));
    const sample = fragment.get("sample");
    const missing = sample !== null && !titles.includes(sample);
    note.textContent = missing ? `There is no ${sample} on this page: this is ${store.sample.title}.` : "";
    if (missing) root.prepend(note);
    else note.remove();
  };
  read();
  store.follow(() => history.replaceState(null, "", `#${written(store.where, titles)}`));
  addEventListener("hashchange", read);
}

/** A selection as the fragment of an address; the sample by its title. */
export function written(where: Selection, titles: readonly string[]): string {
  const fields = { ...where, sample: titles[where.sample]!, head: where.head ?? "mean", feature: where.feature ?? "" };
  return new URLSearchParams(Object.entries(fields).map(([name, value]) => [name, String(value)])).toString();
}

/** What a fragment selects; missing or invalid fields are left as they are. */
export function selected(fragment: URLSearchParams, titles: readonly string[]): Partial<Selection> {
  const change: Partial<Selection> = {};
  const number = (name: string) =>
    /^\d{1,6}$/.test(fragment.get(name) ?? "") ? Number(fragment.get(name)) : undefined;
  const sample = titles.indexOf(fragment.get("sample") ?? "");
  if (sample >= 0) change.sample = sample;
  const kind = fragment.get("kind");
  if (kind !== null) change.kind = kind;
  for (const name of NUMBERS) {
    const value = number(name);
    if (value !== undefined) change[name] = value;
  }
  const head = number("head");
  if (head !== undefined || fragment.get("head") === "mean") change.head = head ?? null;
  const feature = fragment.get("feature");
  if (feature !== null) change.feature = feature === "" ? null : feature;
  const log = fragment.get("log_colors");
  if (log !== null) change.log_colors = log === "true";
  return change;
}
