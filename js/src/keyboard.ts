// Makes the view around this widget one tab stop, and counts the keys pressed on it.
// Counts, not events: what piles up while the kernel is busy arrives as one change.

import type { AnyModel } from "@anywidget/types";
import "./keyboard.css";

interface Traits {
  label: string;
  says: string;
  places: number;
  pressed: Record<string, number>;
}

interface Context {
  model: AnyModel<Traits>;
  el: HTMLElement;
  signal: AbortSignal;
}

const KEYS = [
  "ArrowLeft",
  "ArrowRight",
  "ArrowUp",
  "ArrowDown",
  "Home",
  "End",
  "[",
  "]",
  "h",
  "H",
  "+",
  "-",
  "0",
  "<",
  ">",
  "Escape",
];
const WHEEL_STEP = 50; // pixels

function render({ model, el, signal }: Context): void {
  const live = document.createElement("div");
  live.setAttribute("aria-live", "polite");
  el.classList.add("stockformer-live");
  el.append(live);

  // The view is around `el` only once both are in the page; a size is the first sign of it.
  const sizes = new ResizeObserver(() => {
    const view = el.closest<HTMLElement>(".stockformer-view");
    if (view === null) return;
    sizes.disconnect();
    attach(view, live, model, signal);
  });
  sizes.observe(el);
  signal.addEventListener("abort", () => {
    sizes.disconnect();
    live.remove();
  });

  // Python draws nothing for a view whose last place in the page is gone, such as the output of a cell that ran again.
  const count = (by: number) => {
    model.set("places", model.get("places") + by);
    model.save_changes();
  };
  count(1);
  signal.addEventListener("abort", () => count(-1));
}

function attach(view: HTMLElement, live: HTMLElement, model: AnyModel<Traits>, signal: AbortSignal): void {
  view.tabIndex = 0;
  view.dataset["lmSuppressShortcuts"] = "true";
  view.setAttribute("role", "application");
  view.setAttribute("aria-label", model.get("label"));
  // A bqplot figure is a tab stop of its own: the view takes its place.
  const focusView = (event: FocusEvent) => {
    const figure = (event.target as Element).closest(".bqplot");
    if (figure === null) return;
    figure.removeAttribute("tabindex");
    view.focus({ preventScroll: true });
  };
  const count = (key: string) => {
    const pressed = model.get("pressed");
    model.set("pressed", { ...pressed, [key]: (pressed[key] ?? 0) + 1 });
    model.save_changes();
  };
  const press = (event: KeyboardEvent) => {
    if (event.target !== view || event.ctrlKey || event.metaKey || event.altKey || !KEYS.includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    count(event.key);
  };
  // The wheel alone scrolls the notebook. Small steps of a touchpad add up to one.
  let turned = 0;
  const turn = (event: WheelEvent) => {
    if (!(event.ctrlKey || event.metaKey || event.shiftKey) || (event.target as Element).closest(".bqplot") === null)
      return;
    event.preventDefault();
    turned += event.deltaY || event.deltaX;
    if (Math.abs(turned) < WHEEL_STEP) return;
    const back = turned < 0;
    turned = 0;
    if (event.shiftKey) count(back ? "<" : ">");
    else count(back ? "+" : "-");
  };
  // Only the view that has the focus speaks.
  const say = () => {
    if (view === document.activeElement) live.textContent = model.get("says");
  };
  view.addEventListener("focusin", focusView, { signal });
  view.addEventListener("keydown", press, { signal });
  view.addEventListener("wheel", turn, { signal, passive: false });
  view.addEventListener("focus", say, { signal });
  view.addEventListener("blur", () => (live.textContent = ""), { signal });
  model.on("change:says", say);
  signal.addEventListener("abort", () => model.off("change:says", say));
}

export default { render };
