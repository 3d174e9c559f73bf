// The interface of a renderer of bodies of one type.

import type { Phrase, Table } from "../../caption";
import type { Selection } from "../bundle";
import type { Axis } from "../chart";

/** A place in a picture: steps along its axes, -1 where nothing is selected. */
export type Place = readonly number[];

export interface Mouse {
  click(place: Place): void;
  /** The place under the mouse; null when it has left. */
  hover(place: Place | null): void;
  /** Apply the change that a control beside the picture makes. */
  choose(change: Partial<Selection>): void;
}

/** How bodies of one type are drawn and read. */
export interface Renderer<B> {
  /** Make the elements of a picture in `root`; returns a function that draws a body in them. */
  make(root: HTMLElement, mouse: Mouse, signal: AbortSignal): (body: B, where: Selection) => void;
  /** The selected place. */
  selected(body: B, where: Selection): Place;
  /** The change of the selection by a click on a place. */
  change(body: B, place: Place, where: Selection): Partial<Selection>;
  /** A place in words. */
  words(body: B, place: Place): Phrase[];
  /** Its values. */
  table(body: B): Table;
}

/** Largest number of cells of a table in the page. */
const MOST_CELLS = 4000;

/** The first rows of a table, as many as a page can hold. */
export function rowsOf(columns: string[], of: number, row: (place: number) => string[]): Table {
  const most = Math.min(of, Math.floor(MOST_CELLS / columns.length));
  return { columns, rows: Array.from({ length: most }, (_, place) => row(place)), of };
}

/** The selected place on an axis, by the field that it sets; -1 where there is none. Days end on the same day. */
export function placeOn({ names }: Axis, field: string, where: Selection): number {
  if (field === "query" || field === "key") return Math.max(names.length - 1 - where[field], 0);
  if (field === "feature") return where.feature === null ? -1 : names.indexOf(where.feature);
  if (field === "layer" || field === "sample") return where[field];
  return field === "head" ? (where.head ?? -1) : -1;
}

/** What a click on a place of an axis changes; again on the selected head or feature, that none is selected. */
export function changeOn({ names, sets }: Axis, place: number, where: Selection): Partial<Selection> {
  switch (sets) {
    case "query":
    case "key":
      return { [sets]: names.length - 1 - place };
    case "layer":
    case "sample":
      return { [sets]: place };
    case "head":
      return { head: place === where.head ? null : place };
    case "feature":
      return { feature: names[place] === where.feature ? null : names[place]! };
    default:
      return {};
  }
}

/** A place in words. */
export const nameOf = ({ names, full }: Axis, place: number): string => (full ?? names)[place] ?? "";
