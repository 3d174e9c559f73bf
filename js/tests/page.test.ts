// @vitest-environment happy-dom

import { beforeEach, expect, test, vi } from "vitest";
import { changeOn, placeOn } from "../src/page/bodies/body";
import { namedSteps } from "../src/page/bodies/canvas";
import { linked } from "../src/page/address";
import { PANELS } from "../src/page/bodies/panels";
import { type Bundle, charts, type Packed, type Sample, type View } from "../src/page/bundle";
import { GRID } from "../src/page/bodies/grid";
import { HEATMAP } from "../src/page/bodies/heatmap";
import { LINES } from "../src/page/bodies/lines";
import type { Axis, Body, Grid, Heatmap, Lines, Panels } from "../src/page/chart";
import { moved } from "../src/page/controls";
import { spoken } from "../src/caption";
import { SEQUENTIAL } from "../src/colors";
import { store } from "../src/page/store";
import { type Host, view } from "../src/page/view";
import { browser, sheet } from "./fakes";

function sample(title: string, layers: number, heads: number, queries: number, keys: number): Sample {
  const layer = { heads, queries, keys };
  return {
    title,
    kinds: [{ name: "cross", title: "Cross", layers: Array.from({ length: layers }, () => layer) }],
    features: ["a", "b"],
    views: {},
  };
}

function bundle(...samples: Sample[]): Bundle {
  const selection = {
    sample: 0,
    kind: "cross",
    layer: 0,
    head: null,
    query: 0,
    key: 0,
    feature: null,
    log_colors: false,
  };
  return { samples, sections: [], texts: [], about: [], selection };
}

test("a selection stays among what there is", () => {
  const state = store(bundle(sample("A", 2, 3, 5, 7), sample("B", 1, 1, 2, 2)));
  state.set({ layer: 9, head: 2, query: 99, key: -1, feature: "b" });
  expect(state.where).toMatchObject({ layer: 1, head: 2, query: 4, key: 0, feature: "b" });
  state.set({ sample: 1 });
  expect(state.where).toMatchObject({ sample: 1, layer: 0, head: null, query: 1, key: 0 });
  state.set({ sample: 5, kind: "none", feature: "c" });
  expect(state.where).toMatchObject({ sample: 1, kind: "cross", feature: null });
});

test("followers hear of changes and of nothing else", () => {
  const state = store(bundle(sample("A", 2, 3, 5, 7)));
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
  const state = store(bundle(sample("A", 2, 3, 5, 7)));
  state.set({ layer: 1, query: 2, key: 2 });
  expect(moved(state, key, "key", "query")).toEqual(change);
});

test("a place of an axis of samples is a sample", () => {
  const state = store(bundle(sample("A", 2, 3, 5, 7), sample("B", 2, 3, 5, 7), sample("C", 2, 3, 5, 7)));
  const windows = { names: ["A", "B", "C"], sets: "sample" } as Axis;
  state.set(changeOn(windows, 2, state.where));
  expect(state.sample.title).toBe("C");
  expect(placeOn(windows, "sample", state.where)).toBe(2);
  const press = (key: string) => state.set(moved(state, key, "sample", "sample")!);
  press("ArrowLeft");
  expect(state.sample.title).toBe("B");
  for (let times = 0; times < 3; times++) press("ArrowDown");
  expect(state.sample.title).toBe("C");
});

test("up and down go through the bars in their order", () => {
  const state = store(bundle(sample("A", 1, 1, 2, 2)));
  const press = (key: string) => state.set(moved(state, key, "query", "feature", ["b", "a"])!);
  const seen = ["ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp", "Escape"].map(
    (key) => (press(key), state.where.feature),
  );
  expect(seen).toEqual(["b", "a", "a", "b", null]);
});

test("days are named from the last", () => {
  expect(namedSteps(10, 4)).toEqual([9, 6, 3, 0]);
  expect(namedSteps(32, 22)).toHaveLength(16); // never more than there is room for
  expect(namedSteps(1, 5)).toEqual([0]);
});

test("axes of other lengths end on the same day", () => {
  const where = { ...bundle().selection, query: 2 };
  const days = (length: number) => ({ names: Array<string>(length).fill("") }) as Axis;
  expect([3, 5, 2].map((length) => placeOn(days(length), "query", where))).toEqual([0, 2, 0]);
});

const axis = (names: string[], sets: string) => ({ names, label: sets, sets, also: "", full: null });
const DAYS = ["d0", "d1", "d2"];
const BODIES: Record<string, (layer: number) => Body> = {
  Lines: (layer) => ({
    type: "Lines",
    lines: [
      {
        name: "gate",
        values: Float32Array.of(1, layer, 3),
        words: [],
        color: "red",
        shape: "line",
        emphasis: true,
        form: ".4g",
      },
    ],
    x: axis(DAYS, "query"),
    y: { low: 0, high: 3, label: "", names: [], form: "", log: false },
    band: null,
    reference: [1, "one"],
  }),
  Bars: (layer) => ({
    type: "Bars",
    values: Float32Array.of(-1, layer),
    words: ["-1 (before 0)", `${layer} (before 3)`],
    colors: ["red", "blue"],
    names: axis(["b", "a"], "feature"),
    scale: { low: -1, high: 3, label: "", names: [], form: "", log: false },
    bars_name: "now",
    dots: Float32Array.of(0, 3),
    dots_name: "before",
    dots_color: "red",
  }),
};

test("a cell is said by the sentence of its map, a masked one as such", () => {
  const body: Heatmap = {
    type: "Heatmap",
    values: Float32Array.of(0.12345, 0, -2, NaN),
    rows: { ...axis(["q0", "q1"], "query"), full: ["query 0", "query 1"] },
    columns: axis(["k0", "k1"], "key"),
    scale: { low: 0, high: 1, label: "weight", names: [], form: "", log: false },
    sentence: "from {row}, to {column}, weight {value}",
    form: "+.6g",
    palette: "viridis",
    masked: Float32Array.of(0, 1, 0, 0),
    reference: null,
    log_low: null,
  };
  const words = [0, 1].flatMap((row) => [0, 1].map((column) => spoken(HEATMAP.words(body, [row, column]))));
  expect(words).toEqual([
    "from query 0, to k0, weight +0.123",
    "from query 0, to k1, weight masked",
    "from query 1, to k0, weight -2",
    "from query 1, to k1, weight not a number",
  ]);
  expect(HEATMAP.table(body)).toEqual({
    columns: ["query", "k0", "k1"],
    rows: [
      ["q0", "+0.123", "masked"],
      ["q1", "-2", "not a number"],
    ],
    of: 2,
  });
});

test("a grid holds every map, and a click on one selects head, query and key", () => {
  const cells = (values: number[]): Heatmap => ({
    type: "Heatmap",
    values: Float32Array.from(values),
    rows: axis(["q0", "q1"], "query"),
    columns: axis(["k0", "k1"], "key"),
    scale: { low: 0, high: 1, label: "weight", names: [], form: "", log: false },
    sentence: "query {row}, key {column}, weight {value}",
    form: "",
    palette: "viridis",
    masked: null,
    reference: null,
    log_low: null,
  });
  const where = { ...bundle().selection, layer: 1, head: null };
  const body: Grid = {
    type: "Grid",
    maps: [[cells([1, 2, 3, 4])], [cells([5, 6, 7, 8])]],
    statistics: [{ layer: 0, head: 0, recency: 0.25 }],
  };
  expect(GRID.selected(body, where)).toEqual([1, -1, 1, 1]);
  expect(GRID.change(body, [1, 0, 0, 1], where)).toEqual({ layer: 1, head: 0, query: 1, key: 0 });
  expect(spoken(GRID.words(body, [1, 0, 0, 1]))).toBe("layer 1, head 0, query q0, key k1, weight 6");
  expect(spoken(GRID.words(body, [1, -1, 0, 1]))).toBe("layer 1, mean of the heads");
  expect(GRID.table(body)).toEqual({ columns: ["layer", "head", "recency"], rows: [["0", "0", "0.25"]], of: 1 });
});

/** A value as a page holds it, and the numbers that it names. */
function pack(value: unknown, numbers: number[]): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, one: unknown) => {
      if (!(one instanceof Float32Array)) return one;
      const place = { array: [numbers.length, one.length] };
      numbers.push(...one);
      return place;
    }),
  );
}

function shown(make: (layer: number) => Body, signal = new AbortController().signal) {
  const numbers: number[] = [];
  const packed = (layer: number) =>
    pack(
      {
        title: `layer ${layer}`,
        body: make(layer),
        summary: { verdict: `says ${layer}`, findings: [], subject: "" },
        notes: [{ text: "a note", detail: "why", aside: false }],
        caveats: layer ? ["take care"] : [],
        doubt: null,
        legend: [],
        empty: false,
      },
      numbers,
    ) as Packed;
  const content: View = {
    label: "View",
    horizontal: "query",
    vertical: "layer",
    content: ["layer"],
    charts: { "0": packed(0), "1": packed(1) },
  };
  const bytes = new Uint8Array(Float32Array.from(numbers).buffer);
  const made = bundle({ ...sample("A", 2, 1, 3, 3), views: { V: content } });
  const host: Host = { store: store(made), charts: charts(made, bytes), signal };
  const root = document.body.appendChild(document.createElement("div"));
  view(host, root, "V");
  return { host, section: root.querySelector("section")! };
}

beforeEach(() => {
  document.body.replaceChildren();
  browser(400);
  vi.stubGlobal(
    "Path2D",
    class {
      moveTo() {}
      lineTo() {}
      rect() {}
      arc() {}
    },
  );
});

test.each(Object.entries(BODIES))(
  "a view of %s follows the selection with title, sentence, notes and doubts",
  (_, make) => {
    const { host, section } = shown(make);
    expect(section.querySelector("h3")!.textContent).toBe("layer 0");
    expect(section.textContent).toContain("says 0");
    expect(section.querySelector(".stockformer-note .stockformer-tip")!.textContent).toBe("why");
    expect(section.querySelector(".stockformer-caveat")).toBeNull();
    host.store.set({ layer: 1 });
    expect(section.querySelector("h3")!.textContent).toBe("layer 1");
    expect(section.textContent).toContain("says 1");
    expect(section.querySelector(".stockformer-caveat")!.textContent).toBe("take care");
  },
);

test("an enlarged view without a chart for what is selected is put back", () => {
  const { host, section } = shown(BODIES["Lines"]!);
  const button = section.querySelector<HTMLElement>(".stockformer-enlarger")!;
  expect(button.getAttribute("aria-label")).toBe("enlarge: View");
  button.click();
  host.store.set({ layer: 1 });
  expect(button.getAttribute("aria-label")).toBe("back to its place: View");
  delete host.store.sample.views["V"];
  host.store.set({ layer: 0 });
  expect([section.hidden, section.className]).toEqual([true, "stockformer-page-view"]);
});

test("bars are buttons that select, with their value and the one before", () => {
  const { host, section } = shown(BODIES["Bars"]!);
  host.store.set({ layer: 1 });
  const bars = () => section.querySelectorAll<HTMLElement>(".stockformer-page-bar-row");
  const [one, other] = [...bars()];
  expect([one!.textContent, other!.textContent]).toEqual(["b-1 (before 0)", "a1 (before 3)"]);
  const [stripe, dot] = [...other!.querySelectorAll<HTMLElement>(".stockformer-page-bar-track span")];
  expect([stripe!.style.left, stripe!.style.width, dot!.style.left]).toEqual(["25%", "25%", "100%"]);
  other!.click();
  expect(host.store.where.feature).toBe("a");
  expect(bars()[1]!.getAttribute("aria-pressed")).toBe("true");
  expect(section.querySelector(".stockformer-reading")!.textContent).toBe("a 1 (before 3)");
  bars()[1]!.click();
  expect(host.store.where.feature).toBeNull();
});

test("a map of few large cells offers logarithmic colours, and others do not", () => {
  const cells = (layer: number): Heatmap => ({
    type: "Heatmap",
    values: layer ? Float32Array.of(0.5, 0.4, 0.5, 0.4) : Float32Array.of(1, 0.01, 0.001, 0),
    rows: axis(["q0", "q1"], "query"),
    columns: axis(["k0", "k1"], "key"),
    scale: { low: 0, high: 1, label: "weight", names: [], form: "", log: false },
    sentence: "query {row}, key {column}, weight {value}",
    form: "%",
    palette: "viridis",
    masked: null,
    reference: null,
    log_low: layer ? null : 0.001,
  });
  const { host, section } = shown(cells);
  const log = section.querySelector<HTMLButtonElement>(".stockformer-log")!;
  const levels = () =>
    sheet(section.querySelector("canvas")!).pictures[0]!.pixels.map((one) => SEQUENTIAL.indexOf(one));
  const bar = () => section.querySelector(".stockformer-page-bar")!.textContent;
  expect(log.hidden).toBe(false);
  expect(levels()).toEqual([254, 3, 0, 0]);
  log.click();
  expect(host.store.where.log_colors).toBe(true);
  expect(log.getAttribute("aria-pressed")).toBe("true");
  expect(levels()).toEqual([254, Math.round(254 / 3), 0, 0]); // a thousandth and less is the first colour
  expect(bar()).toContain("≤ 0.100 % ");
  expect(bar()).toContain(" 100 % logarithmic");
  expect(section.querySelector(".stockformer-reading")!.textContent).toContain("weight 0.00 %");
  log.click();
  expect(levels()).toEqual([254, 3, 0, 0]);
  host.store.set({ layer: 1 });
  expect(section.querySelector<HTMLElement>(".stockformer-log")!.hidden).toBe(true);
});

test("ticks have the digits that tell them apart, and two names stand on their axis where they have room", () => {
  const windows = axis(["GOOGL, 2011-01-14", "GOOGL, 2013-05-11"], "sample");
  const lines = BODIES["Lines"]!(2) as Lines;
  const texts = (low: number, high: number, form: "" | "%") => {
    const { section } = shown(() => ({ ...lines, x: windows, y: { ...lines.y, low, high, form } }));
    return sheet(section.querySelector("canvas")!).texts;
  };
  expect(texts(0.98012, 0.98025, "%")).toEqual(["98.015 %", "98.02 %", "98.025 %", windows.names[1], windows.names[0]]);
  expect(texts(12340.1, 12340.2, "").slice(0, 3)).toEqual(["12340.1", "12340.12", "12340.14"]);
  expect(texts(0, 30, "")).toContain("20");
});

test("the line below a picture says what is selected", () => {
  const { host, section } = shown(BODIES["Lines"]!);
  const words = () => section.querySelector(".stockformer-reading")!.textContent;
  expect(words()).toBe("d2, gate 3");
  host.store.set({ query: 2 });
  expect(words()).toBe("d0, gate 1");
});

test("lines of one name are said together, without those that do not reach the place", () => {
  const body = BODIES["Lines"]!(2) as Lines;
  const [gate] = body.lines;
  const lines = [gate!, { ...gate!, values: Float32Array.of(7, 8) }, { ...gate!, name: "mean", color: "blue" }];
  const texts = (place: number) => LINES.words({ ...body, lines }, [place]);
  expect(texts(0)).toEqual([["d0"], ["gate", "1", "red"], ["mean", "1", "blue"]]);
  expect(texts(1)).toEqual([["d1"], ["gate", "2, 7", "red"], ["mean", "2", "blue"]]);
  const rows = [
    ["d0", "1", "1"],
    ["d1", "2, 7", "2"],
    ["d2", "3, 8", "3"],
  ];
  expect(LINES.table({ ...body, lines })).toEqual({ columns: ["query", "gate", "mean"], rows, of: 3 });
  const panels = { type: "Panels", panels: [["one", { ...body, lines }]] } as Panels;
  expect(spoken(PANELS.words(panels, [1]))).toBe("query d1, one gate 2, 7, mean 2");
  expect(PANELS.table(panels).rows[0]).toEqual(["d0", "gate 1, mean 1"]);
});

test("arrays and texts are those of the bundle, and a chart is unpacked once", () => {
  const packed = {
    title: "t",
    body: { values: { array: [1, 2] }, names: { text: 0 }, label: { text: 1 } },
  } as unknown as Packed;
  const content = { label: "", horizontal: "", vertical: "", content: [], charts: { "": packed } };
  const made = { ...bundle(sample("A", 1, 1, 1, 1)), texts: [["x", "y"], "days"] };
  const all = charts(made, new Uint8Array(Float32Array.of(5, 6, 7).buffer));
  const chart = all.of(content, made.selection) as unknown as {
    body: { values: Float32Array; names: string[]; label: string };
  };
  expect([...chart.body.values]).toEqual([6, 7]);
  expect(chart.body).toMatchObject({ names: ["x", "y"], label: "days" });
  expect(all.of(content, made.selection)).toBe(chart);
});

test("the address says what is selected, and selects it", () => {
  const around = document.createElement("div");
  const made = bundle(sample("A, 2008-10-15", 2, 3, 5, 7), sample("B & co", 2, 3, 5, 7));
  const state = store(made);
  linked(state, around);
  const chosen = { sample: 1, layer: 1, head: 2, query: 3, key: 6, feature: "b", log_colors: true };
  state.set(chosen);
  const fragment = location.hash;
  state.set({ sample: 0, layer: 0, head: null, query: 0, key: 0, feature: null, log_colors: false });
  expect(location.hash).toContain("head=mean");
  history.replaceState(null, "", fragment);
  const other = store(made);
  linked(other, around);
  expect(other.where).toEqual({ kind: "cross", ...chosen });
  expect(around.textContent).toBe("");
});

test("what an address says wrongly is left as it is, and a sample that is not there is named", () => {
  const around = document.createElement("div");
  history.replaceState(null, "", "#sample=C&layer=1&query=x&key=-1&head=9&kind=none");
  const state = store(bundle(sample("A", 2, 3, 5, 7)));
  linked(state, around);
  const open = { sample: 0, kind: "cross", head: null, query: 0, key: 0, feature: null, log_colors: false };
  expect(state.where).toEqual({ ...open, layer: 1 });
  expect(around.textContent).toBe("There is no C on this page: this is A.");
});
