// Attention maps as they cross the wire: whole numbers, each map relative to its own largest weight.

import { levelOf } from "./colors";

/** One head's map. */
export interface HeadMap {
  layer: number;
  head: number;
  queries: number;
  keys: number;
  /** The weight that the highest code stands for. */
  largest: number;
  /** Name -> value, null where there is none. */
  statistics: Record<string, number | null>;
}

/** Whole numbers for weights: 0 to `top(codes)`, and one more for what is no number. */
export type Codes = Uint8Array | Uint16Array;

export function top(codes: Codes): number {
  return 2 ** (8 * codes.BYTES_PER_ELEMENT) - 2;
}

/** The codes of every map, cut from one row of them. */
export function split<T extends Codes>(maps: readonly HeadMap[], codes: T): T[] {
  let start = 0;
  const parts = maps.map(({ queries, keys }) => codes.subarray(start, (start += queries * keys)) as T);
  if (start !== codes.length) throw new Error(`${codes.length} codes for maps of ${start} cells`);
  return parts;
}

/** code -> palette entry, where `whole` is the weight of the last colour. */
export function levels(map: HeadMap, codes: Codes, whole: number): Uint8Array {
  const highest = top(codes);
  const table = new Uint8Array(highest + 2);
  for (let code = 0; code <= highest; code++) table[code] = levelOf((code / highest) * map.largest, 0, whole);
  table[highest + 1] = 255;
  return table;
}

/** The weights that codes stand for, NaN for what is no number. */
export function weights(map: HeadMap, codes: Codes): Float32Array {
  const highest = top(codes);
  return Float32Array.from(codes, (code) => (code > highest ? NaN : (code / highest) * map.largest));
}
