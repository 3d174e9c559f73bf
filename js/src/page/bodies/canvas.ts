// A canvas with axes, which redraws with its width and reports the place of the mouse.

import { format, precisionRound } from "d3-format";
import { scaleLinear } from "d3-scale";
import { element, redrawing, sharp } from "../../dom";
import type { Scale } from "../chart";
import type { Mouse, Place } from "./body";

export const HIGHLIGHT = "#d55e00";
/** Opacity of lines that are not selected, as in the explorer. */
export const FAINT = 0.65;
/** Pixels around a picture. */
export const MARGIN = { top: 6, right: 14, bottom: 18, left: 76 };

/** What is painted on: the canvas without its margins, in CSS pixels. */
export interface Frame {
  context: CanvasRenderingContext2D;
  width: number;
  height: number;
  /** Pixels to the left of it. */
  left: number;
}

/** Shares of the width and height, 0 to 1. */
export interface Point {
  across: number;
  down: number;
}

export function canvas(
  root: HTMLElement,
  click: (at: Point) => void,
  hover: (at: Point | null) => void,
  signal: AbortSignal,
): (height: number, paint: (frame: Frame) => void, left?: number) => void {
  const box = element("div", "stockformer-page-picture", root); // higher than it is told where its view is enlarged
  const sheet = element("canvas", "", box);
  let left = MARGIN.left;
  let paint: (frame: Frame) => void = () => {};

  function redraw(): void {
    const { clientWidth: width, clientHeight: height } = box;
    if (width === 0 || height === 0) return;
    const context = sharp(sheet, width, height);
    const look = getComputedStyle(box);
    context.font = `11px ${look.fontFamily}`;
    context.fillStyle = context.strokeStyle = look.color;
    context.translate(left, MARGIN.top);
    paint({ context, left, width: width - left - MARGIN.right, height: height - MARGIN.top - MARGIN.bottom });
  }

  function at(event: MouseEvent): Point {
    const area = sheet.getBoundingClientRect();
    const share = (place: number, size: number) => Math.min(Math.max(place / size, 0), 1 - 1e-9);
    return {
      across: share(event.clientX - area.x - left, area.width - left - MARGIN.right),
      down: share(event.clientY - area.y - MARGIN.top, area.height - MARGIN.top - MARGIN.bottom),
    };
  }

  sheet.addEventListener("click", (event) => click(at(event)), { signal });
  sheet.addEventListener("mousemove", (event) => hover(at(event)), { signal });
  sheet.addEventListener("mouseleave", () => hover(null), { signal });
  redrawing(box, redraw, signal);

  return (pixels, how, beside = MARGIN.left) => {
    [paint, left] = [how, beside];
    box.style.height = `${pixels + MARGIN.top + MARGIN.bottom}px`;
    redraw();
  };
}

/** A canvas whose columns are places: `paint` gets their number. */
export function columns(
  root: HTMLElement,
  mouse: Mouse,
  signal: AbortSignal,
): (height: number, places: number, paint: (frame: Frame) => void) => void {
  let number = 0;
  const place = ({ across }: Point): Place => [Math.floor(across * number)];
  const draw = canvas(
    root,
    (at) => mouse.click(place(at)),
    (at) => mouse.hover(at && place(at)),
    signal,
  );
  return (height, places, paint) => {
    number = places;
    draw(height, paint);
  };
}

/** About so many steps to name, the last one always. */
export function namedSteps(length: number, wanted: number): number[] {
  const stride = Math.max(1, Math.ceil(length / wanted));
  return Array.from({ length: Math.ceil(length / stride) }, (_, step) => length - 1 - step * stride);
}

export function nameColumns({ context, width, height }: Frame, names: readonly string[]): void {
  context.textAlign = "center";
  context.textBaseline = "top";
  const room = Math.max(24, ...names.map((name) => context.measureText(name).width));
  // Two or three names need no more room than keeps them apart; many would look crowded.
  const all = names.length < 4 && names.length * (room + 8) <= width;
  for (const step of namedSteps(names.length, all ? names.length : Math.max(1, width / (1.6 * room)))) {
    const half = context.measureText(names[step]!).width / 2;
    const x = ((step + 0.5) / names.length) * width;
    context.fillText(names[step]!, Math.min(x, width + MARGIN.right - half), height + 4);
  }
}

/** Names of rows, one line each, as far as there is room beside the picture. */
export function nameRows({ context, height, left }: Frame, names: readonly string[]): void {
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const row of namedSteps(names.length, Math.min(names.length, height / 12)))
    context.fillText(fitting(context, names[row]!, left), -6, ((row + 0.5) / names.length) * height);
}

/** A name, cut to the room beside the picture. */
function fitting(context: CanvasRenderingContext2D, name: string, left: number): string {
  const letters = [...name];
  let length = letters.length;
  const cut = () => (length < letters.length ? `${letters.slice(0, length).join("")}…` : name);
  while (length > 1 && context.measureText(cut()).width > left - 8) length -= 1;
  return cut();
}

/** Formats the numbers of an axis: three digits, or as many as tell its ticks apart. */
function short(ticks: readonly number[]): (value: number) => string {
  const [first, second] = ticks;
  const digits = second === undefined ? 3 : precisionRound(second - first!, Math.max(...ticks.map(Math.abs)));
  return format(`.${Math.max(3, digits)}~g`);
}

/** Ticks of the values; gives the scale from values to pixels. */
export function nameValues(
  { context, width, height, left }: Frame,
  { low, high, names, form }: Scale,
): (value: number) => number {
  const scale = scaleLinear([low, high > low ? high : low + 1], [height, 0]);
  context.textAlign = "right";
  context.textBaseline = "middle";
  const ticks = scale.ticks(Math.min(4, height / 25));
  const digits = short(ticks);
  for (const tick of ticks) {
    const number = form === "%" ? `${digits(100 * tick)} %` : digits(tick);
    context.fillText(names.length ? fitting(context, names[tick] ?? "", left) : number, -6, scale(tick));
    context.fillRect(-4, scale(tick), 4, 1);
    context.save();
    context.globalAlpha = 0.12;
    context.fillRect(0, scale(tick), width, 1);
    context.restore();
  }
  return scale;
}
