import { expect, test } from "vitest";
import { channels, DIVERGING, levelOf, SEQUENTIAL } from "../src/colors";
import { CAPTION, find, FRAME, GAP, layout, order } from "../src/layout";
import { type HeadMap, levels, split } from "../src/maps";

const map = (layer: number, head: number, more: Partial<HeadMap> = {}): HeadMap => ({
  layer,
  head,
  queries: 2,
  keys: 3,
  largest: 0.5,
  grey: "",
  statistics: {},
  ...more,
});

const model = (layers: number, heads: number): HeadMap[] =>
  Array.from({ length: layers * heads }, (_, number) => map(Math.floor(number / heads), number % heads));

test("palettes begin, end and mark what is missing as the colour maps do", () => {
  const pixel = (red: number, green: number, blue: number) => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
  expect(SEQUENTIAL[0]).toBe(pixel(68, 1, 84)); // viridis
  expect(SEQUENTIAL[254]).toBe(pixel(253, 231, 37));
  expect(SEQUENTIAL[255]).toBe(pixel(150, 150, 150));
  expect(DIVERGING[0]! & 255).toBeLessThan((DIVERGING[0]! >> 16) & 255); // blue below 0
  expect(DIVERGING[254]! & 255).toBeGreaterThan((DIVERGING[254]! >> 16) & 255);
  expect(channels("#d55e00")).toEqual([213, 94, 0]);
  expect(() => channels("red")).toThrow("no colour: red");
});

test.each([
  [0, 0, 1, 0],
  [1, 0, 1, 254],
  [0.5, 0, 1, 127],
  [7, 0, 1, 254],
  [0, -2, 2, 127],
  [NaN, 0, 1, 255],
  [Infinity, 0, 1, 255],
  [3, 3, 3, 0],
])("the level of %d between %d and %d", (value, low, high, level) => {
  expect(levelOf(value, low, high)).toBe(level);
});

test("codes are cut by map", () => {
  const maps = [map(0, 0), map(0, 1, { queries: 1, keys: 2, largest: 0.25 })];
  const parts = split(maps, new Uint8Array([0, 127, 254, 255, 1, 2, 254, 0]));
  expect(parts.map((part) => [...part])).toEqual([
    [0, 127, 254, 255, 1, 2],
    [254, 0],
  ]);
  expect(() => split(maps, new Uint8Array(7))).toThrow("7 codes for maps of 8 cells");
});

test("colours are relative to the last one of the scale", () => {
  const one = map(0, 0, { largest: 0.5 });
  expect([...levels(one, new Uint8Array([0, 254, 255]), 1)]).toEqual([0, 127, 255]);
  expect([...levels(one, new Uint8Array([254]), 0.5)]).toEqual([254]);
  expect([...levels(one, Float32Array.of(0, 0.5, NaN), 1)]).toEqual([0, 127, 255]);
});

test("layers are rows, heads are columns", () => {
  const plan = layout(model(3, 4), 600, null);
  const apart = plan.side + GAP;
  expect(plan.places.map(({ x }) => (x - FRAME) / apart)).toEqual([0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
  expect(plan.places.at(-1)!.y).toBe(2 * (plan.side + CAPTION + GAP) + CAPTION);
  expect(4 * apart - GAP + 2 * FRAME).toBeLessThanOrEqual(600);
});

test("a layer that does not fit goes on below, and the next begins a row", () => {
  const plan = layout(model(2, 12), 340, null);
  expect(Math.max(...plan.places.map(({ x }) => x + plan.side))).toBeLessThanOrEqual(340 - FRAME);
  const rows = plan.places.map(({ y }) => y);
  expect(new Set(rows.slice(0, 12)).size).toBe(3);
  expect(rows[12]).toBeGreaterThan(rows[11]!);
  expect(plan.places[12]!.x).toBe(FRAME);
});

test.each([[], model(1, 1)].map((maps) => [maps.length, maps] as const))("%d maps fit anywhere", (_, maps) => {
  for (const width of [1, 60, 3000]) {
    expect(layout(maps, width, null).places.length).toBe(maps.length);
    expect(layout(maps, width, "recency").places.length).toBe(maps.length);
  }
});

test("sorted by a statistic, the largest first, what has none last", () => {
  const maps = [0.2, null, 0.9, 0.2].map((entropy, head) => map(0, head, { statistics: { entropy } }));
  expect(order(maps, "entropy")).toEqual([2, 0, 3, 1]);
  expect(order(maps, null)).toEqual([0, 1, 2, 3]);
  expect(layout(maps, 600, "entropy").places.map((place) => place.map)).toEqual([2, 0, 3, 1]);
});

test("a point is found in its map, caption included, and not between maps", () => {
  const plan = layout(model(2, 2), 220, null);
  const { x, y } = plan.places[3]!;
  expect(find(plan, x + plan.side / 2, y + plan.side / 4)).toEqual({ place: plan.places[3], across: 0.5, down: 0.25 });
  expect(find(plan, x, y - 1)).toEqual({ place: plan.places[3], across: 0, down: 0 });
  expect(find(plan, x - 1, y)).toBeNull();
});
