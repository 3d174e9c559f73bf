// Values as colours: a table of packed pixels per colour map, with one more entry for missing values.

import { scaleLinear } from "d3-scale";
import { interpolateViridis, schemeRdBu } from "d3-scale-chromatic";

/** Number of colours; the entry after them is for missing values. */
export const LEVELS = 255;
const MISSING = "rgb(150, 150, 150)";

/** Pixels of the levels 0..254, and of "no number" at 255, as ImageData holds them. */
export type Palette = Uint32Array;

export const SEQUENTIAL: Palette = palette(interpolateViridis);
/** Blue to red: red is above 0. */
export const DIVERGING: Palette = palette(
  scaleLinear(
    [...schemeRdBu[11]!.keys()].map((stop) => 1 - stop / 10),
    schemeRdBu[11]!,
  ),
);

function palette(interpolate: (share: number) => string): Palette {
  const colors = Array.from({ length: LEVELS }, (_, level) => interpolate(level / (LEVELS - 1)));
  return Uint32Array.from([...colors, MISSING], packed);
}

function packed(color: string): number {
  const [red, green, blue] = channels(color);
  // ImageData is red, green, blue, alpha in memory; every machine that runs a browser is little-endian.
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** The 0..255 channels of `rgb(r, g, b)` or `#rrggbb`. */
export function channels(color: string): [number, number, number] {
  const numbers = color.startsWith("#")
    ? [1, 3, 5].map((place) => parseInt(color.slice(place, place + 2), 16))
    : (color.match(/\d+/g) ?? []).map(Number);
  const [red, green, blue] = numbers;
  if (red === undefined || green === undefined || blue === undefined) throw new Error(`no colour: ${color}`);
  return [red, green, blue];
}

/** A CSS gradient through a palette, for a colour bar. */
export function gradient(colors: Palette): string {
  const stops = Array.from({ length: 16 }, (_, stop) => {
    const pixel = colors[Math.round((stop / 15) * (LEVELS - 1))]!;
    return `rgb(${pixel & 255} ${(pixel >> 8) & 255} ${(pixel >> 16) & 255})`;
  });
  return `linear-gradient(to right, ${stops.join(", ")})`;
}

/** What the grey cells of some maps mean, in words; empty without any. */
export function greyWords(maps: readonly string[]): string {
  return [...new Set(maps.flatMap((words) => words.split(" or ")))].filter(Boolean).join(" or ");
}

/** The same for a legend. */
export function greyLegend(maps: readonly string[]): (Node | string)[] {
  const words = greyWords(maps);
  const swatch = Object.assign(document.createElement("span"), { textContent: "■", style: `color: ${MISSING}` });
  return words ? ["  ", swatch, ` ${words}`] : [];
}

/** A picture of cells, one pixel each; `level` gives the palette entry of a cell. */
export function picture(rows: number, columns: number, colors: Palette, level: (cell: number) => number): ImageData {
  const image = new ImageData(columns, rows);
  const pixels = new Uint32Array(image.data.buffer);
  for (let cell = 0; cell < pixels.length; cell++) pixels[cell] = colors[level(cell)]!;
  return image;
}

/** The palette entry of a value between two ends, on a logarithmic scale by ratios; `LEVELS` for a missing one. */
export function levelOf(value: number, low: number, high: number, log = false): number {
  if (!Number.isFinite(value)) return LEVELS;
  if (log) return levelOf(Math.log(Math.max(value, low)), Math.log(low), Math.log(high));
  const share = high > low ? (value - low) / (high - low) : 0;
  return Math.round(Math.min(Math.max(share, 0), 1) * (LEVELS - 1));
}
