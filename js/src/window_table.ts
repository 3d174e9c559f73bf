// Windows as rows: a click on a header asks the kernel for another order, a click on a row for its window.

import type { AnyModel } from "@anywidget/types";
import { element } from "./dom";
import "./window_table.css";

interface Traits {
  titles: string[];
  names: string[];
  rows: string[][];
  windows: number[];
  order: string;
  descending: boolean;
  selected: number;
}

interface Context {
  model: AnyModel<Traits>;
  el: HTMLElement;
  signal: AbortSignal;
}

function render({ model, el, signal }: Context): void {
  const around = element("div", "stockformer-windows", el);
  const table = element("table", "", around);
  const head = element("tr", "", element("thead", "", table));
  const body = element("tbody", "", table);

  const show = () => {
    head.replaceChildren(...model.get("titles").map((title, column) => header(title, model.get("names")[column]!)));
    body.replaceChildren(...model.get("rows").map((row, place) => line(row, model.get("windows")[place]!)));
    select();
  };
  const header = (title: string, name: string) => {
    const cell = element("th");
    const button = element("button", "", cell);
    const sorted = name === model.get("order");
    button.textContent = sorted ? `${title} ${model.get("descending") ? "▼" : "▲"}` : title;
    cell.setAttribute("aria-sort", !sorted ? "none" : model.get("descending") ? "descending" : "ascending");
    button.addEventListener("click", () => model.send({ sort: name }), { signal });
    return cell;
  };
  const line = (row: string[], window: number) => {
    const made = element("tr");
    made.tabIndex = 0;
    made.dataset["window"] = String(window);
    made.append(...row.map((text) => Object.assign(element("td"), { textContent: text })));
    made.addEventListener("click", () => model.send({ window }), { signal });
    made.addEventListener("keydown", ({ key }) => key === "Enter" && model.send({ window }), { signal });
    return made;
  };
  const select = () => {
    for (const row of body.children as HTMLCollectionOf<HTMLElement>)
      row.setAttribute("aria-selected", String(row.dataset["window"] === String(model.get("selected"))));
    scroll();
  };
  /** Bring the selected row into the middle; `scrollIntoView` would scroll the notebook as well. */
  const scroll = () => {
    const row = body.querySelector<HTMLElement>("[aria-selected=true]");
    if (row) around.scrollTop = row.offsetTop - around.clientHeight / 2;
  };
  for (const trait of ["rows", "names", "order", "descending"] as const) model.on(`change:${trait}`, show);
  model.on("change:selected", select);
  const placed = new ResizeObserver(scroll); // it has no size before it is in the page
  placed.observe(around);
  signal.addEventListener("abort", () => {
    for (const trait of ["rows", "names", "order", "descending"] as const) model.off(`change:${trait}`, show);
    model.off("change:selected", select);
    placed.disconnect();
  });
  show();
}

export default { render };
