// The only state of a page: the selection. Views read it and are notified when it changes.

import type { Bundle, Kind, Sample, Selection } from "./bundle";

export interface Store {
  readonly bundle: Bundle;
  readonly where: Selection;
  /** The selected sample. */
  readonly sample: Sample;
  set(change: Partial<Selection>): void;
  follow(follower: () => void): void;
}

export function store(bundle: Bundle): Store {
  let where = fitted(bundle, bundle.selection);
  const followers: (() => void)[] = [];
  return {
    bundle,
    get where() {
      return where;
    },
    get sample() {
      return bundle.samples[where.sample]!;
    },
    set(change) {
      const next = fitted(bundle, { ...where, ...change });
      if (JSON.stringify(next) === JSON.stringify(where)) return;
      where = next;
      for (const follower of followers) follower();
    },
    follow(follower) {
      followers.push(follower);
      follower();
    },
  };
}

export function kindOf(sample: Sample, name: string): Kind {
  return sample.kinds.find((kind) => kind.name === name)!;
}

/** Numbers of layers of a kind, and of heads, queries and keys of a layer. */
export function sizes(sample: Sample, name: string, layer: number) {
  const { layers } = kindOf(sample, name);
  return { layers: layers.length, ...layers[clamp(layer, layers.length)]! };
}

/** A selection with everything that does not exist moved to the nearest that does. */
function fitted(bundle: Bundle, where: Selection): Selection {
  const place = clamp(where.sample, bundle.samples.length);
  const sample = bundle.samples[place]!;
  const kind = kindOf(sample, where.kind) === undefined ? sample.kinds[0]!.name : where.kind;
  const size = sizes(sample, kind, where.layer);
  return {
    sample: place,
    kind,
    layer: clamp(where.layer, size.layers),
    head: where.head === null || where.head >= size.heads ? null : where.head,
    query: clamp(where.query, size.queries),
    key: clamp(where.key, size.keys),
    feature: where.feature !== null && sample.features.includes(where.feature) ? where.feature : null,
    log_colors: where.log_colors,
  };
}

function clamp(value: number, length: number): number {
  return Math.min(Math.max(value, 0), length - 1);
}
