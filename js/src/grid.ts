// Every map of an attention kind at once, as one canvas: what is drawn costs pixels, not elements.

import { gradient, greyLegend, picture, SEQUENTIAL } from "./colors";
import { choice, element, redrawing, sharp } from "./dom";
import { find, layout, type Layout } from "./layout";
import { share } from "./numbers";
import { type Codes, type HeadMap, levels } from "./maps";

export interface Cell {
  layer: number;
  head: number;
  query: number;
  key: number;
}

export interface GridHandlers {
  select(cell: Cell): void;
  /** The cell under the mouse; null when it has left. */
  hover(cell: Cell | null): void;
}

export interface Grid {
  show(maps: readonly HeadMap[], codes: readonly Codes[]): void;
  /** Frame a head; null frames the layer, whose mean is selected. */
  select(layer: number, head: number | null): void;
}

const ONE_SCALE = "one for all";
const MODEL_ORDER = "layer and head";

/** Build a head grid in `root`; it is gone when `signal` aborts. */
export function headGrid(root: HTMLElement, handlers: GridHandlers, signal: AbortSignal): Grid {
  let maps: readonly HeadMap[] = [];
  let pictures: OffscreenCanvas[] = [];
  let codes: readonly Codes[] = [];
  let selected: { layer: number; head: number | null } = { layer: 0, head: null };
  let plan: Layout = { places: [], side: 0, height: 0 };

  const bar = element("div", "stockformer-grid-controls", root);
  const sorted = choice(bar, "sort by", [MODEL_ORDER], () => draw(), signal);
  const scale = choice(bar, "colours", [ONE_SCALE, "each its own"], () => (paint(), draw()), signal);
  const legend = element("span", "", bar);
  const caption = element("span", "", bar);
  const box = element("div", "stockformer-grid-maps", root);
  const sheet = element("canvas", "", box);
  const frame = element("canvas", "", box);

  const by = () => (sorted.value === MODEL_ORDER ? null : sorted.value);

  function paint(): void {
    const whole = Math.max(0, ...maps.map((map) => map.largest));
    const shared = scale.value === ONE_SCALE;
    pictures = maps.map((map, number) => {
      const level = levels(map, codes[number]!, shared ? whole : map.largest);
      const canvas = new OffscreenCanvas(map.keys, map.queries);
      canvas.getContext("2d")!.putImageData(
        picture(map.queries, map.keys, SEQUENTIAL, (cell) => level[cell]!),
        0,
        0,
      );
      return canvas;
    });
    legend.replaceChildren(
      "0 ",
      Object.assign(element("span", "stockformer-color-bar"), { style: `background: ${gradient(SEQUENTIAL)}` }),
      shared ? ` ${share(whole)}` : " the head's largest",
      ...greyLegend(maps.map((map) => map.grey)),
    );
  }

  function draw(): void {
    const width = box.clientWidth;
    if (width === 0 || maps.length === 0) return;
    const statistic = by() ?? Object.keys(maps[0]!.statistics)[0] ?? "";
    caption.textContent = `above each map: layer, head, ${statistic}`;
    plan = layout(maps, width, by());
    box.style.height = `${plan.height}px`;
    const context = sharp(sheet, width, plan.height);
    const look = getComputedStyle(box);
    context.font = `10px ${look.fontFamily}`;
    context.fillStyle = look.color;
    context.imageSmoothingQuality = "high";
    for (const { map: number, x, y } of plan.places) {
      const map = maps[number]!;
      const value = map.statistics[statistic];
      const words = `L${map.layer} H${map.head}  ${value == null ? "–" : value.toFixed(2)}`;
      context.fillText(words, x, y - 4, plan.side);
      // Cells larger than a pixel keep their edges; smaller ones are averaged.
      context.imageSmoothingEnabled = map.keys > plan.side || map.queries > plan.side;
      context.drawImage(pictures[number]!, x, y, plan.side, plan.side);
    }
    mark();
  }

  function mark(): void {
    const context = sharp(frame, box.clientWidth, plan.height);
    context.strokeStyle = "#d55e00";
    context.lineWidth = 2;
    for (const { map: number, x, y } of plan.places) {
      const { layer, head } = maps[number]!;
      if (layer !== selected.layer || (selected.head !== null && head !== selected.head)) continue;
      context.setLineDash(selected.head === null ? [4, 3] : []);
      context.strokeRect(x - 2, y - 2, plan.side + 4, plan.side + 4);
    }
  }

  function cellAt(event: MouseEvent): Cell | null {
    const area = sheet.getBoundingClientRect();
    const hit = find(plan, event.clientX - area.x, event.clientY - area.y);
    if (hit === null) return null;
    const { layer, head, queries, keys } = maps[hit.place.map]!;
    const query = Math.min(queries - 1, Math.floor(hit.down * queries));
    return { layer, head, query, key: Math.min(keys - 1, Math.floor(hit.across * keys)) };
  }

  box.addEventListener(
    "click",
    (event) => {
      const cell = cellAt(event);
      if (cell !== null) handlers.select(cell);
    },
    { signal },
  );
  box.addEventListener("mousemove", (event) => handlers.hover(cellAt(event)), { signal });
  box.addEventListener("mouseleave", () => handlers.hover(null), { signal });
  redrawing(box, draw, signal);
  signal.addEventListener("abort", () => {
    bar.remove();
    box.remove();
  });

  return {
    show(next, values) {
      [maps, codes] = [next, values];
      sorted.offer([MODEL_ORDER, ...Object.keys(next[0]?.statistics ?? {})]);
      paint();
      draw();
    },
    select(layer, head) {
      selected = { layer, head };
      mark();
    },
  };
}
