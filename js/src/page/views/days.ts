// Values by day.

import { drawDays, drawValues, type Frame, HIGHLIGHT, number } from "../axes";
import type { Numbers, Sample } from "../bundle";
import { picture } from "../picture";
import { kindOf } from "../store";
import { color, compares, counted, dayOf, DIGITS, type Host, mapOf, named, pair, type Said, section } from "./section";

export function rowView(host: Host, parent: HTMLElement): void {
  daysView(host, parent, "attention row", "key", () => {
    const { kind, query } = host.store.where;
    const samples = pair(host);
    const lines = samples.map((sample, place) => {
      const { values, rows, columns } = mapOf(host, sample);
      const row = values.subarray((rows - 1 - query) * columns, (rows - query) * columns);
      return {
        name: `${named(host, place)}weight`,
        values: numbers(row),
        color: color(place),
        filled: !compares(host),
      };
    });
    const keys = samples.map((sample) => kindOf(sample, kind).keys);
    const title = `What ${compares(host) ? `day ${-query}` : dayOf(kindOf(samples[0]!, kind).queries, query)} attends to`;
    return { title, lines, low: 0, digits: DIGITS, ...aligned(host, keys) };
  });
}

export function gateView(host: Host, parent: HTMLElement): void {
  daysView(host, parent, "gate", "query", () => {
    const samples = pair(host);
    const layers = Math.min(...samples.map((sample) => sample.gates.length));
    if (layers === 0) return null;
    const layer = Math.min(host.store.where.layer, layers - 1);
    const days = {
      low: 0,
      high: 1,
      ...aligned(
        host,
        samples.map((sample) => sample.days),
      ),
    };
    if (compares(host)) {
      const lines = samples.map((sample, place) =>
        gateLine(sample, layer, `${named(host, place)}gate`, color(place), false),
      );
      return { title: `Mean gate of layer ${layer}`, lines, ...days };
    }
    const sample = samples[0]!;
    const lines = sample.gates.map((_, one) => gateLine(sample, one, `layer ${one}`, color(one), one !== layer));
    const band = { ...sample.gates[layer]!, color: color(layer) };
    return { title: `Mean gate by layer (band: middle 80 % of layer ${layer})`, lines, band, ...days };
  });
}

function gateLine(sample: Sample, layer: number, name: string, paint: string, faint: boolean): Line {
  return { name, values: sample.gates[layer]!.mean, color: paint, faint };
}

export function poolingView(host: Host, parent: HTMLElement): void {
  daysView(host, parent, "pooling", "query", () => {
    const samples = pair(host);
    if (samples.some((sample) => sample.pooling === null)) return null;
    const lines = samples.map((sample, place) => {
      return {
        name: `${named(host, place)}weight`,
        values: sample.pooling!,
        color: color(place),
        filled: !compares(host),
      };
    });
    const days = aligned(
      host,
      samples.map((sample) => sample.days),
    );
    return { title: "How much each day counts in the pooled vector", lines, low: 0, ...days };
  });
}

export function pricesView(host: Host, parent: HTMLElement): void {
  daysView(host, parent, "prices", "query", () => {
    const sample = pair(host)[0]!;
    const lines = sample.prices.map(({ name, values }, place) => ({ name, values, color: color(place) }));
    return lines.length ? { title: `Prices, % since ${sample.days[0]}`, lines, days: sample.days } : null;
  });
}

/** Days of a comparison are counted back from the last; each sample's own are said. */
function aligned(host: Host, days: string[][]): Pick<Days, "days" | "daysOf"> {
  const most = longest(days);
  return compares(host) ? { days: counted(most.length), daysOf: (line) => days[line]! } : { days: most };
}

const longest = (lists: string[][]) => lists.reduce((one, other) => (other.length > one.length ? other : one));

const numbers = (values: Float32Array): Numbers =>
  Array.from(values, (value) => (Number.isFinite(value) ? value : null));

interface Line {
  name: string;
  values: Numbers;
  color: string;
  /** Painted below as far as 0. */
  filled?: boolean;
  faint?: boolean;
}

interface Days {
  title: string;
  lines: Line[];
  low?: number;
  high?: number;
  band?: { low: Numbers; high: Numbers; color: string } | undefined;
  digits?: number;
  /** Names of the days of the longest line. */
  days: string[];
  /** What the days of a line are called, where it is not that. */
  daysOf?: (line: number) => string[];
}

/** Values by day; a click selects `what`. */
function daysView(host: Host, parent: HTMLElement, name: string, what: "query" | "key", read: () => Days | null): void {
  const { store } = host;
  const view = section(parent, name, what, what);
  view.root.dataset["view"] = name;
  const words = (before: number): Said[] => {
    const plan = read();
    if (plan === null) return [];
    const values = plan.lines.map((line, place) => {
      const day = plan.daysOf ? `${dayOf(plan.daysOf(place), before)} ` : "";
      const text = `${line.name} ${day}${number(line.values[line.values.length - 1 - before], plan.digits)}`;
      return plan.lines.length > 1 ? { text, color: line.color } : text;
    });
    return [`${plan.daysOf ? `day ${-before}` : dayOf(plan.days, before)}:`, ...values];
  };
  const before = ({ across }: { across: number }) => {
    const length = read()!.days.length;
    return length - 1 - Math.floor(across * length);
  };
  const drawn = picture(
    view.root,
    (at) => store.set({ [what]: before(at) }),
    (at) => view.say(...words(at === null ? store.where[what] : before(at))),
    host.signal,
  );
  store.follow(() => {
    const plan = read();
    view.root.hidden = plan === null;
    if (plan === null) return;
    drawn.draw(plan.title, 120, (frame) => paintDays(frame, plan, store.where[what]));
    view.say(...words(store.where[what]));
  });
}

function paintDays(frame: Frame, plan: Days, marked: number): void {
  const { context, width, height } = frame;
  const values = plan.lines.flatMap((line) => line.values.filter((value) => value !== null));
  const low = plan.low ?? Math.min(0, ...values);
  const high = plan.high ?? Math.max(0, ...values);
  const scale = drawValues(frame, low, high > low ? high : low + 1);
  const day = width / plan.days.length;
  drawDays(frame, plan.days);
  if (plan.band) paintBand(frame, plan.band, scale, day);
  for (const line of plan.lines) paintLine(frame, line, scale, day);
  context.fillStyle = HIGHLIGHT;
  context.fillRect((plan.days.length - 0.5 - marked) * day - 0.75, 0, 1.5, height);
}

/** A step a day, ending on the last day; a gap where there is no number. */
function paintLine({ context, width }: Frame, line: Line, scale: (value: number) => number, day: number): void {
  const start = width - line.values.length * day;
  const path = new Path2D();
  const area = new Path2D();
  line.values.forEach((value, step) => {
    if (value === null) return;
    const [x, y] = [start + step * day, scale(value)];
    if (step && line.values[step - 1] !== null) path.lineTo(x, y);
    else path.moveTo(x, y);
    path.lineTo(x + day, y);
    area.rect(x, y, day, scale(0) - y);
  });
  context.globalAlpha = line.faint ? 0.5 : 1;
  context.strokeStyle = context.fillStyle = line.color;
  context.lineWidth = 1.5;
  context.stroke(path);
  context.globalAlpha = 0.35;
  if (line.filled) context.fill(area);
  context.globalAlpha = 1;
}

function paintBand(frame: Frame, band: NonNullable<Days["band"]>, scale: (value: number) => number, day: number): void {
  const { context, width } = frame;
  const start = width - band.low.length * day;
  const area = new Path2D();
  band.low.forEach((low, step) => {
    const high = band.high[step];
    if (low !== null && high != null) area.rect(start + step * day, scale(high), day, scale(low) - scale(high));
  });
  context.fillStyle = band.color;
  context.globalAlpha = 0.2;
  context.fill(area);
  context.globalAlpha = 1;
}
