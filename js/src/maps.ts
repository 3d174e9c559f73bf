// Attention maps as they cross the wire.

import { levelOf } from "./colors";

/** One head's map. */
export interface HeadMap {
  layer: number;
  head: number;
  queries: number;
  keys: number;
  /** The largest weight that is a number. */
  largest: number;
  /** What its grey cells are; empty where there are none. */
  grey: string;
  /** Name -> value, null where there is none. */
  statistics: Record<string, number | null>;
}

/**
 * Weights as they travel. Bytes are for display: 0 to 254 is 0 to the map's largest weight, 255 is masked or no number.
 * Two bytes are the bits of half-precision numbers, which are the weights times `HALF_SCALE`.
 */
export type Codes = Uint8Array | Uint16Array;

const BYTE_TOP = 254;
const HALF_SCALE = 2 ** 15;
/** code -> weight of two bytes. */
let halves: Float32Array | undefined;

/** What gives the weight that a code stands for, NaN for no number. */
function decoder(map: HeadMap, codes: Codes): (code: number) => number {
  if (codes instanceof Uint8Array) return (code) => (code > BYTE_TOP ? NaN : (code / BYTE_TOP) * map.largest);
  const table = (halves ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => half(bits) / HALF_SCALE));
  return (code) => table[code]!;
}

/** The number that 16 bits stand for in IEEE 754 half precision. */
export function half(bits: number): number {
  const [sign, exponent, fraction] = [bits & 0x8000 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** The codes of every map, cut from one row of them. */
export function split<T extends Codes>(maps: readonly HeadMap[], codes: T): T[] {
  let start = 0;
  const parts = maps.map(({ queries, keys }) => codes.subarray(start, (start += queries * keys)) as T);
  if (start !== codes.length) throw new Error(`${codes.length} codes for maps of ${start} cells`);
  return parts;
}

/** The palette entries of cells, where `whole` is the weight of the last colour. */
export function levels(map: HeadMap, codes: Codes, whole: number): Uint8Array {
  const weight = decoder(map, codes);
  const level = (code: number) => levelOf(weight(code), 0, whole);
  const number = 256 ** codes.BYTES_PER_ELEMENT;
  if (codes.length < number) return each(codes, Uint8Array, level);
  const table = Uint8Array.from({ length: number }, (_, code) => level(code)); // fewer codes than cells
  return each(codes, Uint8Array, (code) => table[code]!);
}

/** The weights that codes stand for, NaN for what is no number. */
export function weights(map: HeadMap, codes: Codes): Float32Array {
  return each(codes, Float32Array, decoder(map, codes));
}

/** What a function makes of every code: ten times as fast as `from`, which asks an iterator. */
function each<T extends Uint8Array | Float32Array>(
  codes: Codes,
  Made: new (length: number) => T,
  of: (code: number) => number,
): T {
  const made = new Made(codes.length);
  for (let place = 0; place < codes.length; place++) made[place] = of(codes[place]!);
  return made;
}
