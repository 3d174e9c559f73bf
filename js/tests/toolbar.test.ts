// @vitest-environment happy-dom

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import toolbar from "../src/toolbar";
import { FakeModel } from "./fakes";

let model: FakeModel<{ undoes: string; redoes: string; state: string }>;
let closing: AbortController;
let around: HTMLElement;
let el: HTMLElement;

beforeEach(() => {
  vi.useFakeTimers();
  model = new FakeModel({ undoes: "", redoes: "", state: '{"version": 1}' });
  closing = new AbortController();
  around = document.createElement("div");
  around.className = "stockformer-screen";
  around.innerHTML = "<input type='text'><div tabindex='0'></div><div class='bar'></div>";
  document.body.replaceChildren(around);
  el = around.querySelector<HTMLElement>(".bar")!;
  vi.stubGlobal("navigator", { clipboard: { writeText: vi.fn(() => Promise.resolve()) } });
  Object.defineProperty(document, "fullscreenEnabled", { value: true, configurable: true });
  toolbar.render({ model: model.typed, el, signal: closing.signal });
});

afterEach(() => {
  closing.abort();
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const button = (name: string) => el.querySelector<HTMLButtonElement>(`[aria-label^="${name}"]`)!;

function press(target: Element, options: KeyboardEventInit): KeyboardEvent {
  const event = new KeyboardEvent("keydown", { key: "z", ctrlKey: true, bubbles: true, cancelable: true, ...options });
  target.dispatchEvent(event);
  return event;
}

test("a button without anything to undo is disabled and says so", () => {
  expect([button("undo").disabled, button("undo").title]).toEqual([true, "nothing to undo"]);
  model.change("undoes", "layer");
  expect([button("undo").disabled, button("undo").title]).toEqual([false, "undo: layer (Ctrl+Z)"]);
  expect(button("redo").disabled).toBe(true);
  model.change("redoes", "sample");
  expect(button("redo").title).toBe("redo: sample (Ctrl+Shift+Z)");
});

test("clicks ask the kernel", () => {
  model.change("undoes", "layer");
  model.change("redoes", "layer");
  button("undo").click();
  button("redo").click();
  expect(model.sent).toEqual([{ act: "undo" }, { act: "redo" }]);
});

test("keys inside the screen ask the kernel, and go no further", () => {
  const view = around.querySelector("[tabindex]")!;
  expect(press(view, {}).defaultPrevented).toBe(true);
  press(view, { shiftKey: true, key: "Z" });
  press(view, { ctrlKey: false, metaKey: true });
  expect(model.sent).toEqual([{ act: "undo" }, { act: "redo" }, { act: "undo" }]);
});

test("keys outside of the screen are its own after a click inside, until one elsewhere", () => {
  const click = (target: Element) => target.dispatchEvent(new Event("pointerdown", { bubbles: true }));
  click(around.querySelector("[tabindex]")!);
  press(document.body, {});
  click(document.body);
  press(document.body, {});
  expect(model.sent).toEqual([{ act: "undo" }]);
});

test("keys outside are this screen's after the focus was inside, until it is elsewhere", () => {
  const other = document.body.appendChild(document.createElement("button"));
  for (const target of [around.querySelector("[tabindex]")!, document.body, other]) {
    target.dispatchEvent(new Event("focusin", { bubbles: true }));
    press(document.body, {});
  }
  expect(model.sent).toEqual([{ act: "undo" }, { act: "undo" }]);
});

test("keys that a control needs are not JupyterLab's, and the others are", () => {
  around.insertAdjacentHTML("beforeend", "<select></select><i role='slider'></i>");
  const [text, slider, select] = ["input", "i", "select"].map((name) => around.querySelector(name)!);
  const suppressed = (target: Element, options: KeyboardEventInit) => {
    press(target, options);
    return target.hasAttribute("data-lm-suppress-shortcuts");
  };
  for (const target of [text!, slider!, select!]) {
    expect(suppressed(target, { key: "ArrowDown", ctrlKey: false })).toBe(true);
    expect(suppressed(target, { key: "s" })).toBe(false);
    expect(suppressed(target, {})).toBe(true);
  }
  expect(suppressed(el, { key: "b", ctrlKey: false })).toBe(false);
  expect(model.sent).toEqual([{ act: "undo" }, { act: "undo" }]); // a text field has its own
});

test("keys in a screen inside of this one are left to that one", () => {
  const inner = around.appendChild(document.createElement("div"));
  inner.className = "stockformer-screen";
  expect(press(inner, {}).defaultPrevented).toBe(false);
  expect(model.sent).toEqual([]);
});

test("keys in a text field, outside of the screen, and other keys are left alone", () => {
  const outside = document.createElement("div");
  document.body.append(outside);
  for (const [target, options] of [
    [around.querySelector("input")!, {}],
    [outside, {}],
    [el, { ctrlKey: false }],
    [el, { altKey: true }],
    [el, { key: "y" }],
  ] as const)
    expect(press(target, options).defaultPrevented).toBe(false);
  expect(model.sent).toEqual([]);
});

test("the state that is copied is the present one, and the button says that it is", async () => {
  const before = button("copy state").innerHTML;
  model.change("state", '{"version": 1, "tab": "Gates"}');
  button("copy state").click();
  await vi.advanceTimersByTimeAsync(10);
  expect(navigator.clipboard.writeText).toHaveBeenCalledWith('{"version": 1, "tab": "Gates"}');
  expect(button("copy state").innerHTML).not.toBe(before);
  await vi.advanceTimersByTimeAsync(2000);
  expect(button("copy state").innerHTML).toBe(before);
});

test("full screen is that of the widget around", () => {
  around.requestFullscreen = vi.fn(() => Promise.resolve());
  button("full screen").click();
  expect(around.requestFullscreen).toHaveBeenCalledOnce();
});

test("a closed toolbar hears nothing", () => {
  closing.abort();
  press(el, {});
  expect(model.sent).toEqual([]);
  expect(model.listening).toBe(0);
});
