// The head grid as a widget: maps come from the kernel, clicks and the cell under the mouse go to it.

import type { AnyModel } from "@anywidget/types";
import "./grid.css";
import { type Cell, headGrid } from "./grid";
import { type HeadMap, split } from "./maps";

interface Traits {
  maps: HeadMap[];
  codes: DataView;
  layer: number;
  head: number | null;
}

interface Context {
  model: AnyModel<Traits>;
  el: HTMLElement;
  signal: AbortSignal;
}

const HOVER_MS = 60;

function render({ model, el, signal }: Context): void {
  const send = (event: string, cell: Cell | null) => model.send({ event, cell });
  const hover = latest((cell: Cell | null) => send("hover", cell), HOVER_MS, signal);
  const grid = headGrid(el, { select: (cell) => send("click", cell), hover }, signal);
  const show = () => {
    const maps = model.get("maps");
    const { buffer, byteOffset, byteLength } = model.get("codes");
    grid.show(maps, split(maps, new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength)));
  };
  const select = () => grid.select(model.get("layer"), model.get("head"));
  listen(model, "change:codes", show, signal);
  listen(model, "change:layer", select, signal);
  listen(model, "change:head", select, signal);
  show();
  select();
}

function listen(model: AnyModel<Traits>, event: string, heard: () => void, signal: AbortSignal): void {
  model.on(event, heard);
  signal.addEventListener("abort", () => model.off(event, heard));
}

/** Call with the latest value, at most once in so many milliseconds. */
function latest<T>(act: (value: T) => void, wait: number, signal: AbortSignal): (value: T) => void {
  let timer: number | undefined;
  let last: T;
  signal.addEventListener("abort", () => window.clearTimeout(timer));
  return (value) => {
    last = value;
    timer ??= window.setTimeout(() => {
      timer = undefined;
      act(last);
    }, wait);
  };
}

export default { render };
