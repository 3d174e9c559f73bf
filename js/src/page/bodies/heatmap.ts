// Coloured cells, rows down and columns across.

import { DIVERGING, gradient, greyLegend, LEVELS, levelOf, picture, SEQUENTIAL } from "../../colors";
import { element } from "../../dom";
import type { Phrase } from "../../caption";
import { formed } from "../../numbers";
import type { Heatmap } from "../chart";
import { changeOn, nameOf, type Place, placeOn, type Renderer, rowsOf } from "./body";
import { canvas, type Frame, HIGHLIGHT, MARGIN, nameColumns, nameRows } from "./canvas";

/** Rows that are so few are all named. */
const FEW = 36;
const heightOf = ({ rows }: Heatmap) => (rows.names.length > FEW ? 300 : Math.max(300, 13 * rows.names.length));
/** Pixels for names beside a map. */
const WIDEST = 150;

export const HEATMAP: Renderer<Heatmap> = {
  make(root, mouse, signal) {
    let body: Heatmap;
    const place = ({ across, down }: { across: number; down: number }) => [
      Math.floor(down * body.rows.names.length),
      Math.floor(across * body.columns.names.length),
    ];
    const draw = canvas(
      root,
      (at) => mouse.click(place(at)),
      (at) => mouse.hover(at && place(at)),
      signal,
    );
    const bar = element("div", "stockformer-page-bar", root);
    const scale = element("span", "", bar);
    const log = element("button", "stockformer-log", bar);
    log.textContent = "log colours";
    log.addEventListener("click", () => mouse.choose({ log_colors: !body.scale.log }), { signal });
    return (drawn, where) => {
      const next = where.log_colors ? onLogScale(drawn) : drawn;
      body = next;
      const longest = Math.max(...next.rows.names.map((name) => name.length));
      const left = Math.min(Math.max(6 * longest + 12, MARGIN.left), WIDEST);
      draw(heightOf(next), (frame) => paint(frame, next, HEATMAP.selected(next, where)), left);
      colorBar(scale, next);
      log.hidden = next.log_low === null;
      log.setAttribute("aria-pressed", String(next.scale.log));
    };
  },
  selected: (body, where) => [body.rows, body.columns].map((axis) => placeOn(axis, axis.sets, where)),
  change: (body, [row, column], where) => ({
    ...changeOn(body.rows, row!, where),
    ...changeOn(body.columns, column!, where),
  }),
  words(body, [row, column]) {
    if (row! < 0 || column! < 0) return [[body.columns.label, nameOf(body.columns, column!)]];
    const values: Record<string, string> = {
      row: nameOf(body.rows, row!),
      column: nameOf(body.columns, column!),
      value: cellWords(body, row!, column!),
    };
    const parts = [...body.sentence.matchAll(/(?:, )?([^{]*)\{(\w+)\}/g)];
    return parts.map(([, words, field]): Phrase => [words!.trim(), values[field!]!]);
  },
  table: (body) =>
    rowsOf([body.rows.label, ...body.columns.names], body.rows.names.length, (row) => [
      body.rows.names[row]!,
      ...body.columns.names.map((_, column) => cellWords(body, row, column)),
    ]),
};

/** A cell's value in words, or why it has none. */
function cellWords(body: Heatmap, row: number, column: number): string {
  const cell = row * body.columns.names.length + column;
  return body.masked?.[cell] ? "masked" : formed(body.values[cell], body.form, body.reference?.[0] ?? null);
}

/** The same cells in colours of a logarithmic scale, if there is a place where it begins. */
function onLogScale(body: Heatmap): Heatmap {
  return body.log_low === null ? body : { ...body, scale: { ...body.scale, low: body.log_low, log: true } };
}

/** A value of the scale. */
const end = ({ form }: Heatmap, value: number) => (value ? formed(value, form.replace("+", "")) : "0");

const colorsOf = ({ palette }: Heatmap) => (palette === "viridis" ? SEQUENTIAL : DIVERGING);

function paint(frame: Frame, body: Heatmap, [row, column]: Place): void {
  const { context, width, height } = frame;
  const [rows, columns] = [body.rows.names.length, body.columns.names.length];
  const cells = new OffscreenCanvas(columns, rows);
  const level = (cell: number) =>
    body.masked?.[cell] ? LEVELS : levelOf(body.values[cell]!, body.scale.low, body.scale.high, body.scale.log);
  cells.getContext("2d")!.putImageData(picture(rows, columns, colorsOf(body), level), 0, 0);
  context.imageSmoothingEnabled = columns > width || rows > height;
  context.imageSmoothingQuality = "high";
  context.drawImage(cells, 0, 0, width, height);
  context.strokeStyle = HIGHLIGHT;
  context.lineWidth = 1.5;
  const [x, y] = [((column! + 0.5) / columns) * width, ((row! + 0.5) / rows) * height];
  context.beginPath();
  if (row! >= 0) {
    context.moveTo(0, y);
    context.lineTo(width, y);
  }
  if (column! >= 0) {
    context.moveTo(x, 0);
    context.lineTo(x, height);
  }
  context.stroke();
  nameColumns(frame, body.columns.names);
  nameRows(frame, body.rows.names);
}

function colorBar(bar: HTMLElement, body: Heatmap): void {
  const { low, high, log } = body.scale;
  const stripe = element("span", "stockformer-color-bar");
  stripe.style.background = gradient(colorsOf(body));
  bar.replaceChildren(
    `${body.rows.label} ↓ ${body.columns.label} →  ${log ? "≤ " : ""}${end(body, low)} `,
    stripe,
    ` ${end(body, high)}${log ? " logarithmic" : ""}`,
    body.reference ? `  (${body.reference[1]}: ${end(body, body.reference[0])})` : "",
    ...greyLegend(greyOf(body)),
  );
}

/** What the grey cells of a map are. */
export function greyOf({ values, masked }: Heatmap): string[] {
  const hidden = masked?.some((cell) => cell > 0) ?? false;
  const missing = values.some((value, cell) => !Number.isFinite(value) && !masked?.[cell]);
  return [hidden ? "masked" : "", missing ? "not a number" : ""];
}
