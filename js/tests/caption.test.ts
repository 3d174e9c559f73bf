// @vitest-environment happy-dom

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { caption, type Caption, type Doubt, named, type Table, type Text } from "../src/caption";
import { number, share } from "../src/numbers";
import viewCaption from "../src/view_caption";
import { browser, FakeModel } from "./fakes";

const TEXT: Text = {
  caveats: ["take <care>"],
  summary: {
    verdict: "One day gets <all>.",
    findings: [{ name: "market_share", value: 0.3442, formula: "m / (m + s)", reading: "0: none." }],
    subject: "mean of the heads",
  },
  notes: [
    { text: "zoomed in", detail: "", aside: false },
    { text: "strongest: d1", detail: "of all", aside: true },
  ],
  doubt: { text: "no better than random", level: "doubtful", detail: "p = 0.4" },
  legend: [["A", "red"]],
  empty: false,
};
const TABLE: Table = { columns: ["day", "weight"], rows: [["d1", "0.5"]], of: 1234 };

let closing: AbortController;
let root: HTMLElement;
let asked: number;
let made: Caption;

beforeEach(() => {
  browser(300);
  closing = new AbortController();
  root = document.body.appendChild(document.createElement("div"));
  asked = 0;
  made = caption(root, () => (asked += 1), closing.signal);
});

afterEach(() => {
  closing.abort();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  document.body.replaceChildren();
});

const part = (name: string) => root.querySelector<HTMLElement>(`.stockformer-${name}`)!;

test("a place is read on one line, which says whether the mouse or the selection is there", () => {
  made.read([["d1"], ["layer 0", "0.5", "red"], ["<b>", "1"]], true);
  expect(part("reading").textContent).toBe("d1, ■ layer 0 0.5, <b> 1");
  expect(part("reading").title).toBe("d1, layer 0 0.5, <b> 1");
  expect(part("swatch").style.color).toBe("red");
  expect(part("reading").classList.contains("stockformer-at-pointer")).toBe(true);
  made.read([["d2"]], false);
  expect(part("reading").textContent).toBe("d2");
  expect(part("reading").classList.contains("stockformer-at-pointer")).toBe(false);
});

test("a line of a sentence ends in no date and before no percent sign", () => {
  const verdict = "One day, 2008-10-13, gets 12 %, -1.5 % less than in 2008-09.";
  made.tell({ ...TEXT, summary: { ...TEXT.summary, verdict } });
  const whole = [...part("sentence").querySelectorAll(".stockformer-phrase")].map((one) => one.textContent);
  expect(whole).toEqual(["2008-10-13", "12 %", "1.5 %", "2008-09"]);
  expect(part("sentence").textContent).toBe(verdict);
});

test("caveats are before the sentence, and the doubt is a badge that explains itself to a keyboard", () => {
  made.tell(TEXT);
  expect([...part("prose").children].map((line) => line.textContent)).toEqual([
    "take <care>",
    "One day gets <all>.",
    "zoomed in",
  ]);
  expect(part("caveat").getAttribute("role")).toBe("note");
  const badge = part("badge");
  expect([badge.tagName, badge.className, badge.textContent]).toEqual([
    "BUTTON",
    "stockformer-badge stockformer-doubtful",
    "! no better than randomp = 0.4",
  ]);
  expect(part("legend").textContent).toBe("■ A");
  badge.focus();
  badge.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  expect(document.activeElement).not.toBe(badge);
  made.tell({ ...TEXT, doubt: { ...(TEXT.doubt as Doubt), detail: "" } });
  expect(part("badge").tagName).toBe("SPAN"); // nothing to explain
  made.tell({ ...TEXT, doubt: null });
  expect(part("badge")).toBeNull();
  expect(part("fold").hidden).toBe(false);
  made.tell({ ...TEXT, empty: true });
  expect(part("fold").hidden).toBe(true);
});

test("numbers are a table under their subject, each with its formula; they stay open while they change", () => {
  made.tell(TEXT);
  const numbers = part("fold") as HTMLDetailsElement;
  expect(numbers.open).toBe(false);
  const grid = numbers.querySelector("table")!;
  expect(grid.caption!.textContent).toBe("mean of the heads");
  const cells = () => [...grid.querySelectorAll("th, td")].map((cell) => cell.firstChild!.textContent);
  expect(cells().slice(0, 2)).toEqual(["market share", "34.4 %"]);
  expect(grid.querySelector("button")!.textContent).toBe("?market_share = m / (m + s). 0: none.");
  expect(part("notes").textContent).toContain("strongest: d1");
  numbers.open = true;
  const [finding] = TEXT.summary.findings;
  made.tell({ ...TEXT, summary: { ...TEXT.summary, subject: "", findings: [{ ...finding!, value: null }] } });
  expect(numbers.open).toBe(true);
  expect(grid.caption).toBeNull();
  expect(cells()[1]).toBe("not a number");
});

test("the table is asked for when it is opened, and again when the picture changes under it", () => {
  made.tell(TEXT);
  expect(asked).toBe(0);
  root.querySelector<HTMLDetailsElement>("details details")!.open = true;
  expect(asked).toBe(1);
  made.fill(TABLE);
  const table = part("values").querySelector("table")!;
  expect(table.caption!.textContent).toBe("the first 1 of 1,234 rows");
  expect([...table.querySelectorAll("[scope]")].map((cell) => cell.textContent)).toEqual(["day", "weight", "d1"]);
  made.tell(TEXT);
  expect([asked, part("values").textContent]).toEqual([2, ""]);
});

test("text keeps the height of the longest so far, until the width changes", () => {
  let width = 300;
  let height = 40;
  let resized = () => {};
  class Sizes {
    constructor(heard: () => void) {
      resized = heard;
    }
    observe(): void {}
    disconnect(): void {}
  }
  vi.stubGlobal("ResizeObserver", Sizes);
  vi.spyOn(HTMLElement.prototype, "clientWidth", "get").mockImplementation(() => width);
  vi.spyOn(HTMLElement.prototype, "offsetHeight", "get").mockImplementation(() => height);
  made = caption(root.appendChild(document.createElement("div")), () => {}, closing.signal);
  const prose = root.querySelectorAll<HTMLElement>(".stockformer-prose")[1]!;
  const heights = [40, 60, 20].map((next) => ((height = next), resized(), prose.style.minHeight));
  expect(heights).toEqual(["40px", "60px", "60px"]);
  width = 500;
  resized();
  expect(prose.style.minHeight).toBe("20px");
});

test.each([
  ["diffuseness", 0.96234, ["diffuseness", "0.962"]],
  ["change_percent", -30.04, ["change", "-30 %"]],
  ["share_of_days", 0.5, ["share of days", "0.5"]],
  ["top_five_share", 0.9612, ["top five share", "96.1 %"]],
])("%s %f as a person writes it", (name, value, written) => {
  expect(named(name, value)).toEqual(written);
});

test("numbers and shares as text", () => {
  const numbers = [0.123456, 1234567.8, null, NaN, 0, 0.000001044].map((one) => number(one));
  expect(numbers).toEqual(["0.123", "1,234,568", "not a number", "not a number", "0", "1.04e-6"]);
  const shares = [
    share(0.55),
    share(1),
    share(0.015491972, 0.25),
    share(0.5, 0.251),
    share(0.5, 0.01),
    share(null),
    share(4e-6),
  ];
  expect(shares).toEqual([
    "55.0 %",
    "100 %",
    "1.55 % (0.06 x even)",
    "50.0 % (1.99 x even)",
    "50.0 % (50 x even)",
    "not a number",
    "<0.001 %",
  ]);
});

test("the widget shows what the kernel says, asks it for the table, and is silent once it is closed", () => {
  const traits = { reading: [["d1"]] as [string][], at_pointer: false, text: TEXT };
  const model = new FakeModel(traits);
  const ending = new AbortController();
  const el = document.body.appendChild(document.createElement("div"));
  viewCaption.render({ model: model.typed, el, signal: ending.signal });
  expect(el.querySelector(".stockformer-reading")!.textContent).toBe("d1");
  model.change("at_pointer", true);
  expect(el.querySelector(".stockformer-at-pointer")).not.toBeNull();
  model.change("text", { ...TEXT, caveats: [] });
  expect(el.querySelector(".stockformer-caveat")).toBeNull();
  el.querySelector<HTMLDetailsElement>("details details")!.open = true;
  expect(model.sent).toEqual([{ ask: "table" }]);
  ending.abort();
  expect([model.listening, el.childElementCount]).toEqual([0, 0]);
});
