// Maps of query and key.

import {
  DIVERGING,
  gradient,
  greyLegend,
  greyWords,
  levelOf,
  type Palette,
  picture as pixels,
  SEQUENTIAL,
} from "../../colors";
import { element } from "../../dom";
import { drawDays, drawRows, type Frame, HIGHLIGHT, number } from "../axes";
import { difference, type Grid, largest } from "../bundle";
import { picture } from "../picture";
import { kindOf } from "../store";
import {
  compares,
  counted,
  dayOf,
  DIGITS,
  type Host,
  mapOf,
  mapTitle,
  named,
  pair,
  section,
  type Section,
} from "./section";

/** One map; of the sample at a place among those that are shown. */
export function mapView(host: Host, parent: HTMLElement, place: number): void {
  const view = section(parent, `${named(host, place)}attention map`, "key");
  view.root.dataset["view"] = "map";
  const sample = () => pair(host)[place]!;
  const heading = compares(host) ? element("h2", "", view.root) : null;
  if (heading) heading.textContent = `${named(host, place)}${sample().title}`;
  cellsView(host, view, () => {
    const { queries, keys } = kindOf(sample(), host.store.where.kind);
    return {
      grid: mapOf(host, sample()),
      title: mapTitle(host),
      low: 0,
      high: Math.max(...pair(host).map((one) => largest(mapOf(host, one).values))),
      colors: SEQUENTIAL,
      queries,
      keys,
      words: (query, key, value) =>
        `query ${dayOf(queries, query)}, key ${dayOf(keys, key)}, weight ${cellWords(mapOf(host, sample()), value)}`,
    };
  });
}

/** A's map minus B's. */
export function differenceView(host: Host, parent: HTMLElement): void {
  const view = section(parent, "difference of the maps", "key");
  view.root.dataset["view"] = "difference";
  cellsView(host, view, () => {
    const [one, other] = pair(host).map((sample) => mapOf(host, sample)) as [Grid, Grid];
    const grid = difference(one, other);
    const at = ({ values, rows, columns }: Grid, query: number, key: number) =>
      values[(rows - 1 - query) * columns + columns - 1 - key]!;
    const whole = largest(grid.values);
    return {
      grid,
      title: `A - B: ${mapTitle(host)}`,
      low: -whole,
      high: whole,
      colors: DIVERGING,
      queries: counted(grid.rows),
      keys: counted(grid.columns),
      words: (query, key) => {
        const [a, b] = [at(one, query, key), at(other, query, key)];
        const where = `query ${-query}, key ${-key} (days before the prediction)`;
        return `${where}: A ${number(a, DIGITS)} - B ${number(b, DIGITS)} = ${number(apart(a, b), DIGITS)}`;
      },
    };
  });
}

/** A weight in words: what a grey cell is, where there is no number. */
export function cellWords(grid: Grid, value: number | undefined): string {
  return (Number.isNaN(value) && greyWords(grid.grey)) || number(value, DIGITS);
}

/** a - b, to the decimals that the larger has: what lies below them is its rounding. */
function apart(a: number, b: number): number {
  const decimals = DIGITS - 1 - Math.floor(Math.log10(Math.max(Math.abs(a), Math.abs(b))));
  return Number.isFinite(decimals) ? Number((a - b).toFixed(Math.min(decimals, 100))) : a - b;
}

interface Cells {
  grid: Grid;
  title: string;
  low: number;
  high: number;
  colors: Palette;
  queries: string[];
  keys: string[];
  /** What is said of a cell; days count back from the last. */
  words(query: number, key: number, value: number | undefined): string;
}

/** Cells of query and key; a click selects both. */
function cellsView(host: Host, view: Section, read: () => Cells): void {
  const { store } = host;
  let cells: Cells;
  const words = (query: number, key: number) => {
    const { values, rows, columns } = cells.grid;
    return cells.words(query, key, values[(rows - 1 - query) * columns + columns - 1 - key]);
  };
  const before = ({ across, down }: { across: number; down: number }) => {
    const { rows, columns } = cells.grid;
    return { query: rows - 1 - Math.floor(down * rows), key: columns - 1 - Math.floor(across * columns) };
  };
  const drawn = picture(
    view.root,
    (at) => store.set(before(at)),
    (at) => {
      const { query, key } = at === null ? store.where : before(at);
      view.say(words(query, key));
    },
    host.signal,
  );
  const bar = element("div", "stockformer-page-bar", view.root);
  store.follow(() => {
    cells = read();
    const { grid, title, low, high, colors, queries, keys } = cells;
    const { query, key } = store.where;
    drawn.draw(title, 300, (frame) => {
      paintMap(frame, grid, low, high, colors, grid.rows - 1 - query, grid.columns - 1 - key);
      drawDays(frame, keys);
      drawRows(frame, queries, 8);
    });
    colorBar(bar, colors, low, high, grid.grey);
    view.say(words(query, key));
  });
}

/** Paint cells with the selected query and key marked. */
function paintMap(
  frame: Frame,
  grid: Grid,
  low: number,
  high: number,
  colors: Palette,
  row: number,
  column: number,
): void {
  const { context, width, height } = frame;
  const cells = new OffscreenCanvas(grid.columns, grid.rows);
  const level = (cell: number) => levelOf(grid.values[cell]!, low, high);
  cells.getContext("2d")!.putImageData(pixels(grid.rows, grid.columns, colors, level), 0, 0);
  context.imageSmoothingEnabled = grid.columns > width || grid.rows > height;
  context.imageSmoothingQuality = "high";
  context.drawImage(cells, 0, 0, width, height);
  context.strokeStyle = HIGHLIGHT;
  context.lineWidth = 1.5;
  const [x, y] = [((column + 0.5) / grid.columns) * width, ((row + 0.5) / grid.rows) * height];
  context.beginPath();
  context.moveTo(0, y);
  context.lineTo(width, y);
  context.moveTo(x, 0);
  context.lineTo(x, height);
  context.stroke();
}

function colorBar(bar: HTMLElement, colors: Palette, low: number, high: number, grey: readonly string[]): void {
  const stripe = Object.assign(element("span", "stockformer-color-bar"), { style: `background: ${gradient(colors)}` });
  bar.replaceChildren(`query ↓ key →  ${number(low, 3)} `, stripe, ` ${number(high, 3)}`, ...greyLegend(grey));
}
