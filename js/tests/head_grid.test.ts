// @vitest-environment happy-dom

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { SEQUENTIAL } from "../src/colors";
import headGrid from "../src/head_grid";
import { CAPTION, FRAME } from "../src/layout";
import type { HeadMap } from "../src/maps";
import { browser, FakeModel, sheet } from "./fakes";

const RECENCY = [0.1, 0.9, 0.5, 0.3]; // of the heads, in the model's order
const SIDE = 150; // pixels of a map where there is room

let closing: AbortController;
let root: HTMLElement;
let model: ReturnType<typeof open>;

/** Two layers of two heads, maps of 2 x 4 cells; the first map's cells are 0, 1, ... 7 of 254 codes. */
function open() {
  const maps: HeadMap[] = RECENCY.map((recency, place) => {
    const [layer, head] = [Math.floor(place / 2), place % 2];
    return { layer, head, queries: 2, keys: 4, largest: head === 0 ? 0.5 : 1, grey: "", statistics: { recency } };
  });
  const made = new FakeModel({ maps, codes: bytes(0), layer: 0, head: 1 as number | null });
  headGrid.render({ model: made.typed, el: root, signal: closing.signal });
  return made;
}

/** The codes of all maps: those of map `n` begin at `first` + 40 n. */
function bytes(first: number): DataView {
  const padded = Uint8Array.from(
    { length: 3 + 32 },
    (_, place) => first + 40 * Math.floor((place - 3) / 8) + ((place - 3) % 8),
  );
  return new DataView(padded.buffer, 3); // what arrives is a part of a message
}

beforeEach(() => {
  browser(700);
  vi.useFakeTimers();
  closing = new AbortController();
  root = document.createElement("div");
  document.body.replaceChildren(root);
  model = open();
});

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const canvases = () => [...root.querySelectorAll("canvas")].map(sheet);
const box = () => root.querySelector<HTMLElement>(".stockformer-grid-maps")!;
const choice = (label: string) => root.querySelector<HTMLSelectElement>(`select[aria-label="${label}"]`)!;

function choose(label: string, option: string): void {
  choice(label).selectedIndex = [...choice(label).options].findIndex(({ text }) => text === option);
  choice(label).dispatchEvent(new Event("change"));
}

/** A mouse event over a cell of the map in a row and column of the grid. */
function mouse(type: string, row: number, column: number, query: number, key: number): void {
  const { pictures } = canvases()[0]!;
  const { x, y } = pictures[2 * row + column]!;
  const at = { clientX: x + ((key + 0.5) / 4) * SIDE, clientY: y + ((query + 0.5) / 2) * SIDE };
  box().dispatchEvent(new MouseEvent(type, at));
}

test("every map is painted where its layer and head stand, on one scale", () => {
  const { pictures, texts } = canvases()[0]!;
  expect(texts).toEqual(["L0 H0  0.10", "L0 H1  0.90", "L1 H0  0.50", "L1 H1  0.30"]);
  expect(pictures.map(({ side }) => side)).toEqual(Array(4).fill(SIDE));
  expect(pictures[0]).toMatchObject({ x: FRAME, y: CAPTION });
  expect(pictures[1]!.x).toBeGreaterThan(FRAME + SIDE);
  expect(pictures[2]!.y).toBeGreaterThan(CAPTION + SIDE);
  // Half of the largest weight of all is half-way up the palette for a map whose own largest it is.
  expect(pictures[0]!.pixels).toEqual([0, 1, 1, 2, 2, 3, 3, 4].map((level) => SEQUENTIAL[level]));
  expect(pictures[1]!.pixels).toEqual([40, 41, 42, 43, 44, 45, 46, 47].map((level) => SEQUENTIAL[level]));
  choose("colours", "each its own");
  expect(canvases()[0]!.pictures[0]!.pixels).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((level) => SEQUENTIAL[level]));
});

test("new codes are painted", () => {
  model.change("codes", bytes(100));
  expect(canvases()[0]!.pictures[1]!.pixels[0]).toBe(SEQUENTIAL[140]);
});

test("the selected head has a frame, a layer's mean a dashed one around each", () => {
  const { pictures } = canvases()[0]!;
  const frameOf = (map: number, dashed: boolean) => ({ x: pictures[map]!.x - 2, y: pictures[map]!.y - 2, dashed });
  expect(canvases()[1]!.frames).toEqual([frameOf(1, false)]);
  model.change("layer", 1);
  expect(canvases()[1]!.frames).toEqual([frameOf(3, false)]);
  model.change("head", null);
  expect(canvases()[1]!.frames).toEqual([frameOf(2, true), frameOf(3, true)]);
});

test.each([
  [0, 0, 0, 0],
  [0, 1, 1, 3],
  [1, 0, 0, 2],
])("a click in row %i, column %i on cell %i, %i is sent", (row, column, query, key) => {
  mouse("click", row, column, query, key);
  expect(model.sent).toEqual([{ event: "click", cell: { layer: row, head: column, query, key } }]);
});

test("a click beside the maps is nothing", () => {
  box().dispatchEvent(new MouseEvent("click", { clientX: 690, clientY: 20 }));
  expect(model.sent).toEqual([]);
});

test("of many moves of the mouse the last is sent", () => {
  for (const key of [0, 1, 2]) mouse("mousemove", 1, 1, 0, key);
  expect(model.sent).toEqual([]);
  vi.advanceTimersByTime(60);
  expect(model.sent).toEqual([{ event: "hover", cell: { layer: 1, head: 1, query: 0, key: 2 } }]);
  box().dispatchEvent(new MouseEvent("mouseleave"));
  vi.advanceTimersByTime(60);
  expect(model.sent.at(-1)).toEqual({ event: "hover", cell: null });
});

test("sorted by a statistic, a click finds the map that stands there", () => {
  expect([...choice("sort by").options].map(({ text }) => text)).toEqual(["layer and head", "recency"]);
  choose("sort by", "recency");
  expect(canvases()[0]!.texts).toEqual(["L0 H1  0.90", "L1 H0  0.50", "L1 H1  0.30", "L0 H0  0.10"]);
  mouse("click", 0, 1, 1, 0);
  expect(model.sent).toEqual([{ event: "click", cell: { layer: 1, head: 0, query: 1, key: 0 } }]);
});

test("closed, nothing of it is left, and nothing more is sent", () => {
  mouse("mousemove", 0, 0, 0, 0);
  expect(model.listening).toBe(3);
  closing.abort();
  vi.advanceTimersByTime(1000);
  expect(model.sent).toEqual([]);
  expect(model.listening).toBe(0);
  expect(root.childElementCount).toBe(0);
});

test("the legend says what grey is", () => {
  const legend = () => root.querySelector(".stockformer-grid-controls")!.textContent;
  expect(legend()).not.toContain("■");
  const [first, ...others] = model.get("maps");
  model.set("maps", [{ ...first!, grey: "masked" }, { ...others[0]!, grey: "not a number" }, ...others.slice(1)]);
  model.change("codes", bytes(0));
  expect(legend()).toContain("■ masked or not a number");
});
