// The explorer as a page: everything in it is linked, and nothing needs Python.

import "../grid.css";
import { element } from "../dom";
import { type Bundle, unpack } from "./bundle";
import { controls, keyboard } from "./controls";
import "./page.css";
import { store } from "./store";
import { predictionView, saliencyView } from "./views/bars";
import { differenceView, mapView } from "./views/cells";
import { gateView, poolingView, pricesView, rowView } from "./views/days";
import { gridView } from "./views/grid";
import type { Host } from "./views/section";

const KEYS =
  "With the focus on a part: arrows move what is selected, [ and ] the layer, h and H the head; " +
  "Home and End go to the first and the last day, Esc selects no feature.";

/** Build the page of a bundle in `root`; it is gone when `signal` aborts. */
export function page(root: HTMLElement, bundle: Bundle, bytes: Uint8Array, signal: AbortSignal): void {
  const around = element("div", "stockformer-page", root);
  const host: Host = { store: store(bundle), arrays: unpack(bundle, bytes), signal };
  const heading = element("h1", "", around);
  host.store.follow(() => {
    const titles = bundle.mode === "comparison" ? bundle.samples : [bundle.samples[host.store.where.sample]!];
    heading.textContent = titles.map(({ title }) => title).join(" and ");
  });
  controls(host.store, around, signal);
  const columns = Array.from({ length: 3 }, () => element("div", "stockformer-page-column"));
  const views = element("div", "stockformer-page-columns", around);
  views.append(...columns);
  if (bundle.mode === "comparison") comparison(host, columns);
  else explorer(host, columns, around);
  keyboard(host.store, around, signal);
  const about = element("footer", "", around);
  for (const line of [KEYS, ...bundle.about]) element("p", "", about).textContent = line;
  signal.addEventListener("abort", () => around.remove());
}

function explorer(host: Host, columns: HTMLElement[], around: HTMLElement): void {
  const [left, middle, right] = columns as [HTMLElement, HTMLElement, HTMLElement];
  mapView(host, left, 0);
  pricesView(host, left);
  rowView(host, middle);
  gateView(host, middle);
  poolingView(host, middle);
  predictionView(host, right);
  saliencyView(host, right);
  gridView(host, around);
}

function comparison(host: Host, columns: HTMLElement[]): void {
  const [left, middle, right] = columns as [HTMLElement, HTMLElement, HTMLElement];
  mapView(host, left, 0);
  rowView(host, left);
  predictionView(host, left);
  mapView(host, middle, 1);
  gateView(host, middle);
  poolingView(host, middle);
  differenceView(host, right);
  saliencyView(host, right);
}
