// Makes the view around this widget one tab stop, and counts the keys pressed on it.
// Counts, not events: what piles up while the kernel is busy arrives as one change.

const KEYS = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "Home", "End", "[", "]", "h", "H", "Escape"];

function render({ model, el, signal }) {
  const live = document.createElement("div");
  live.setAttribute("aria-live", "polite");
  el.classList.add("stockformer-live");
  el.append(live);

  const attach = (view) => {
    view.tabIndex = 0;
    view.dataset.lmSuppressShortcuts = "true";
    view.setAttribute("role", "application");
    view.setAttribute("aria-label", model.get("label"));
    // A bqplot figure is a tab stop of its own: the view takes its place.
    view.addEventListener(
      "focusin",
      (event) => {
        const figure = event.target.closest(".bqplot");
        if (figure === null) return;
        figure.removeAttribute("tabindex");
        view.focus({ preventScroll: true });
      },
      { signal },
    );
    view.addEventListener(
      "keydown",
      (event) => {
        if (event.target !== view || event.ctrlKey || event.metaKey || event.altKey || !KEYS.includes(event.key)) return;
        event.preventDefault();
        event.stopPropagation();
        const pressed = model.get("pressed");
        model.set("pressed", { ...pressed, [event.key]: (pressed[event.key] ?? 0) + 1 });
        model.save_changes();
      },
      { signal },
    );
    // Only the view that has the focus speaks.
    const say = () => {
      if (view === document.activeElement) live.textContent = model.get("says");
    };
    model.on("change:says", say);
    view.addEventListener("focus", say, { signal });
    view.addEventListener("blur", () => (live.textContent = ""), { signal });
    signal.addEventListener("abort", () => model.off("change:says", say));
  };

  // The view is around `el` only once both are in the page; a size is the first sign of it.
  const sizes = new ResizeObserver(() => {
    const view = el.closest(".stockformer-view");
    if (view === null) return;
    sizes.disconnect();
    attach(view);
  });
  sizes.observe(el);
  signal.addEventListener("abort", () => sizes.disconnect());

  // Python draws nothing for a view whose last place in the page is gone, such as the output of a cell that ran again.
  const count = (by) => {
    model.set("places", model.get("places") + by);
    model.save_changes();
  };
  count(1);
  signal.addEventListener("abort", () => count(-1));
}

export default { render };
