// A picture on a page: a titled canvas that redraws with its width, reads out what is under the mouse, and selects.

import { element, redrawing, sharp } from "../dom";
import { type Frame, MARGIN } from "./axes";

export interface Picture {
  /** Draw again, under this title. */
  draw(title: string, height: number, paint: (frame: Frame) => void): void;
}

export interface Pointed {
  /** Shares of the width and height, 0 to 1. */
  across: number;
  down: number;
}

export function picture(
  root: HTMLElement,
  act: (at: Pointed) => void,
  point: (at: Pointed | null) => void,
  signal: AbortSignal,
): Picture {
  const title = element("h3", "", root);
  const canvas = element("canvas", "", root);
  let height = 0;
  let paint: (frame: Frame) => void = () => {};

  function redraw(): void {
    const width = root.clientWidth;
    if (width === 0 || height === 0) return;
    const context = sharp(canvas, width, height + MARGIN.top + MARGIN.bottom);
    const look = getComputedStyle(root);
    context.font = `11px ${look.fontFamily}`;
    context.fillStyle = context.strokeStyle = look.color;
    context.translate(MARGIN.left, MARGIN.top);
    paint({ context, width: width - MARGIN.left - MARGIN.right, height });
  }

  function at(event: MouseEvent): Pointed {
    const area = canvas.getBoundingClientRect();
    const share = (place: number, size: number) => Math.min(Math.max(place / size, 0), 1 - 1e-9);
    return {
      across: share(event.clientX - area.x - MARGIN.left, area.width - MARGIN.left - MARGIN.right),
      down: share(event.clientY - area.y - MARGIN.top, height),
    };
  }

  canvas.addEventListener("click", (event) => act(at(event)), { signal });
  canvas.addEventListener("mousemove", (event) => point(at(event)), { signal });
  canvas.addEventListener("mouseleave", () => point(null), { signal });
  redrawing(root, redraw, signal);

  return {
    draw(name, pixels, how) {
      title.textContent = name;
      [height, paint] = [pixels, how];
      redraw();
    },
  };
}
