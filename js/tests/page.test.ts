import { expect, test } from "vitest";
import type { HeadMap } from "../src/maps";
import { number, namedSteps } from "../src/page/axes";
import { type Bundle, byFeature, difference, largest, type Sample, selectedMap, unpack } from "../src/page/bundle";
import { moved } from "../src/page/controls";
import { store } from "../src/page/store";

const days = (length: number) => Array.from({ length }, (_, day) => `day ${day}`);

function sample(title: string, layers: number, heads: number, queries: number, keys: number): Sample {
  const maps: HeadMap[] = Array.from({ length: layers * heads }, (_, place) => {
    return {
      layer: Math.floor(place / heads),
      head: place % heads,
      queries,
      keys,
      largest: 65534,
      grey: "",
      statistics: {},
    };
  });
  return {
    title,
    kinds: [{ name: "cross", title: "Cross", maps, queries: days(queries), keys: days(keys) }],
    gates: [],
    pooling: null,
    prices: [],
    days: days(queries),
    saliency: { method: "m", target: "t", inputs: [{ names: ["a", "b"], days: days(2) }], unavailable: 0 },
    prediction: null,
  };
}

function bundle(mode: Bundle["mode"], ...samples: Sample[]): Bundle {
  const selection = { sample: 0, kind: "cross", layer: 0, head: null, query: 0, key: 0, feature: null };
  return { mode, samples, about: [], selection };
}

test("bytes are cut into codes and saliency, sample by sample", () => {
  const made = bundle("explorer", sample("A", 1, 2, 2, 3), sample("B", 1, 1, 1, 1));
  const codes = Uint16Array.from({ length: 12 }, (_, place) => 0x7400 + 64 * place); // 16, 17, ... 32nds
  const saliency = Float32Array.from([1, -2, 3, 4]);
  const bytes = new Uint8Array(
    [codes, saliency, Uint16Array.of(0x7800), saliency].flatMap((part) => [...new Uint8Array(part.buffer)]),
  );
  const arrays = unpack(made, bytes);
  const [first, second] = made.samples;
  expect([...arrays.codes.get(first!.kinds[0]!)![1]!]).toEqual([...codes.slice(6)]);
  expect([...arrays.codes.get(second!.kinds[0]!)![0]!]).toEqual([0x7800]);
  expect([...arrays.saliency.get(second!)![0]!]).toEqual([1, -2, 3, 4]);
  const mean = selectedMap(arrays, first!.kinds[0]!, 0, null);
  expect([...mean.values]).toEqual([3, 4, 5, 6, 7, 8].map((step) => (16 + step) / 32));
  expect([...selectedMap(arrays, first!.kinds[0]!, 0, 1).values]).toEqual(
    [6, 7, 8, 9, 10, 11].map((step) => (16 + step) / 32),
  );
  expect(selectedMap(arrays, first!.kinds[0]!, 0, null)).toBe(mean);
  expect(byFeature(first!.saliency!.inputs, arrays.saliency.get(first!)!)).toEqual([
    { name: "a", input: 0, value: 4 },
    { name: "b", input: 0, value: 6 },
  ]);
  expect(() => unpack(made, new Uint8Array([...bytes, 0]))).toThrow("bytes for a bundle of");
});

test("what is masked in every head is masked in their mean", () => {
  const made = bundle("explorer", sample("A", 1, 2, 1, 3));
  const kind = made.samples[0]!.kinds[0]!;
  for (const map of kind.maps) map.grey = "masked";
  const [one, nan] = [0x7800, 0x7e00]; // 2 ** 15, the weight 1, and NaN in half precision
  const codes = new Map([[kind, [Uint16Array.of(one, nan, nan), Uint16Array.of(nan, one, nan)]]]);
  const mean = selectedMap({ codes, grids: new Map(), saliency: new Map() }, kind, 0, null);
  expect([...mean.values]).toEqual([0.5, 0.5, NaN]);
});

test("a difference is of the last days that both have", () => {
  const one = { values: Float32Array.of(1, 2, 3, 4, 5, 6), rows: 2, columns: 3, grey: ["masked"] };
  const other = { values: Float32Array.of(1, 1), rows: 1, columns: 2, grey: [""] };
  expect(difference(one, other)).toEqual({ values: Float32Array.of(4, 5), rows: 1, columns: 2, grey: ["masked", ""] });
});

test("the largest is of what is a number, whatever its sign", () => {
  expect(largest([1, null, NaN, -3, Infinity])).toBe(3);
  expect(largest([])).toBe(0);
});

test("a selection stays among what there is", () => {
  const state = store(bundle("explorer", sample("A", 2, 3, 5, 7), sample("B", 1, 1, 2, 2)));
  state.set({ layer: 9, head: 2, query: 99, key: -1, feature: "b" });
  expect(state.where).toMatchObject({ layer: 1, head: 2, query: 4, key: 0, feature: "b" });
  state.set({ sample: 1 });
  expect(state.where).toMatchObject({ sample: 1, layer: 0, head: null, query: 1, key: 0 });
  state.set({ sample: 5, kind: "none", feature: "c" });
  expect(state.where).toMatchObject({ sample: 1, kind: "cross", feature: null });
});

test("a comparison selects what both samples have", () => {
  const state = store(bundle("comparison", sample("A", 2, 3, 5, 7), sample("B", 3, 2, 9, 4)));
  state.set({ layer: 2, head: 2, query: 8, key: 6 });
  expect(state.where).toMatchObject({ layer: 1, head: null, query: 4, key: 3 });
});

test("followers hear of changes and of nothing else", () => {
  const state = store(bundle("explorer", sample("A", 2, 3, 5, 7)));
  let heard = 0;
  state.follow(() => heard++);
  state.set({ layer: 0 });
  expect(heard).toBe(1);
  state.set({ layer: 1 });
  expect(heard).toBe(2);
});

test.each([
  ["ArrowLeft", { key: 3 }],
  ["ArrowRight", { key: 1 }],
  ["ArrowUp", { query: 3 }],
  ["ArrowDown", { query: 1 }],
  ["]", { layer: 2 }],
  ["h", { head: 0 }],
  ["H", { head: 2 }],
  ["Home", { query: 4 }],
  ["End", { query: 0 }],
  ["Escape", { feature: null }],
  ["x", null],
])("the key %s", (key, change) => {
  const state = store(bundle("explorer", sample("A", 2, 3, 5, 7)));
  state.set({ layer: 1, query: 2, key: 2 });
  expect(moved(state, key, "key", "query")).toEqual(change);
});

test("days are named from the last", () => {
  expect(namedSteps(10, 3)).toEqual([9, 6, 3, 0]);
  expect(namedSteps(1, 5)).toEqual([0]);
});

test("numbers as text", () => {
  expect([number(0.123456), number(1234567), number(null), number(NaN), number(0)]).toEqual([
    "0.1235",
    "1235000",
    "not a number",
    "not a number",
    "0",
  ]);
});

test("up and down go through the bars in their order", () => {
  const state = store(bundle("explorer", sample("A", 1, 1, 2, 2)));
  const press = (key: string) => state.set(moved(state, key, "query", "feature", ["b", "a"])!);
  const seen = ["ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp", "Escape"].map(
    (key) => (press(key), state.where.feature),
  );
  expect(seen).toEqual(["b", "a", "a", "b", null]);
});
