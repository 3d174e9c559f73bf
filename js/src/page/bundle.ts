// What an explorer page shows: the numbers of one or more samples, made by `stockformer_widgets.export`.

import { type HeadMap, split, weights } from "../maps";

export interface Bundle {
  /** Names of the samples differ; a comparison has two. */
  mode: "explorer" | "comparison";
  samples: Sample[];
  /** Where it came from, a line each. */
  about: string[];
  selection: Selection;
}

/** Where a person looks. Days count back from the last one, which is 0: so they mean the same in every sample. */
export interface Selection {
  sample: number;
  kind: string;
  layer: number;
  head: number | null;
  query: number;
  key: number;
  feature: string | null;
}

export interface Sample {
  title: string;
  kinds: Kind[];
  /** Mean gate, and the middle 80 % of its dimensions, by day: one a layer. */
  gates: { mean: Numbers; low: Numbers; high: Numbers }[];
  pooling: Numbers | null;
  prices: { name: string; values: Numbers }[];
  days: string[];
  saliency: {
    method: string;
    target: string;
    inputs: { names: string[]; days: string[] }[];
    unavailable: number;
  } | null;
  prediction: { title: string; names: string[]; values: Numbers; classes: boolean; truth: string | null } | null;
}

/** null is what is no number. */
export type Numbers = (number | null)[];

export interface Kind {
  name: string;
  title: string;
  maps: HeadMap[];
  queries: string[];
  keys: string[];
}

/** What is as large as to travel as bytes: maps in half precision, and saliency [days, features] an input. */
export interface Arrays {
  codes: Map<Kind, Uint16Array[]>;
  /** Maps that were looked at: several views read the same one at every step. */
  grids: Map<Kind, Map<string, Grid>>;
  saliency: Map<Sample, Float32Array[]>;
}

/** Cut the bytes that belong to a bundle. */
export function unpack(bundle: Bundle, bytes: Uint8Array): Arrays {
  let start = 0;
  const take = (length: number) => bytes.slice(start, (start += length)).buffer as ArrayBuffer;
  const arrays: Arrays = { codes: new Map(), grids: new Map(), saliency: new Map() };
  for (const sample of bundle.samples) {
    for (const kind of sample.kinds) {
      const cells = kind.maps.reduce((sum, map) => sum + map.queries * map.keys, 0);
      arrays.codes.set(kind, split(kind.maps, new Uint16Array(take(2 * cells))));
    }
    const inputs = sample.saliency?.inputs ?? [];
    arrays.saliency.set(
      sample,
      inputs.map(({ names, days }) => new Float32Array(take(4 * names.length * days.length))),
    );
  }
  if (start !== bytes.length) throw new Error(`${bytes.length} bytes for a bundle of ${start}`);
  return arrays;
}

/** The selected map [query, key], row by row: of a head, or the mean of the layer's heads. */
export function selectedMap(arrays: Arrays, kind: Kind, layer: number, head: number | null): Grid {
  const name = `${layer} ${head}`;
  const grids = arrays.grids.get(kind) ?? new Map<string, Grid>();
  const grid = grids.get(name) ?? decoded(kind, arrays.codes.get(kind)!, layer, head);
  arrays.grids.set(kind, grids.set(name, grid));
  return grid;
}

function decoded(kind: Kind, codes: readonly Uint16Array[], layer: number, head: number | null): Grid {
  const places = [...kind.maps.keys()].filter((place) => {
    const map = kind.maps[place]!;
    return map.layer === layer && (head === null || map.head === head);
  });
  const chosen = places.map((place) => weights(kind.maps[place]!, codes[place]!));
  const grey = places.map((place) => kind.maps[place]!.grey);
  // What is masked in some heads has no weight in them; what is masked in all of them is masked in their mean.
  const masked = (one: number, cell: number) => grey[one] === "masked" && Number.isNaN(chosen[one]![cell]);
  const values = Float32Array.from(chosen[0]!, (_, cell) => {
    if (chosen.every((_, one) => masked(one, cell))) return NaN;
    return chosen.reduce((sum, one, head) => sum + (masked(head, cell) ? 0 : one[cell]! / chosen.length), 0);
  });
  const { queries, keys } = kind.maps[places[0]!]!;
  return { values, rows: queries, columns: keys, grey };
}

/** Values [rows, columns], row by row; NaN where a cell is grey, and what that means. */
export interface Grid {
  values: Float32Array;
  rows: number;
  columns: number;
  grey: string[];
}

export function largest(values: Iterable<number | null>): number {
  let found = 0;
  for (const value of values)
    if (value !== null && Number.isFinite(value) && Math.abs(value) > found) found = Math.abs(value);
  return found;
}

/** The last days of one grid minus those of another; both end on the same day. */
export function difference(one: Grid, other: Grid): Grid {
  const rows = Math.min(one.rows, other.rows);
  const columns = Math.min(one.columns, other.columns);
  const at = (grid: Grid, row: number, column: number) =>
    grid.values[(grid.rows - rows + row) * grid.columns + grid.columns - columns + column]!;
  const values = Float32Array.from({ length: rows * columns }, (_, cell) => {
    const [row, column] = [Math.floor(cell / columns), cell % columns];
    return at(one, row, column) - at(other, row, column);
  });
  return { values, rows, columns, grey: [...one.grey, ...other.grey] };
}

/** A feature's attribution over all days of an input [days, features], absolute values added up. */
export function byFeature(inputs: readonly { names: string[]; days: string[] }[], values: readonly Float32Array[]) {
  return inputs.flatMap(({ names, days }, input) =>
    names.map((name, feature) => {
      let sum = 0;
      for (let day = 0; day < days.length; day++) sum += Math.abs(values[input]![day * names.length + feature]!);
      return { name, input, value: sum };
    }),
  );
}
