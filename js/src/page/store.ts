// The one state of a page: what is selected. Views read it and are told when it changes.

import type { Bundle, Kind, Sample, Selection } from "./bundle";

export interface Store {
  readonly bundle: Bundle;
  readonly where: Selection;
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

/** The samples that are looked at: one, or both of a comparison. */
export function shown(bundle: Bundle, where: Selection): Sample[] {
  return bundle.mode === "comparison" ? bundle.samples : [bundle.samples[where.sample]!];
}

/** The kinds of attention that all of these have. */
export function kindsOf(samples: readonly Sample[]): Kind[] {
  return samples[0]!.kinds.filter(({ name }) =>
    samples.every((sample) => sample.kinds.some((kind) => kind.name === name)),
  );
}

export function kindOf(sample: Sample, name: string): Kind {
  return sample.kinds.find((kind) => kind.name === name)!;
}

/** How many layers, heads of a layer, queries and keys all of these have. */
export function sizes(samples: readonly Sample[], name: string, layer: number) {
  const kinds = samples.map((sample) => kindOf(sample, name));
  const least = (count: (kind: Kind) => number) => Math.min(...kinds.map(count));
  const layers = least((kind) => 1 + Math.max(...kind.maps.map((map) => map.layer)));
  const heads = least((kind) => kind.maps.filter((map) => map.layer === Math.min(layer, layers - 1)).length);
  return { layers, heads, queries: least((kind) => kind.queries.length), keys: least((kind) => kind.keys.length) };
}

/** A selection with everything that does not exist moved to the nearest that does. */
function fitted(bundle: Bundle, where: Selection): Selection {
  const sample = clamp(where.sample, bundle.samples.length);
  const samples = shown(bundle, { ...where, sample });
  const kinds = kindsOf(samples).map(({ name }) => name);
  const kind = kinds.includes(where.kind) ? where.kind : kinds[0]!;
  const size = sizes(samples, kind, where.layer);
  const names = new Set(samples.flatMap(({ saliency }) => saliency?.inputs.flatMap((input) => input.names) ?? []));
  return {
    sample,
    kind,
    layer: clamp(where.layer, size.layers),
    head: where.head === null || where.head >= size.heads ? null : where.head,
    query: clamp(where.query, size.queries),
    key: clamp(where.key, size.keys),
    feature: where.feature !== null && names.has(where.feature) ? where.feature : null,
  };
}

function clamp(value: number, length: number): number {
  return Math.min(Math.max(value, 0), length - 1);
}
