// A view of a page: a chart under its title, what is selected in it, its sentence and its doubts.

import { element } from "../dom";
import { BARS } from "./bodies/bars";
import type { Mouse, Place, Renderer, Phrase } from "./bodies/body";
import { GRID } from "./bodies/grid";
import { HEATMAP } from "./bodies/heatmap";
import { LINES } from "./bodies/lines";
import { PANELS } from "./bodies/panels";
import type { Charts, Selection } from "./bundle";
import type { Body, Chart } from "./chart";
import type { Store } from "./store";

/** Every type of body; a view is drawn by the type of its chart's and by nothing else. */
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
  root.setAttribute("role", "application"); // so that a screen reader hands the keys over
  Object.assign(root.dataset, { view: name, lmSuppressShortcuts: "true" });
  const title = element("h3", "", root);
  const drawing = element("div", "", root);
  const words = element("p", "stockformer-page-words", root);
  const notes = element("div", "stockformer-page-notes", root);
  let chart: Chart | undefined;
  let drawn: { type: Body["type"]; draw: (body: Body, where: Selection) => void } | undefined;

  const renderer = () => RENDERERS[chart!.body.type] as Renderer<Body>;
  const mouse: Mouse = {
    click: (place) => store.set(renderer().change(chart!.body, place, store.where)),
    hover: (place) => say(place ?? renderer().selected(chart!.body, store.where)),
  };
  const say = (place: Place) => words.replaceChildren(...renderer().words(chart!.body, place).map(rendered));

  store.follow(() => {
    const content = store.sample.views[name];
    const next = content && charts.of(content, store.where);
    root.hidden = next === undefined;
    if (content === undefined || next === undefined) return;
    if (next !== chart) tell(notes, next);
    chart = next;
    title.textContent = chart.title;
    root.setAttribute("aria-label", content.label);
    Object.assign(root.dataset, { horizontal: content.horizontal, vertical: content.vertical });
    if (drawn?.type !== chart.body.type) {
      drawing.replaceChildren();
      drawn = { type: chart.body.type, draw: renderer().make(drawing, mouse, signal) };
    }
    drawn.draw(chart.body, store.where);
    say(renderer().selected(chart.body, store.where));
  });
}

function rendered(phrase: Phrase): Node {
  if (typeof phrase === "string") return document.createTextNode(`${phrase} `);
  const around = element("span", "stockformer-page-swatch");
  const square = element("span", "", around);
  square.textContent = "■";
  square.style.color = phrase.color;
  around.append(` ${phrase.text} `);
  return around;
}

/** Caveats, notes, sentence and numbers below a picture; a number is explained on hover. */
function tell(root: HTMLElement, { summary, notes, caveats }: Chart): void {
  root.replaceChildren();
  for (const caveat of caveats) element("p", "stockformer-page-caveat", root).textContent = `⚠ ${caveat}`;
  for (const { text, detail } of notes) explained(element("p", "", root), text, detail);
  element("p", "", root).textContent = summary.verdict;
  const numbers = element("p", "stockformer-page-numbers", root);
  if (summary.subject && summary.findings.length) numbers.append(`${summary.subject}: `);
  summary.findings.forEach(({ name, value, formula, reading }, place) => {
    if (place) numbers.append(" · ");
    const words = `${name.replaceAll("_", " ")} ${value === null ? "not a number" : Number(value.toPrecision(3))}`;
    explained(numbers, words, `${name} = ${formula}. ${reading}`);
  });
}

function explained(parent: HTMLElement, text: string, detail: string): void {
  const word = element(detail ? "abbr" : "span", "", parent);
  word.textContent = text;
  if (detail) word.title = detail;
}
