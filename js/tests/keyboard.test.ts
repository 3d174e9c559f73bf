// @vitest-environment happy-dom

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import keyboard from "../src/keyboard";
import { browser, FakeModel } from "./fakes";

let closing: AbortController;
let view: HTMLElement;
let figure: HTMLElement;
interface Traits {
  label: string;
  announcement: string;
  asks: number;
  page: { id: number; places: number; pressed: Record<string, number>; asks: number };
}
let model: FakeModel<Traits>;
let widget: ReturnType<typeof keyboard>;

/** Show the view in one more place, until its signal is aborted. */
function show(signal: AbortSignal): void {
  widget.render({ model: model.typed, el: document.querySelector<HTMLElement>("#part")!, signal });
}

beforeEach(() => {
  browser(700);
  closing = new AbortController();
  document.body.innerHTML = `
    <button>before</button>
    <div class="stockformer-view"><div class="bqplot" tabindex="0"><b></b></div><div id="part"></div></div>`;
  view = document.querySelector(".stockformer-view")!;
  figure = document.querySelector(".bqplot")!;
  model = new FakeModel({ label: "Attention map", announcement: "query 1", asks: 0, page: {} } as Traits);
  widget = keyboard();
  widget.initialize({ model: model.typed, signal: closing.signal });
  show(closing.signal);
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
  expect(model.get("page").pressed).toEqual({ [key]: 2 });
  expect(notebook).not.toHaveBeenCalled();
  document.body.removeEventListener("keydown", notebook);
});

test("Escape anywhere in an enlarged view puts it back, and only then unselects", () => {
  const button = view.querySelector<HTMLElement>(".stockformer-enlarger")!;
  const enlarged = () => [view.className, button.getAttribute("aria-pressed"), button.title];
  const before = enlarged();
  for (const part of [view, button]) {
    button.click();
    expect(enlarged()).toEqual(["stockformer-view stockformer-enlarged", "true", "back to its place"]);
    expect(press("h", view)).toBe(true);
    expect(press("Escape", part)).toBe(true);
    expect(enlarged()).toEqual(before);
  }
  expect(model.get("page").pressed).toEqual({ h: 2 });
  press("Escape");
  expect(model.get("page").pressed).toEqual({ h: 2, Escape: 1 });
});

test("keys are counted each for itself", () => {
  for (const key of ["h", "ArrowUp", "h", "h"]) press(key);
  expect(model.get("page").pressed).toEqual({ h: 3, ArrowUp: 1 });
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
  expect(model.get("page").pressed).toEqual({});
});

test("the wheel zooms with ctrl or meta and pans with shift, over a figure", () => {
  expect(turn(100, {})).toBe(false);
  expect(turn(100, { ctrlKey: true }, view)).toBe(false);
  expect(model.get("page").pressed).toEqual({});
  expect(turn(-100, { ctrlKey: true })).toBe(true);
  expect(model.get("page").pressed).toEqual({ "+": 1 });
  turn(100, { metaKey: true });
  expect(model.get("page").pressed).toEqual({ "+": 1, "-": 1 });
  turn(-100, { shiftKey: true });
  expect(model.get("page").pressed).toEqual({ "+": 1, "-": 1, "<": 1 });
  turn(100, { shiftKey: true });
  expect(model.get("page").pressed).toEqual({ "+": 1, "-": 1, "<": 1, ">": 1 });
});

test("small steps of a touchpad add up to one", () => {
  for (let step = 0; step < 9; step++) expect(turn(10, { ctrlKey: true })).toBe(true);
  expect(model.get("page").pressed).toEqual({ "-": 1 });
});

test("a figure gives its place as a tab stop to the view", () => {
  figure.dispatchEvent(new FocusEvent("focusin", { bubbles: true }));
  expect(figure.hasAttribute("tabindex")).toBe(false);
  expect(document.activeElement).toBe(view);
});

test("only the view with the focus speaks", () => {
  model.change("announcement", "query 2");
  expect(live()).toBe("");
  view.focus();
  expect(live()).toBe("query 2");
  model.change("announcement", "query 3");
  expect(live()).toBe("query 3");
  view.blur();
  expect(live()).toBe("");
});

test("places in the page are counted, and what is closed hears nothing", () => {
  const second = new AbortController();
  show(second.signal);
  expect(model.get("page").places).toBe(2);
  second.abort();
  expect(model.get("page").places).toBe(1);
  closing.abort();
  expect(model.get("page").places).toBe(0);
  expect(view.querySelector("[aria-live]")).toBeNull();
  expect(press("h")).toBe(false);
  expect(model.get("page").pressed).toEqual({});
  expect(model.listening).toBe(0);
});

test("a page tells its own keys, whatever another one told", () => {
  press("h");
  const { id } = model.get("page");
  model.set("page", { id: id + 1, places: 3, pressed: { h: 7 }, asks: 0 }); // of another page
  press("h");
  expect(model.get("page")).toEqual({ id, places: 1, pressed: { h: 2 }, asks: 0 });
  expect(new Set([1, 2, 3].map(() => reloaded()))).toHaveLength(3);
});

/** The id of another load of the page. */
function reloaded(): number {
  widget = keyboard();
  show(new AbortController().signal);
  return model.get("page").id;
}

test("a page that is asked answers while it shows the view", () => {
  const { saves } = model;
  model.change("asks", 5);
  expect(model.saves).toBe(saves + 1);
  expect(model.get("page")).toMatchObject({ places: 1, asks: 5 });
  const other = keyboard(); // of a page that does not show it
  other.initialize({ model: model.typed, signal: closing.signal });
  model.change("asks", 6);
  expect(model.saves).toBe(saves + 2);
});

test("a page that goes says so, and that it is back", () => {
  dispatchEvent(new Event("pagehide"));
  expect(model.get("page").places).toBe(0);
  dispatchEvent(new Event("pageshow"));
  expect(model.get("page").places).toBe(1);
});
