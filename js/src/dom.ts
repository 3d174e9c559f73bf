// Helpers that every view builds its elements with. Text is set as text, never as markup.

export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  className = "",
  parent?: HTMLElement,
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  if (className) made.className = className;
  parent?.append(made);
  return made;
}

/** A labelled drop-down. */
export interface Choice {
  readonly value: string;
  /** Set the options; the chosen one stays where it is still there. */
  offer(options: readonly string[], chosen?: string): void;
}

export function choice(
  parent: HTMLElement,
  label: string,
  options: readonly string[],
  changed: (value: string) => void,
  signal: AbortSignal,
): Choice {
  const around = element("label", "stockformer-choice", parent);
  around.append(`${label} `);
  const select = element("select", "", around);
  select.setAttribute("aria-label", label); // around's text holds the options, too
  select.dataset["lmSuppressShortcuts"] = "true"; // JupyterLab would take letters for its own
  let offered: readonly string[] = [];
  const made: Choice = {
    get value() {
      return offered[select.selectedIndex] ?? "";
    },
    offer(names: readonly string[], chosen = made.value) {
      if (offered.join("\n") !== names.join("\n")) select.replaceChildren(...names.map((name) => new Option(name)));
      offered = names;
      if (names.includes(chosen)) select.selectedIndex = names.indexOf(chosen);
    },
  };
  // By place: the value of an option is its text without double and outer spaces.
  select.addEventListener("change", () => changed(made.value), { signal });
  made.offer(options);
  return made;
}

/** Fit a canvas to CSS pixels on this screen, cleared, and give its context in CSS pixels. */
export function sharp(canvas: HTMLCanvasElement, width: number, height: number): CanvasRenderingContext2D {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d")!;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** Redraw when an element's size or the colour scheme changes: a canvas keeps the colours that it was drawn in. */
export function redrawing(root: HTMLElement, draw: () => void, signal: AbortSignal): void {
  const sizes = new ResizeObserver(draw);
  sizes.observe(root);
  const themes = new MutationObserver(draw);
  themes.observe(document.body, { attributeFilter: ["data-jp-theme-light"] });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw, { signal });
  signal.addEventListener("abort", () => {
    sizes.disconnect();
    themes.disconnect();
  });
}

/** Draw outlines in a square of 16 on a button, so many pixels large. */
export function drawIcon(button: HTMLElement, outlines: string, pixels: number): void {
  const size = `width="${pixels}" height="${pixels}"`;
  button.innerHTML = `<svg viewBox="0 0 16 16" ${size} aria-hidden="true"><path d="${outlines}"/></svg>`;
}
