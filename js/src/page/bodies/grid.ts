// Every layer and head at once.

import { headGrid } from "../../grid";
import type { HeadMap } from "../../maps";
import type { Grid } from "../chart";
import { number } from "../../numbers";
import { changeOn, placeOn, type Renderer, rowsOf } from "./body";
import { greyOf, HEATMAP } from "./heatmap";

/** A place is layer, head, query and key; head -1 is the mean of the layer's heads. */
export const GRID: Renderer<Grid> = {
  make(root, mouse, signal) {
    const grid = headGrid(
      root,
      {
        select: ({ layer, head, query, key }) => mouse.click([layer, head, query, key]),
        hover: (cell) => mouse.hover(cell && [cell.layer, cell.head, cell.query, cell.key]),
      },
      signal,
    );
    let drawn: Grid | undefined;
    return (body, where) => {
      if (body !== drawn)
        grid.show(
          body.statistics.map((row) => described(body, row)),
          codes(body),
        );
      drawn = body;
      grid.select(where.layer, where.head);
    };
  },
  selected(body, where) {
    const { rows, columns } = body.maps[where.layer]![0]!;
    return [where.layer, where.head ?? -1, placeOn(rows, rows.sets, where), placeOn(columns, columns.sets, where)];
  },
  change(body, [layer, head, query, key], where) {
    const { rows, columns } = body.maps[layer!]![head!]!;
    return { layer: layer!, head: head!, ...changeOn(rows, query!, where), ...changeOn(columns, key!, where) };
  },
  words(body, [layer, head, query, key]) {
    if (head! < 0) return [[`layer ${layer}, mean of the heads`]];
    return [[`layer ${layer}, head ${head}`], ...HEATMAP.words(body.maps[layer!]![head!]!, [query!, key!])];
  },
  table({ statistics }) {
    const columns = Object.keys(statistics[0] ?? {});
    return rowsOf(columns, statistics.length, (row) => columns.map((column) => number(statistics[row]![column])));
  },
};

type Row = Grid["statistics"][number];

const mapOf = (body: Grid, row: Row) => body.maps[row["layer"]!]![row["head"]!]!;

const codes = (body: Grid) =>
  body.statistics.map((row) => {
    const { values, masked } = mapOf(body, row);
    return masked === null ? values : values.map((value, cell) => (masked[cell] ? NaN : value));
  });

function described(body: Grid, row: Row): HeadMap {
  const map = mapOf(body, row);
  const { layer, head, ...statistics } = row;
  return {
    layer: layer!,
    head: head!,
    queries: map.rows.names.length,
    keys: map.columns.names.length,
    largest: map.values.reduce((most, value) => (Number.isFinite(value) && value > most ? value : most), 0),
    grey: greyOf(map).filter(Boolean).join(" or "),
    statistics,
  };
}
