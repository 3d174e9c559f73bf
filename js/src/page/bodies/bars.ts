// Named bars, as elements: they wrap, and a screen reader reads them.

import { element } from "../../dom";
import type { Bars } from "../chart";
import { changeOn, nameOf, placeOn, type Renderer, rowsOf } from "./body";

export const BARS: Renderer<Bars> = {
  make(root, mouse, signal) {
    const list = element("div", "stockformer-page-bars", root);
    return (body, where) => {
      const focused = [...list.children].indexOf(document.activeElement!);
      const selected = placeOn(body.names, body.names.sets, where);
      list.replaceChildren(
        ...body.names.names.map((_, place) => {
          const bar = row(body, place, selected);
          bar.addEventListener("click", () => mouse.click([place]), { signal });
          bar.addEventListener("mouseenter", () => mouse.hover([place]), { signal });
          bar.addEventListener("mouseleave", () => mouse.hover(null), { signal });
          return bar;
        }),
      );
      if (focused >= 0) (list.children[focused] as HTMLElement | undefined)?.focus();
    };
  },
  selected: (body, where) => [placeOn(body.names, body.names.sets, where)],
  change: (body, [place], where) => changeOn(body.names, place!, where),
  words: ({ names, words }, [place]) => {
    if (place! < 0) return names.sets === "feature" ? [["no feature is selected"]] : [];
    return [[nameOf(names, place!), words[place!]!]];
  },
  table: ({ names, scale, words }) =>
    rowsOf([names.label, scale.label], words.length, (place) => [nameOf(names, place), words[place]!]),
};

/** One bar: a button where a click on it selects. */
function row(body: Bars, place: number, selected: number): HTMLElement {
  const selects = Object.keys(changeOn(body.names, place, NOWHERE)).length > 0;
  const bar = element(selects ? "button" : "div", "stockformer-page-bar-row");
  bar.dataset["name"] = body.names.names[place]!;
  bar.title = nameOf(body.names, place);
  bar.dataset["lmSuppressShortcuts"] = "true";
  if (selects) bar.setAttribute("aria-pressed", String(place === selected));
  element("span", "stockformer-page-bar-name", bar).textContent = body.names.names[place]!;
  const track = element("span", "stockformer-page-bar-track", bar);
  const { low, high } = body.scale;
  const share = (value: number) => (100 * (value - low)) / (high - low || 1);
  const value = Number.isFinite(body.values[place]) ? body.values[place]! : 0;
  const stripe = element("span", "stockformer-page-bar-stripe", track);
  stripe.style.left = `${Math.min(share(value), share(0))}%`;
  stripe.style.width = `${Math.abs(share(value) - share(0))}%`;
  stripe.style.background = body.colors[place]!;
  const dot = body.dots?.[place];
  if (dot !== undefined && Number.isFinite(dot)) {
    const circle = element("span", "stockformer-page-bar-dot", track);
    circle.style.left = `${share(dot)}%`;
    circle.style.borderColor = body.dots_color;
  }
  element("span", "stockformer-page-bar-value", bar).textContent = body.words[place]!;
  return bar;
}

const NOWHERE = { sample: 0, kind: "", layer: 0, head: null, query: 0, key: 0, feature: null, log_colors: false };
