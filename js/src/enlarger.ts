// A button in the corner of a view that gives it the place of the columns around it; the button or Escape puts it back.

import { drawIcon, element } from "./dom";
import "./enlarger.css";

const CORNERS = "M9 2.5h4.5V7M13 3 9 7M7 13.5H2.5V9M3 13l4-4";
const COLUMNS = ":is(.stockformer-columns, .stockformer-page-columns)";

/** Add the button to a view; returns what puts the view back. */
export function enlarger(view: HTMLElement, label: string, signal: AbortSignal): () => void {
  const button = element("button", "stockformer-enlarger", view);
  // A style that asks which columns have an enlarged view would be computed anew for all of them with every change.
  let enlarged: Element[] = [];
  const set = (parts: Element[]) => {
    for (const part of enlarged) part.classList.remove("stockformer-enlarged");
    for (const part of parts) part.classList.add("stockformer-enlarged");
    enlarged = parts;
    button.title = parts.length ? "back to its place" : "enlarge";
    button.setAttribute("aria-label", `${button.title}: ${label}`);
    button.setAttribute("aria-pressed", String(parts.length > 0));
  };
  const turn = () => {
    const around = [`${COLUMNS} > *`, COLUMNS].map((part) => view.closest(part));
    set(enlarged.length ? [] : [view, ...around.filter((part) => part !== null)]);
    view.scrollIntoView({ block: "nearest" });
  };
  // Before the view's own keys: its Escape unselects.
  const leave = (event: KeyboardEvent) => {
    if (event.key !== "Escape" || !enlarged.length) return;
    event.preventDefault();
    event.stopPropagation();
    turn();
  };
  button.type = "button";
  drawIcon(button, CORNERS, 12);
  button.addEventListener("click", turn, { signal });
  view.addEventListener("keydown", leave, { capture: true, signal });
  signal.addEventListener("abort", () => {
    set([]);
    button.remove();
  });
  set([]);
  return () => set([]);
}
