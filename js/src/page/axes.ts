// Axes and marks that the pictures of a page share.

import { format } from "d3-format";
import { scaleLinear } from "d3-scale";

export const HIGHLIGHT = "#d55e00";
/** From the palette of Okabe and Ito (2008). */
export const COLORS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#999999"];
/** Pixels around a picture. */
export const MARGIN = { top: 4, right: 14, bottom: 18, left: 76 };

export interface Frame {
  context: CanvasRenderingContext2D;
  width: number;
  height: number;
}

const short = format(".3~g");

/** A number as text: four digits, or that it is none. */
export function number(value: number | null | undefined, digits = 4): string {
  return value == null || !Number.isFinite(value) ? "not a number" : Number(value.toPrecision(digits)).toString();
}

/** About so many steps to name, the last one always. */
export function namedSteps(length: number, wanted: number): number[] {
  const stride = Math.max(1, Math.round(length / wanted));
  return Array.from({ length: Math.ceil(length / stride) }, (_, step) => length - 1 - step * stride);
}

export function drawDays({ context, width, height }: Frame, days: readonly string[]): void {
  context.textAlign = "center";
  context.textBaseline = "top";
  for (const step of namedSteps(days.length, Math.max(1, width / 110))) {
    const half = context.measureText(days[step]!).width / 2;
    const x = ((step + 0.5) / days.length) * width;
    context.fillText(days[step]!, Math.min(x, width + MARGIN.right - half), height + 4);
  }
}

export function drawRows({ context, height }: Frame, names: readonly string[], wanted: number): void {
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const row of namedSteps(names.length, wanted))
    context.fillText(names[row]!, -6, ((row + 0.5) / names.length) * height);
}

/** Ticks of a number axis; gives the scale from values to pixels. */
export function drawValues({ context, width, height }: Frame, low: number, high: number): (value: number) => number {
  const scale = scaleLinear([low, high], [height, 0]);
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const tick of scale.ticks(4)) {
    context.fillText(short(tick), -6, scale(tick));
    context.fillRect(-4, scale(tick), 4, 1);
    context.save();
    context.globalAlpha = 0.12;
    context.fillRect(0, scale(tick), width, 1);
    context.restore();
  }
  return scale;
}
