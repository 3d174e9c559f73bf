// Charts as values, by the names of `stockformer.charts.chart`, where each field is explained.

import type { Text } from "../caption";

export interface Axis {
  names: string[];
  label: string;
  sets: string;
  also: string;
  full: string[] | null;
}

export interface Scale {
  low: number;
  high: number;
  label: string;
  names: string[];
  form: "" | "%";
  log: boolean;
}

export interface Line {
  name: string;
  values: Float32Array;
  /** Empty where the page makes them, by `form`. */
  words: string[];
  color: string;
  shape: "line" | "dots" | "dashed" | "step" | "area";
  emphasis: boolean;
  form: string;
}

export interface Band {
  low: Float32Array;
  high: Float32Array;
  color: string;
}

export interface Lines {
  type: "Lines";
  lines: Line[];
  x: Axis;
  y: Scale;
  band: Band | null;
  reference: [number, string] | null;
}

export interface Bars {
  type: "Bars";
  values: Float32Array;
  words: string[];
  colors: string[];
  names: Axis;
  scale: Scale;
  bars_name: string;
  dots: Float32Array | null;
  dots_name: string;
  dots_color: string;
}

export interface Heatmap {
  type: "Heatmap";
  /** [rows, columns], row by row. */
  values: Float32Array;
  rows: Axis;
  columns: Axis;
  scale: Scale;
  sentence: string;
  form: string;
  palette: "viridis" | "RdBu_r";
  /** 1 where a cell is masked, [rows, columns]. */
  masked: Float32Array | null;
  reference: [number, string] | null;
  log_low: number | null;
}

export interface Panels {
  type: "Panels";
  panels: [string, Lines | Bars][];
}

export interface Grid {
  type: "Grid";
  /** By layer and head. */
  maps: Heatmap[][];
  statistics: Record<string, number | null>[];
}

export type Body = Lines | Bars | Heatmap | Panels | Grid;

export interface Chart extends Text {
  title: string;
  body: Body;
}
