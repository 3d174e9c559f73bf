// Several small pictures over the same places.

import { element } from "../../dom";
import { spoken } from "../../caption";
import type { Bars, Lines, Panels } from "../chart";
import { BARS } from "./bars";
import { changeOn, placeOn, type Renderer, rowsOf } from "./body";
import { columns, type Frame, HIGHLIGHT, nameColumns, nameValues } from "./canvas";
import { LINES } from "./lines";

export const PANELS: Renderer<Panels> = {
  make(root, mouse, signal) {
    const around = element("div", "stockformer-page-panels", root);
    let drawn: ((body: Lines | Bars, where: Parameters<typeof LINES.selected>[1]) => void)[] = [];
    let types = "";
    return (body, where) => {
      const wanted = body.panels.map(([, { type }]) => type).join(" ");
      if (wanted !== types) {
        around.replaceChildren();
        drawn = body.panels.map(([, { type }]) => {
          const one = element("div", "", around);
          element("h4", "", one);
          return (type === "Lines" ? LINES : UPRIGHT).make(one, mouse, signal) as (typeof drawn)[number];
        });
        types = wanted;
      }
      const [first] = body.panels;
      around.classList.toggle("stockformer-page-wide", !!first && axisOf(first[1]).names.some(isLong));
      body.panels.forEach(([title, panel], place) => {
        around.children[place]!.querySelector("h4")!.textContent = title;
        drawn[place]!(panel, where);
      });
    };
  },
  selected: (body, where) =>
    body.panels.slice(0, 1).map(([, panel]) => placeOn(axisOf(panel), axisOf(panel).sets, where)),
  change: (body, [place], where) => changeOn(axisOf(body.panels[0]![1]), place!, where),
  words: (body, [place]) => {
    if (place === undefined || place < 0) return [];
    const axis = axisOf(body.panels[0]![1]);
    return [
      [`${axis.label} ${axis.names[place]}`],
      ...body.panels.map(([title, panel]) => [title, textAt(panel, place)] as const),
    ];
  },
  table({ panels }) {
    const axis = panels.length ? axisOf(panels[0]![1]) : undefined;
    return rowsOf([axis?.label ?? "", ...panels.map(([title]) => title)], axis?.names.length ?? 0, (place) => [
      axis!.names[place]!,
      ...panels.map(([, panel]) => textAt(panel, place)),
    ]);
  },
};

/** The values of a panel at a place, by name where there are several. */
function textAt(panel: Lines | Bars, place: number): string {
  if (panel.type === "Bars") return panel.words[place]!;
  const [, ...values] = LINES.words(panel, [place]);
  return values.length === 1 ? values[0]![1]! : spoken(values);
}

/** Whether two such names do not fit into a narrow panel. */
const isLong = (name: string) => name.length > 10;

const axisOf = (panel: Lines | Bars) => (panel.type === "Lines" ? panel.x : panel.names);

/** Upright bars. */
const UPRIGHT: Renderer<Bars> = {
  make(root, mouse, signal) {
    const draw = columns(root, mouse, signal);
    return (body, where) => {
      const selected = placeOn(body.names, body.names.sets, where);
      draw(100, body.names.names.length, (frame) => paint(frame, body, selected));
    };
  },
  selected: (body, where) => [placeOn(body.names, body.names.sets, where)],
  change: (body, [place], where) => changeOn(body.names, place!, where),
  words: BARS.words,
  table: BARS.table,
};

function paint(frame: Frame, body: Bars, selected: number): void {
  const { context, width, height } = frame;
  const scale = nameValues(frame, body.scale);
  const step = width / body.names.names.length;
  nameColumns(frame, body.names.names);
  body.values.forEach((value, place) => {
    if (!Number.isFinite(value)) return;
    context.fillStyle = body.colors[place]!;
    context.fillRect(
      (place + 0.12) * step,
      Math.min(scale(value), scale(0)),
      0.76 * step,
      Math.abs(scale(value) - scale(0)),
    );
    const dot = body.dots?.[place];
    if (dot === undefined || !Number.isFinite(dot)) return;
    context.beginPath();
    context.arc((place + 0.5) * step, scale(dot), 3.5, 0, 2 * Math.PI);
    context.strokeStyle = body.dots_color;
    context.stroke();
  });
  context.fillStyle = HIGHLIGHT;
  if (selected >= 0) context.fillRect((selected + 0.5) * step - 0.75, 0, 1.5, height);
}
