// The explorer as a page: everything in it is linked, and nothing needs Python.

import "../grid.css";
import { element } from "../dom";
import { type Bundle, charts } from "./bundle";
import { controls, keyboard } from "./controls";
import "./page.css";
import { type Store, store } from "./store";
import { type Host, view } from "./view";

const KEYS =
  "With the focus on a part: arrows move what is selected, [ and ] the layer, h and H the head; " +
  "Home and End go to the first and the last day; Esc puts an enlarged part back, or selects no feature.";

/** Build the page of a bundle in `root` and return its state; it is gone when `signal` aborts. */
export function page(root: HTMLElement, bundle: Bundle, bytes: Uint8Array, signal: AbortSignal): Store {
  const around = element("div", "stockformer-page", root);
  const host: Host = { store: store(bundle), charts: charts(bundle, bytes), signal };
  const heading = element("h1", "", around);
  host.store.follow(() => (heading.textContent = host.store.sample.title));
  controls(host.store, around, signal);
  for (const { title, columns } of bundle.sections) {
    element("h2", "", around).textContent = title;
    const views = element("div", "stockformer-page-columns", around);
    for (const names of columns) {
      const column = element("div", "stockformer-page-column", views);
      for (const name of names) view(host, column, name);
    }
  }
  keyboard(host.store, around, signal);
  const about = element("footer", "", around);
  for (const line of [KEYS, ...bundle.about]) element("p", "", about).textContent = line;
  signal.addEventListener("abort", () => around.remove());
  return host.store;
}
