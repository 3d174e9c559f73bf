// @vitest-environment happy-dom

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import keyboard from "../src/keyboard";
import { browser, FakeModel } from "./fakes";

let closing: AbortController;
let view: HTMLElement;
let figure: HTMLElement;
let model: FakeModel<{ label: string; says: string; places: number; pressed: Record<string, number> }>;

beforeEach(() => {
  browser(700);
  closing = new AbortController();
  document.body.innerHTML = `
    <button>before</button>
    <div class="stockformer-view"><div class="bqplot" tabindex="0"><b></b></div><div id="part"></div></div>`;
  view = document.querySelector(".stockformer-view")!;
  figure = document.querySelector(".bqplot")!;
  model = new FakeModel({ label: "Attention map", says: "query 1", places: 0, pressed: {} });
  const el = document.querySelector<HTMLElement>("#part")!;
  keyboard.render({ model: model.typed, el, signal: closing.signal });
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** Press a key; whether the notebook is kept from hearing of it. */
function press(key: string, on: HTMLElement = view, more: KeyboardEventInit = {}): boolean {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more });
  on.dispatchEvent(event);
  return event.defaultPrevented;
}

function turn(deltaY: number, keys: WheelEventInit, on: Element = figure.firstElementChild!): boolean {
  const event = new WheelEvent("wheel", { deltaY, bubbles: true, cancelable: true, ...keys });
  // happy-dom's wheel event drops the keys that are held
  for (const [name, value] of Object.entries(keys)) Object.defineProperty(event, name, { value });
  on.dispatchEvent(event);
  return event.defaultPrevented;
}

const live = () => view.querySelector("[aria-live]")!.textContent;

test("the view is one tab stop with a name, whose keys are not the notebook's", () => {
  expect(view.tabIndex).toBe(0);
  expect(view.getAttribute("role")).toBe("application");
  expect(view.getAttribute("aria-label")).toBe("Attention map");
  expect(view.dataset["lmSuppressShortcuts"]).toBe("true");
});

test.each([
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
])("the key %s is counted and goes no further", (key) => {
  const notebook = vi.fn();
  document.body.addEventListener("keydown", notebook);
  expect([press(key), press(key)]).toEqual([true, true]);
  expect(model.get("pressed")).toEqual({ [key]: 2 });
  expect(notebook).not.toHaveBeenCalled();
  document.body.removeEventListener("keydown", notebook);
});

test("keys are counted each for itself", () => {
  for (const key of ["h", "ArrowUp", "h", "h"]) press(key);
  expect(model.get("pressed")).toEqual({ h: 3, ArrowUp: 1 });
  expect(model.saves).toBe(1 + 4); // one for its place in the page
});

test.each([
  ["a letter that means nothing", () => press("x")],
  ["a shortcut of the browser", () => press("h", view, { ctrlKey: true })],
  ["a shortcut of a Mac", () => press("h", view, { metaKey: true })],
  ["a key with alt", () => press("ArrowLeft", view, { altKey: true })],
  ["a key on a part of the view", () => press("h", figure)],
])("%s stays the page's", (_, act) => {
  expect(act()).toBe(false);
  expect(model.get("pressed")).toEqual({});
});

test("the wheel zooms with ctrl or meta and pans with shift, over a figure", () => {
  expect(turn(100, {})).toBe(false);
  expect(turn(100, { ctrlKey: true }, view)).toBe(false);
  expect(model.get("pressed")).toEqual({});
  expect(turn(-100, { ctrlKey: true })).toBe(true);
  expect(model.get("pressed")).toEqual({ "+": 1 });
  turn(100, { metaKey: true });
  expect(model.get("pressed")).toEqual({ "+": 1, "-": 1 });
  turn(-100, { shiftKey: true });
  expect(model.get("pressed")).toEqual({ "+": 1, "-": 1, "<": 1 });
  turn(100, { shiftKey: true });
  expect(model.get("pressed")).toEqual({ "+": 1, "-": 1, "<": 1, ">": 1 });
});

test("small steps of a touchpad add up to one", () => {
  for (let step = 0; step < 9; step++) expect(turn(10, { ctrlKey: true })).toBe(true);
  expect(model.get("pressed")).toEqual({ "-": 1 });
});

test("a figure gives its place as a tab stop to the view", () => {
  figure.dispatchEvent(new FocusEvent("focusin", { bubbles: true }));
  expect(figure.hasAttribute("tabindex")).toBe(false);
  expect(document.activeElement).toBe(view);
});

test("only the view with the focus speaks", () => {
  model.change("says", "query 2");
  expect(live()).toBe("");
  view.focus();
  expect(live()).toBe("query 2");
  model.change("says", "query 3");
  expect(live()).toBe("query 3");
  view.blur();
  expect(live()).toBe("");
});

test("places in the page are counted, and what is closed hears nothing", () => {
  expect(model.get("places")).toBe(1);
  closing.abort();
  expect(model.get("places")).toBe(0);
  expect(view.querySelector("[aria-live]")).toBeNull();
  expect(press("h")).toBe(false);
  expect(model.get("pressed")).toEqual({});
  expect(model.listening).toBe(0);
});
