// Lines over shared places, aligned on the last one.

import type { Phrase } from "../../caption";
import { formed } from "../../numbers";
import type { Band, Line, Lines } from "../chart";
import { changeOn, nameOf, type Place, placeOn, type Renderer, rowsOf } from "./body";
import { columns, FAINT, type Frame, HIGHLIGHT, nameColumns, nameValues } from "./canvas";

export const LINES: Renderer<Lines> = {
  make(root, mouse, signal) {
    const draw = columns(root, mouse, signal);
    return (body, where) => {
      const marks = [body.x.sets, body.x.also].map((field) => placeOn(body.x, field, where));
      draw(120, body.x.names.length, (frame) => paint(frame, body, marks));
    };
  },
  selected: (body, where) => [placeOn(body.x, body.x.sets, where)],
  change: (body, [place], where) => changeOn(body.x, place!, where),
  words: (body, [place]) => (place! < 0 ? [] : [[nameOf(body.x, place!)], ...values(body, place!)]),
  table(body) {
    const names = namesOf(body);
    return rowsOf([body.x.label, ...names], body.x.names.length, (place) => [
      nameOf(body.x, place),
      ...names.map((name) => valueAt(body, name, place)),
    ]);
  },
};

/** The values at a place by name, in their colours where there are several. */
function values(body: Lines, place: number): Phrase[] {
  const names = namesOf(body);
  return names.flatMap((name): Phrase[] => {
    const text = valueAt(body, name, place);
    const color = names.length > 1 ? body.lines.find((line) => line.name === name)!.color : "";
    return text ? [[name, text, color]] : [];
  });
}

const namesOf = (body: Lines) => [...new Set(body.lines.map(({ name }) => name).filter(Boolean))];

/** The values of all lines of one name at a place. */
function valueAt(body: Lines, name: string, place: number): string {
  const lines = body.lines.filter((line) => line.name === name);
  const even = body.reference?.[0] ?? null;
  const words = lines.map((line) => wordsAt(line, place - body.x.names.length + line.values.length, even));
  return words.filter(Boolean).join(", ");
}

const wordsAt = (line: Line, step: number, even: number | null) =>
  step < 0 ? "" : (line.words[step] ?? formed(line.values[step], line.form, even));

function paint(frame: Frame, body: Lines, [selected, also]: Place): void {
  const { context, width, height } = frame;
  const scale = nameValues(frame, body.y);
  const step = width / body.x.names.length;
  nameColumns(frame, body.x.names);
  if (body.band) paintBand(frame, body.band, scale, step);
  for (const line of body.lines) paintLine(frame, line, scale, step);
  if (body.reference) paintAcross(frame, scale(body.reference[0]));
  context.fillStyle = HIGHLIGHT;
  for (const [place, dash] of [
    [selected!, height],
    [also!, 4],
  ] as const)
    for (let y = 0; place >= 0 && y < height; y += 2 * dash)
      context.fillRect((place + 0.5) * step - 0.75, y, 1.5, dash);
}

/** A line through the middle of its places, or a step per place; a gap where a value is missing. */
function paintLine({ context, width }: Frame, line: Line, scale: (value: number) => number, step: number): void {
  const start = width - line.values.length * step;
  const path = new Path2D();
  const area = new Path2D();
  const dots = new Path2D();
  line.values.forEach((value, place) => {
    if (!Number.isFinite(value)) return;
    const [x, y] = [start + place * step, scale(value)];
    const goesOn = place > 0 && Number.isFinite(line.values[place - 1]);
    const points = line.shape === "step" || line.shape === "area" ? [x, x + step] : [x + step / 2];
    if (line.shape === "dots") {
      dots.moveTo(x + step / 2, y); // else a line would lead here from the last dot, and the area between would be filled
      dots.arc(x + step / 2, y, 3, 0, 2 * Math.PI);
    }
    for (const [number, at] of points.entries())
      if (number === 0 && !goesOn) path.moveTo(at, y);
      else path.lineTo(at, y);
    area.rect(x, y, step, scale(0) - y);
  });
  context.globalAlpha = line.emphasis ? 1 : FAINT;
  context.strokeStyle = context.fillStyle = line.color;
  context.lineWidth = 1.5;
  if (line.shape === "dashed") context.setLineDash([5, 4]);
  if (line.name) context.stroke(path);
  context.setLineDash([]);
  context.fill(dots);
  context.globalAlpha = line.name ? 0.45 : 0.9;
  if (line.shape === "area") context.fill(area);
  context.globalAlpha = 1;
}

function paintBand({ context, width }: Frame, band: Band, scale: (value: number) => number, step: number): void {
  const start = width - band.low.length * step;
  const area = new Path2D();
  band.low.forEach((low, place) => {
    const high = band.high[place]!;
    if (Number.isFinite(low) && Number.isFinite(high))
      area.rect(start + place * step, scale(high), step, scale(low) - scale(high));
  });
  context.fillStyle = band.color;
  context.globalAlpha = 0.2;
  context.fill(area);
  context.globalAlpha = 1;
}

function paintAcross({ context, width }: Frame, y: number): void {
  context.save();
  context.strokeStyle = "gray";
  context.setLineDash([5, 4]);
  context.beginPath();
  context.moveTo(0, y);
  context.lineTo(width, y);
  context.stroke();
  context.restore();
}
