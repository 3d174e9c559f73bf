// The selection in the address of a page, so that a link shows the same.

import { element } from "../dom";
import type { Selection } from "./bundle";
import type { Store } from "./store";

const NUMBERS = ["layer", "query", "key"] as const;

/** Select what the address says, and let it say what is selected; what is not on the page is named in `root`. */
export function linked(store: Store, root: HTMLElement): void {
  const titles = store.bundle.samples.map(({ title }) => title);
  const note = element("p", "stockformer-page-note");
  note.setAttribute("role", "alert");
  const read = () => {
    const said = new URLSearchParams(location.hash.slice(1));
    store.set(selected(said, titles));
    const sample = said.get("sample");
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

/** What a fragment selects; what it does not say, or says wrongly, is left as it is. */
export function selected(said: URLSearchParams, titles: readonly string[]): Partial<Selection> {
  const change: Partial<Selection> = {};
  const number = (name: string) => (/^\d{1,6}$/.test(said.get(name) ?? "") ? Number(said.get(name)) : undefined);
  const sample = titles.indexOf(said.get("sample") ?? "");
  if (sample >= 0) change.sample = sample;
  const kind = said.get("kind");
  if (kind !== null) change.kind = kind;
  for (const name of NUMBERS) {
    const value = number(name);
    if (value !== undefined) change[name] = value;
  }
  const head = number("head");
  if (head !== undefined || said.get("head") === "mean") change.head = head ?? null;
  const feature = said.get("feature");
  if (feature !== null) change.feature = feature === "" ? null : feature;
  const log = said.get("log_colors");
  if (log !== null) change.log_colors = log === "true";
  return change;
}
