// What a page holds: the charts of one or more samples, made by `stockformer_widgets.export`.

import type { Chart } from "./chart";

export interface Bundle {
  /** Samples to choose from; a comparison is a single one. */
  samples: Sample[];
  /** Headings, and the names of the views below each by column. */
  sections: { title: string; columns: string[][] }[];
  /** Texts and lists of texts that charts share. */
  texts: (string | string[])[];
  /** The model and settings behind the numbers, one line per fact. */
  about: string[];
  selection: Selection;
}

/** Where a person looks. Days count back from the last one, which is 0: so they mean the same in every sample. */
export interface Selection {
  sample: number;
  kind: string;
  layer: number;
  head: number | null;
  query: number;
  key: number;
  feature: string | null;
  /** Whether the colours of maps that begin at 0 are logarithmic. */
  log_colors: boolean;
}

export type Field = keyof Selection;

export interface Sample {
  title: string;
  kinds: Kind[];
  features: string[];
  /** By name. */
  views: Record<string, View>;
}

export interface Kind {
  name: string;
  title: string;
  layers: { heads: number; queries: number; keys: number }[];
}

export interface View {
  label: string;
  /** What the arrow keys move. */
  horizontal: string;
  vertical: string;
  /** The fields that its charts depend on. */
  content: Field[];
  /** By the values of these fields, as `placeOf` writes them. */
  charts: Record<string, Packed>;
}

/** A chart whose texts are `{text}`, a place in the bundle's, and whose arrays are `{array}`, first and length. */
export type Packed = { readonly packed: unique symbol };

export interface Charts {
  /** The chart of a view for a selection; undefined where there is none. */
  of(view: View, where: Selection): Chart | undefined;
}

export function charts(bundle: Bundle, bytes: Uint8Array): Charts {
  const numbers = new Float32Array(bytes.slice().buffer);
  const unpacked = new WeakMap<Packed, Chart>();
  const unpack = (_: string, value: unknown): unknown => {
    if (value === null || typeof value !== "object") return value;
    if (typeof (value as { text?: unknown }).text === "number") return bundle.texts[(value as { text: number }).text];
    if (!("array" in value)) return value;
    const [first, length] = value.array as [number, number];
    return numbers.subarray(first, first + length);
  };
  return {
    of(view, where) {
      const packed = view.charts[placeOf(view, where)];
      if (packed === undefined) return undefined;
      const chart = unpacked.get(packed) ?? (walk(packed, unpack) as Chart);
      unpacked.set(packed, chart);
      return chart;
    },
  };
}

export const placeOf = ({ content }: View, where: Selection): string =>
  content.map((field) => where[field] ?? "").join(" ");

/** A value with every value in it replaced, from the outside to the inside; typed arrays stay whole. */
function walk(value: unknown, replace: (name: string, value: unknown) => unknown, name = ""): unknown {
  const replaced = replace(name, value);
  if (replaced !== value || replaced === null || typeof replaced !== "object") return replaced;
  if (Array.isArray(replaced)) return replaced.map((one, place) => walk(one, replace, String(place)));
  return Object.fromEntries(Object.entries(replaced).map(([field, one]) => [field, walk(one, replace, field)]));
}
