// Selectors and keys of a page.

import { choice, element } from "../dom";
import type { Selection } from "./bundle";
import { kindOf, sizes, type Store } from "./store";

const MEAN = "mean";

export function controls(store: Store, parent: HTMLElement, signal: AbortSignal): void {
  const bar = element("div", "stockformer-page-controls", parent);
  const titles = store.bundle.samples.map(({ title }) => title);
  const setSample = (value: string) => store.set({ sample: titles.indexOf(value) });
  const sample = titles.length > 1 ? choice(bar, "sample", titles, setSample, signal) : null;
  const kinds = () => store.sample.kinds;
  const setKind = (value: string) => store.set({ kind: kinds().find(({ title }) => title === value)!.name });
  const kind = choice(bar, "attention", [], setKind, signal);
  const layer = choice(bar, "layer", [], (value) => store.set({ layer: Number(value) }), signal);
  const head = choice(bar, "head", [], (value) => store.set({ head: value === MEAN ? null : Number(value) }), signal);
  store.follow(() => {
    const where = store.where;
    const size = sizes(store.sample, where.kind, where.layer);
    sample?.offer(titles, titles[where.sample]!);
    kind.offer(
      kinds().map(({ title }) => title),
      kindOf(store.sample, where.kind).title,
    );
    layer.offer(counting(size.layers), String(where.layer));
    head.offer([MEAN, ...counting(size.heads)], where.head === null ? MEAN : String(where.head));
  });
}

const counting = (length: number) => Array.from({ length }, (_, place) => String(place));

/** Keys on a view move the selection; a screen reader announces the move. */
export function keyboard(store: Store, root: HTMLElement, signal: AbortSignal): void {
  const live = element("div", "stockformer-live", root);
  live.setAttribute("aria-live", "polite");
  root.addEventListener(
    "keydown",
    (event) => {
      const view = (event.target as Element).closest<HTMLElement>(".stockformer-page-view");
      const elsewhere = view === null || (event.target as Element).closest("select, .stockformer-caption") !== null;
      if (elsewhere || event.ctrlKey || event.metaKey || event.altKey) return;
      const features = [...view.querySelectorAll<HTMLElement>("[data-name]")].map((bar) => bar.dataset["name"]!);
      const change = moved(store, event.key, view.dataset["horizontal"]!, view.dataset["vertical"]!, features);
      if (change === null) return;
      event.preventDefault();
      event.stopPropagation();
      store.set(change);
      live.textContent = view.querySelector(".stockformer-reading")?.textContent ?? "";
    },
    { signal },
  );
}

/** What a key changes, among features in this order; null for a key that does nothing. */
export function moved(
  store: Store,
  key: string,
  horizontal: string,
  vertical: string,
  features: readonly string[] = [],
): Partial<Selection> | null {
  const where = store.where;
  const size = sizes(store.sample, where.kind, where.layer);
  const step = (what: string, by: number): Partial<Selection> => {
    if (what === "layer" || what === "sample") return { [what]: where[what] + by };
    if (what === "head") {
      const place = (where.head === null ? 0 : where.head + 1) + by;
      const round = (place + size.heads + 1) % (size.heads + 1);
      return { head: round === 0 ? null : round - 1 };
    }
    if (what === "feature") {
      const place = where.feature === null ? 0 : features.indexOf(where.feature) + by;
      return { feature: features[Math.min(Math.max(place, 0), features.length - 1)] ?? null };
    }
    return what === "key" ? { key: where.key - by } : { query: where.query - by }; // days count backwards
  };
  switch (key) {
    case "ArrowLeft":
      return step(horizontal, -1);
    case "ArrowRight":
      return step(horizontal, 1);
    case "ArrowUp":
      return step(vertical, -1);
    case "ArrowDown":
      return step(vertical, 1);
    case "[":
      return step("layer", -1);
    case "]":
      return step("layer", 1);
    case "h":
      return step("head", 1);
    case "H":
      return step("head", -1);
    case "Home":
      return { query: size.queries - 1 };
    case "End":
      return { query: 0 };
    case "Escape":
      return { feature: null };
    default:
      return null;
  }
}
