// Layout of the maps of a head grid.

import type { HeadMap } from "./maps";

/** A map's square in pixels; its caption is above it. */
export interface Place {
  map: number;
  x: number;
  y: number;
}

export interface Layout {
  places: Place[];
  /** Side of a map in pixels. */
  side: number;
  height: number;
}

/** Pixels: the caption's line, the gap between maps, and the smallest and largest side of a map. */
export const CAPTION = 14;
export const GAP = 6;
/** What the frame of the selected map needs beside it. */
export const FRAME = 3;
const SMALLEST = 52;
const LARGEST = 150;

/** The order of maps: by layer and head, or by a statistic, the largest first and missing numbers last. */
export function order(maps: readonly HeadMap[], by: string | null): number[] {
  const numbers = maps.map((_, number) => number);
  if (by === null) return numbers;
  const value = (number: number) => maps[number]!.statistics[by] ?? -Infinity;
  return numbers.sort((one, other) => value(other) - value(one) || one - other);
}

/** Rows of maps in a width; unsorted, every layer begins a row. */
export function layout(maps: readonly HeadMap[], width: number, by: string | null): Layout {
  const heads = Math.max(1, ...maps.map((map) => map.head + 1));
  const room = width - 2 * FRAME + GAP;
  const fitting = Math.max(1, Math.floor(room / (SMALLEST + GAP)));
  const columns = Math.min(heads, fitting);
  const side = Math.min(LARGEST, Math.max(SMALLEST, Math.floor(room / columns) - GAP));
  const across = by === null ? columns : Math.max(1, Math.floor(room / (side + GAP)));
  let row = -1;
  let column = across;
  let layer = -1;
  const places = order(maps, by).map((number) => {
    const map = maps[number]!;
    if (column === across || (by === null && map.layer !== layer)) {
      row += 1;
      column = 0;
      layer = map.layer;
    }
    return { map: number, x: FRAME + column++ * (side + GAP), y: row * (side + CAPTION + GAP) + CAPTION };
  });
  return { places, side, height: (row + 1) * (side + CAPTION + GAP) };
}

/** The map at a point, and the point in it as shares of its sides; null between maps. */
export function find(
  { places, side }: Layout,
  x: number,
  y: number,
): { place: Place; across: number; down: number } | null {
  const place = places.find((one) => x >= one.x && x < one.x + side && y >= one.y - CAPTION && y < one.y + side);
  if (place === undefined) return null;
  return { place, across: (x - place.x) / side, down: Math.max(0, (y - place.y) / side) };
}
