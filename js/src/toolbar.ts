// Undo, redo, copy and full screen for the widget around this one: its nearest ancestor with the class below.

import type { AnyModel } from "@anywidget/types";
import { drawIcon } from "./dom";
import "./toolbar.css";

interface Traits {
  undoes: string;
  redoes: string;
  state: string;
}

interface Context {
  model: AnyModel<Traits>;
  el: HTMLElement;
  signal: AbortSignal;
}

// Outlines in a square of 16.
const ICONS = {
  undo: "M6 3 2.5 6.5 6 10M3 6.5h6.5a3.5 3.5 0 0 1 0 7H6",
  redo: "m10 3 3.5 3.5L10 10m3-3.5H6.5a3.5 3.5 0 0 0 0 7H10",
  copy: "M5.5 5.5h8v8h-8zM10.5 5.5v-3h-8v8h3",
  screen: "M2.5 6V2.5H6m4 0h3.5V6m0 4v3.5H10m-4 0H2.5V10",
  done: "m3 8.5 3.5 3.5L13 4.5",
  failed: "m4 4 8 8m0-8-8 8",
};
const AROUND = ".stockformer-screen";
const EDITED = "input:not([type=checkbox]):not([type=radio]):not([type=range]), textarea, [contenteditable=true]";
const KEYED = `select, [role=slider], ${EDITED}`;

function render({ model, el, signal }: Context): void {
  const button = (icon: keyof typeof ICONS, name: string, act: () => void) => {
    const made = document.createElement("button");
    made.type = "button";
    made.className = "jupyter-button stockformer-tool";
    draw(made, icon);
    made.title = name;
    made.setAttribute("aria-label", name);
    made.addEventListener("click", act, { signal });
    el.append(made);
    return made;
  };
  const send = (act: "undo" | "redo") => model.send({ act });

  el.classList.add("stockformer-toolbar");
  el.setAttribute("role", "toolbar");
  el.setAttribute("aria-label", "State of the screen");
  const undo = button("undo", "undo", () => send("undo"));
  const redo = button("redo", "redo", () => send("redo"));
  const copy = button("copy", "copy state: what is chosen, for restore in another notebook", () => {
    void copied(model.get("state")).then((done) => {
      draw(copy, done ? "done" : "failed");
      setTimeout(() => draw(copy, "copy"), 1000);
    });
  });
  const screen = button("screen", "full screen", () => {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void el.closest(AROUND)?.requestFullscreen();
  });
  screen.disabled = !document.fullscreenEnabled;
  if (screen.disabled) screen.title = "full screen is not allowed in this page";

  const show = () => {
    for (const [made, name, what, keys] of [
      [undo, "undo", model.get("undoes"), "Ctrl+Z"],
      [redo, "redo", model.get("redoes"), "Ctrl+Shift+Z"],
    ] as const) {
      made.disabled = what === "";
      made.title = what === "" ? `nothing to ${name}` : `${name}: ${what} (${keys})`;
    }
  };
  for (const name of ["change:undoes", "change:redoes"]) {
    model.on(name, show);
    signal.addEventListener("abort", () => model.off(name, show));
  }
  show();

  // A drag over a picture takes no focus, and a control that is disabled or hidden loses it: the last click or focus
  // says where one is.
  let last: Element | null = null;
  const enter = ({ type, target }: Event) => {
    // After a drag JupyterLab focuses the cell around the screen.
    if (type === "pointerdown" || !(target as Element).contains(el)) last = (target as Element).closest(AROUND);
  };
  const press = (event: KeyboardEvent) => {
    const around = el.closest(AROUND);
    const target = event.target as Element;
    const inside = target.closest(AROUND);
    const undoes = (event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase() === "z";
    const plain = !(event.ctrlKey || event.metaKey || event.altKey);
    // JupyterLab would move from cell to cell by arrows in a drop-down, and undo edits of a cell by Ctrl+Z in a text field.
    if (around !== null && inside === around && target.matches(KEYED))
      target.toggleAttribute("data-lm-suppress-shortcuts", undoes || plain);
    if (!undoes || around === null || (inside ?? last) !== around || target.closest(EDITED) !== null) return;
    event.preventDefault();
    event.stopPropagation();
    send(event.shiftKey ? "redo" : "undo");
  };
  for (const type of ["pointerdown", "focusin"]) document.addEventListener(type, enter, { capture: true, signal });
  addEventListener("keydown", press, { capture: true, signal }); // on the window: before JupyterLab
}

/** Copy a text, and whether that worked; a page without HTTPS may write the clipboard only in the old way. */
async function copied(text: string): Promise<boolean> {
  if (navigator.clipboard !== undefined)
    return navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

function draw(button: HTMLElement, icon: keyof typeof ICONS): void {
  drawIcon(button, ICONS[icon], 16);
}

export default { render };
