// @vitest-environment happy-dom

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import table from "../src/window_table";
import { browser, FakeModel } from "./fakes";

interface Traits {
  titles: string[];
  names: string[];
  rows: string[][];
  windows: number[];
  order: string;
  descending: boolean;
  selected: number;
}
let model: FakeModel<Traits>;
let closing: AbortController;
let el: HTMLElement;

beforeEach(() => {
  model = new FakeModel({
    titles: ["date", "market share"],
    names: ["date", "market_share"],
    rows: [
      ["2020-01-02", "<b>0.3</b>"],
      ["2020-01-03", "0.2"],
    ],
    windows: [7, 12],
    order: "date",
    descending: false,
    selected: -1,
  });
  closing = new AbortController();
  el = document.createElement("div");
  browser(300);
  vi.spyOn(HTMLElement.prototype, "offsetTop", "get").mockImplementation(function (this: HTMLElement) {
    return 20 * [...(this.parentElement?.children ?? [])].indexOf(this);
  });
  vi.spyOn(HTMLElement.prototype, "clientHeight", "get").mockReturnValue(10);
  table.render({ model: model.typed, el, signal: closing.signal });
});

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const texts = (selector: string) => [...el.querySelectorAll(selector)].map((one) => one.textContent);
const line = (place: number) => el.querySelectorAll<HTMLElement>("tbody tr")[place]!;
const button = (place: number) => el.querySelectorAll<HTMLElement>("th button")[place]!;

test("titles and rows are text", () => {
  expect(texts("th")).toEqual(["date ▲", "market share"]);
  expect(texts("td")).toEqual(["2020-01-02", "<b>0.3</b>", "2020-01-03", "0.2"]);
});

test("the order is that of the kernel", () => {
  const sorts = () => [...el.querySelectorAll("th")].map((cell) => cell.getAttribute("aria-sort"));
  expect(sorts()).toEqual(["ascending", "none"]);
  button(1).click();
  expect(model.sent).toEqual([{ sort: "market_share" }]);
  expect(sorts()).toEqual(["ascending", "none"]);
  model.set("descending", true);
  model.change("order", "market_share");
  expect(sorts()).toEqual(["none", "descending"]);
  expect(texts("th")).toEqual(["date", "market share ▼"]);
});

test("a click on a row, or Enter, asks for its window", () => {
  line(1).click();
  line(0).dispatchEvent(new KeyboardEvent("keydown", { key: "Enter" }));
  line(0).dispatchEvent(new KeyboardEvent("keydown", { key: "a" }));
  expect(model.sent).toEqual([{ window: 12 }, { window: 7 }]);
});

test("the selected window is marked and in the middle of the table, on every page", () => {
  const around = el.querySelector<HTMLElement>(".stockformer-windows")!;
  const marked = () => [...el.querySelectorAll("tbody tr")].map((row) => row.getAttribute("aria-selected"));
  model.change("selected", 12);
  expect(marked()).toEqual(["false", "true"]);
  expect(around.scrollTop).toBe(20 - 5);
  model.set("windows", [12, 3]);
  model.change("rows", [
    ["2020-01-03", "0.2"],
    ["2020-01-04", "0.1"],
  ]);
  expect(marked()).toEqual(["true", "false"]);
  model.change("selected", 99);
  expect(marked()).toEqual(["false", "false"]);
});

test("what is closed hears nothing", () => {
  closing.abort();
  expect(model.listening).toBe(0);
  line(0).click();
  expect(model.sent).toEqual([]);
});
