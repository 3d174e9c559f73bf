// A view of a page: a chart between its title and its caption.

import { caption } from "../caption";
import { element } from "../dom";
import { enlarger } from "../enlarger";
import { BARS } from "./bodies/bars";
import type { Mouse, Renderer } from "./bodies/body";
import { GRID } from "./bodies/grid";
import { HEATMAP } from "./bodies/heatmap";
import { LINES } from "./bodies/lines";
import { PANELS } from "./bodies/panels";
import type { Charts, Selection } from "./bundle";
import type { Body, Chart } from "./chart";
import type { Store } from "./store";

/** A renderer per type of body; a view is drawn by the type of its chart's body alone. */
const RENDERERS = { Lines: LINES, Bars: BARS, Heatmap: HEATMAP, Panels: PANELS, Grid: GRID };

export interface Host {
  store: Store;
  charts: Charts;
  signal: AbortSignal;
}

/** Draw a view by its name, in whatever sample is selected. */
export function view({ store, charts, signal }: Host, parent: HTMLElement, name: string): void {
  const root = element("section", "stockformer-page-view", parent);
  root.tabIndex = 0;
  root.setAttribute("role", "application"); // so that a screen reader passes keys on
  Object.assign(root.dataset, { view: name, lmSuppressShortcuts: "true" });
  const { label } = store.bundle.samples.flatMap(({ views }) => views[name] ?? [])[0]!;
  root.setAttribute("aria-label", label);
  const title = element("h3", "stockformer-title", root);
  const drawing = element("div", "", root);
  let chart: Chart | undefined;
  let drawn: { type: Body["type"]; draw: (body: Body, where: Selection) => void } | undefined;

  const renderer = () => RENDERERS[chart!.body.type] as Renderer<Body>;
  const mouse: Mouse = {
    click: (place) => store.set(renderer().change(chart!.body, place, store.where)),
    hover: (place) => (place === null ? readOut() : text.read(renderer().words(chart!.body, place), true)),
    choose: (change) => store.set(change),
  };
  const text = caption(root, () => text.fill(renderer().table(chart!.body)), signal);
  const putBack = enlarger(root, label, signal);
  const readOut = () => text.read(renderer().words(chart!.body, renderer().selected(chart!.body, store.where)), false);

  store.follow(() => {
    const content = store.sample.views[name];
    const next = content && charts.of(content, store.where);
    root.hidden = next === undefined;
    if (content === undefined || next === undefined) return putBack();
    const unchanged = next === chart;
    chart = next;
    if (!unchanged) text.tell(chart);
    title.textContent = chart.title;
    const { horizontal, vertical } = content;
    Object.assign(root.dataset, { horizontal, vertical, body: chart.body.type });
    if (drawn?.type !== chart.body.type) {
      drawing.replaceChildren();
      drawn = { type: chart.body.type, draw: renderer().make(drawing, mouse, signal) };
    }
    drawn.draw(chart.body, store.where);
    readOut();
  });
}
