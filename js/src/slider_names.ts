// Names the sliders beside this widget for screen readers, and gives their values as written: ipywidgets gives no name,
// and for a value among options only its number.

import type { AnyModel } from "@anywidget/types";
import "./live.css";

interface Context {
  model: AnyModel<{ names: string[] }>;
  el: HTMLElement;
  signal: AbortSignal;
}

const BETWEEN = "-"; // the ends of a range, as ipywidgets writes them; dates have it inside, too

function render({ model, el, signal }: Context): void {
  el.classList.add("stockformer-live");
  const changes = new MutationObserver(() => name(el.parentElement!, model.get("names")));
  // The sliders are around `el` only once both are in the page; a size is the first sign of it.
  const sizes = new ResizeObserver(() => {
    if (el.parentElement === null) return;
    sizes.disconnect();
    name(el.parentElement, model.get("names"));
    changes.observe(el.parentElement, {
      subtree: true,
      childList: true,
      characterData: true,
      attributeFilter: ["aria-valuetext"],
    });
  });
  sizes.observe(el);
  signal.addEventListener("abort", () => {
    sizes.disconnect();
    changes.disconnect();
  });
}

/** Names are given to handles in the order of the page; a range has two. */
function name(around: HTMLElement, names: readonly string[]): void {
  let place = 0;
  for (const slider of around.querySelectorAll(".widget-slider")) {
    const handles = slider.querySelectorAll("[role=slider]");
    const value = slider.querySelector(".widget-readout")?.textContent ?? "";
    const ends = handles.length === 2 ? halves(value) : [];
    for (const [end, handle] of handles.entries()) {
      set(handle, "aria-label", names[place++] ?? "");
      set(handle, "aria-valuetext", ends[end] ?? value);
    }
  }
}

/** Both ends of a range, which are of one length; none where they are not. */
function halves(value: string): string[] {
  const middle = (value.length - 1) / 2;
  return value[middle] === BETWEEN ? [value.slice(0, middle), value.slice(middle + 1)] : [];
}

/** Set an attribute only where it differs: what is set is observed. */
function set(element: Element, attribute: string, value: string): void {
  if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
}

export default { render };
