// Makes the view around this widget one tab stop, with a button that enlarges it, and tells the kernel whether this
// page shows it and which keys were pressed on it. Counts, not events: what piles up while the kernel is busy arrives
// as one change. Every page sends only its own, so that two pages never overwrite each other's.

import type { AnyModel } from "@anywidget/types";
import { enlarger } from "./enlarger";
import "./keyboard.css";

interface Page {
  id: number;
  places: number; // in which it shows the view
  pressed: Record<string, number>;
  asks: number; // the last one that it has answered
}

interface Traits {
  label: string;
  announcement: string;
  asks: number;
  page: Page;
}

interface Context {
  model: AnyModel<Traits>;
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

/** The widget in one page. */
export default function keyboard() {
  const page = { id: Math.random(), places: 0, pressed: {} as Record<string, number> };

  function tell(model: AnyModel<Traits>, places = page.places): void {
    model.set("page", { ...page, places, asks: model.get("asks") });
    model.save_changes();
  }

  function initialize({ model, signal }: Context): void {
    // A page may vanish silently: when one stops showing the view, Python asks the others whether they show it.
    const answer = () => page.places && tell(model);
    model.on("change:asks", answer);
    signal.addEventListener("abort", () => model.off("change:asks", answer));
    addEventListener("pagehide", () => page.places && tell(model, 0), { signal });
    addEventListener("pageshow", answer, { signal });
  }

  function render({ model, el, signal }: Context & { el: HTMLElement }): void {
    const place = (by: number) => {
      page.places += by;
      tell(model);
    };
    const press = (key: string) => {
      page.pressed = { ...page.pressed, [key]: (page.pressed[key] ?? 0) + 1 };
      tell(model);
    };
    place(1);
    signal.addEventListener("abort", () => place(-1));
    hear(el, model, press, signal);
  }

  return { initialize, render };
}

function hear(el: HTMLElement, model: AnyModel<Traits>, pressed: (key: string) => void, signal: AbortSignal): void {
  const live = document.createElement("div");
  live.setAttribute("aria-live", "polite");
  el.classList.add("stockformer-live");
  el.append(live);

  // The view is around `el` only once both are in the page; a size is the first sign of it.
  const sizes = new ResizeObserver(() => {
    const view = el.closest<HTMLElement>(".stockformer-view");
    if (view === null) return;
    sizes.disconnect();
    attach(view, live, model, pressed, signal);
  });
  sizes.observe(el);
  signal.addEventListener("abort", () => {
    sizes.disconnect();
    live.remove();
  });
}

function attach(
  view: HTMLElement,
  live: HTMLElement,
  model: AnyModel<Traits>,
  pressed: (key: string) => void,
  signal: AbortSignal,
): void {
  view.tabIndex = 0;
  view.dataset["lmSuppressShortcuts"] = "true";
  view.setAttribute("role", "application");
  view.setAttribute("aria-label", model.get("label"));
  enlarger(view, model.get("label"), signal);
  // A bqplot figure is a tab stop of its own: the view takes its place.
  const focusView = (event: FocusEvent) => {
    const figure = (event.target as Element).closest(".bqplot");
    if (figure === null) return;
    figure.removeAttribute("tabindex");
    view.focus({ preventScroll: true });
  };
  const press = (event: KeyboardEvent) => {
    if (event.target !== view || event.ctrlKey || event.metaKey || event.altKey || !KEYS.includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    pressed(event.key);
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
    if (event.shiftKey) pressed(back ? "<" : ">");
    else pressed(back ? "+" : "-");
  };
  // Only the view that has the focus speaks.
  const say = () => {
    if (view === document.activeElement) live.textContent = model.get("announcement");
  };
  view.addEventListener("focusin", focusView, { signal });
  view.addEventListener("keydown", press, { signal });
  view.addEventListener("wheel", turn, { signal, passive: false });
  view.addEventListener("focus", say, { signal });
  view.addEventListener("blur", () => (live.textContent = ""), { signal });
  model.on("change:announcement", say);
  signal.addEventListener("abort", () => model.off("change:announcement", say));
}
