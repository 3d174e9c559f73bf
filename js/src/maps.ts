// Binary encoding of attention maps, shared by widget and page.

import { levelOf } from "./colors";

/** One head's map. */
export interface HeadMap {
  layer: number;
  head: number;
  queries: number;
  keys: number;
  /** The largest finite weight. */
  largest: number;
  /** What its grey cells mean; empty without any. */
  grey: string;
  /** Name -> value, null where there is none. */
  statistics: Record<string, number | null>;
}

/** Weights: numbers, or bytes for display, of which 0 to 254 are 0 to the map's largest and 255 is masked or no number. */
export type Codes = Uint8Array | Float32Array;

const BYTE_TOP = 254;

/** Decodes a code to its weight, NaN if there is none. */
function decoder(map: HeadMap, codes: Codes): (code: number) => number {
  if (codes instanceof Float32Array) return (code) => code;
  return (code) => (code > BYTE_TOP ? NaN : (code / BYTE_TOP) * map.largest);
}

/** The codes of every map, cut from one row of them. */
export function split<T extends Codes>(maps: readonly HeadMap[], codes: T): T[] {
  let start = 0;
  const cut = maps.map(({ queries, keys }) => codes.subarray(start, (start += queries * keys)) as T);
  if (start !== codes.length) throw new Error(`${codes.length} codes for maps of ${start} cells`);
  return cut;
}

/** The palette entries of cells, where `whole` is the weight of the last colour. */
export function levels(map: HeadMap, codes: Codes, whole: number): Uint8Array {
  const weight = decoder(map, codes);
  const made = new Uint8Array(codes.length);
  for (let cell = 0; cell < codes.length; cell++) made[cell] = levelOf(weight(codes[cell]!), 0, whole);
  return made;
}
