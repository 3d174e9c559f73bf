// What a widget needs around it: a model of anywidget, and the parts of a browser that happy-dom lacks.

import type { AnyModel } from "@anywidget/types";
import { vi } from "vitest";

type Listener = () => void;

/** A model that keeps what is set, sent and saved; `change` is a change that comes from the kernel. */
export class FakeModel<T extends object> {
  readonly sent: unknown[] = [];
  readonly listeners = new Map<string, Set<Listener>>();
  saves = 0;

  constructor(private readonly traits: T) {}

  get<K extends keyof T>(name: K): T[K] {
    return this.traits[name];
  }

  set<K extends keyof T>(name: K, value: T[K]): void {
    this.traits[name] = value;
  }

  save_changes(): void {
    this.saves += 1;
  }

  send(content: unknown): void {
    this.sent.push(content);
  }

  on(event: string, listener: Listener): void {
    this.listeners.set(event, (this.listeners.get(event) ?? new Set()).add(listener));
  }

  off(event: string, listener: Listener): void {
    this.listeners.get(event)?.delete(listener);
  }

  change<K extends keyof T & string>(name: K, value: T[K]): void {
    this.set(name, value);
    this.listeners.get(`change:${name}`)?.forEach((listener) => listener());
  }

  get listening(): number {
    return [...this.listeners.values()].reduce((sum, one) => sum + one.size, 0);
  }

  /** As a widget's `render` takes it. */
  get typed(): AnyModel<T> {
    return this as unknown as AnyModel<T>;
  }
}

/** A canvas of cells, as it was painted. */
class FakeOffscreenCanvas {
  pixels = new Uint32Array();

  constructor(
    readonly width: number,
    readonly height: number,
  ) {}

  getContext() {
    return { putImageData: (image: ImageData) => (this.pixels = new Uint32Array(image.data.buffer)) };
  }
}

class FakeImageData {
  readonly data: Uint8ClampedArray;

  constructor(
    readonly width: number,
    readonly height: number,
  ) {
    this.data = new Uint8ClampedArray(4 * width * height);
  }
}

/** A picture that was drawn into a square of a canvas. */
export interface Drawn {
  pixels: number[];
  x: number;
  y: number;
  side: number;
}

/** What stands on a canvas. */
export interface Sheet {
  pictures: Drawn[];
  texts: string[];
  frames: { x: number; y: number; dashed: boolean }[];
}

/** What paints and is not looked at. */
const PAINTING = "setTransform translate save restore beginPath moveTo lineTo stroke fill fillRect arc".split(" ");

const sheets = new WeakMap<HTMLCanvasElement, Sheet>();

export function sheet(canvas: HTMLCanvasElement): Sheet {
  return sheets.get(canvas) ?? { pictures: [], texts: [], frames: [] };
}

/** Elements are `width` pixels wide, as high as their style says, and have that size at once; canvases remember what is drawn on them. */
export function browser(width: number): void {
  vi.stubGlobal("OffscreenCanvas", FakeOffscreenCanvas);
  vi.stubGlobal("ImageData", FakeImageData);
  vi.stubGlobal("Option", function (text: string) {
    return Object.assign(document.createElement("option"), { text });
  });
  vi.stubGlobal(
    "ResizeObserver",
    class {
      constructor(private readonly resized: () => void) {}
      observe(): void {
        this.resized();
      }
      disconnect(): void {}
    },
  );
  vi.spyOn(HTMLElement.prototype, "clientWidth", "get").mockReturnValue(width);
  vi.spyOn(HTMLElement.prototype, "clientHeight", "get").mockImplementation(function (this: HTMLElement) {
    return parseFloat(this.style.height) || 0;
  });
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockImplementation(function (this: HTMLCanvasElement) {
    const drawn: Sheet = { pictures: [], texts: [], frames: [] }; // its size was set, which clears it
    sheets.set(this, drawn);
    let dashed = false;
    const nothing = Object.fromEntries(PAINTING.map((name) => [name, () => {}]));
    return {
      ...nothing,
      measureText: (text: string) => ({ width: 6 * text.length }),
      fillText: (text: string) => drawn.texts.push(text),
      setLineDash: (dashes: number[]) => (dashed = dashes.length > 0),
      strokeRect: (x: number, y: number) => drawn.frames.push({ x, y, dashed }),
      drawImage: ({ pixels }: FakeOffscreenCanvas, x: number, y: number, side: number) =>
        drawn.pictures.push({ pixels: [...pixels], x, y, side }),
    } as unknown as CanvasRenderingContext2D;
  } as unknown as typeof HTMLCanvasElement.prototype.getContext);
}
