// The views of a page. Each draws what is selected, and knows of no other.

import { DIVERGING, gradient, levelOf, type Palette, picture as pixels, SEQUENTIAL } from "../colors";
import { element } from "../dom";
import { headGrid } from "../grid";
import { COLORS, drawDays, drawRows, drawValues, type Frame, HIGHLIGHT, number } from "./axes";
import { type Arrays, byFeature, difference, type Grid, largest, type Numbers, type Sample, selectedMap } from "./bundle";
import { picture } from "./picture";
import { kindOf, shown, sizes, type Store } from "./store";

export interface Host {
  store: Store;
  arrays: Arrays;
  signal: AbortSignal;
}

/** A part of the page that takes the keyboard: what its arrow keys move is written on it. */
interface Section {
  root: HTMLElement;
  /** Set what is said below: of the cell under the mouse, or of what is selected. */
  say(...words: Said[]): void;
}

/** Words, and the colour that stands for them. */
type Said = string | { text: string; color: string };

const SHOWN_FEATURES = 14;
/** Of an attention weight: it travels in half precision. */
const DIGITS = 3;

function section(parent: HTMLElement, name: string, horizontal: string, vertical = "query"): Section {
  const root = element("section", "stockformer-page-view", parent);
  root.tabIndex = 0;
  root.setAttribute("role", "application"); // so that a screen reader hands the keys over
  root.setAttribute("aria-label", name);
  root.dataset["lmSuppressShortcuts"] = "true";
  Object.assign(root.dataset, { horizontal, vertical });
  const words = element("p", "stockformer-page-words");
  queueMicrotask(() => root.append(words)); // below whatever the view puts in
  return { root, say: (...said) => words.replaceChildren(...said.map(spoken)) };
}

function spoken(said: Said): Node {
  if (typeof said === "string") return document.createTextNode(`${said} `);
  const around = element("span", "stockformer-page-swatch");
  const square = element("span", "", around);
  square.textContent = "■";
  square.style.color = said.color;
  around.append(` ${said.text} `);
  return around;
}

const pair = (host: Host) => shown(host.store.bundle, host.store.where);
const compares = (host: Host) => host.store.bundle.mode === "comparison";
/** "A " and "B " in a comparison. */
const named = (host: Host, place: number) => (compares(host) ? `${"AB"[place]} ` : "");
/** The day so many days before the last. */
const dayOf = (days: readonly string[], before: number) => days[days.length - 1 - before] ?? "no such day";

function mapOf(host: Host, sample: Sample): Grid {
  const { kind, layer, head } = host.store.where;
  const found = kindOf(sample, kind);
  return selectedMap(host.arrays, found, layer, head);
}

function mapTitle(host: Host): string {
  const { kind, layer, head } = host.store.where;
  const { heads } = sizes(pair(host), kind, layer);
  const which = head === null ? `mean of ${heads} head${heads === 1 ? "" : "s"}` : `head ${head}`;
  return `${kindOf(pair(host)[0]!, kind).title}, layer ${layer}, ${which}`;
}

/** Paint cells with the selected query and key marked. */
function paintMap(frame: Frame, grid: Grid, low: number, high: number, colors: Palette, row: number, column: number): void {
  const { context, width, height } = frame;
  const cells = new OffscreenCanvas(grid.columns, grid.rows);
  const level = (cell: number) => levelOf(grid.values[cell]!, low, high);
  cells.getContext("2d")!.putImageData(pixels(grid.rows, grid.columns, colors, level), 0, 0);
  context.imageSmoothingEnabled = grid.columns > width || grid.rows > height;
  context.imageSmoothingQuality = "high";
  context.drawImage(cells, 0, 0, width, height);
  context.strokeStyle = HIGHLIGHT;
  context.lineWidth = 1.5;
  const [x, y] = [((column + 0.5) / grid.columns) * width, ((row + 0.5) / grid.rows) * height];
  context.beginPath();
  context.moveTo(0, y);
  context.lineTo(width, y);
  context.moveTo(x, 0);
  context.lineTo(x, height);
  context.stroke();
}

function colorBar(bar: HTMLElement, colors: Palette, low: number, high: number): void {
  const stripe = Object.assign(element("span", "stockformer-color-bar"), { style: `background: ${gradient(colors)}` });
  bar.replaceChildren(`query ↓ key →  ${number(low, 3)} `, stripe, ` ${number(high, 3)}`);
}

interface Cells {
  grid: Grid;
  title: string;
  low: number;
  high: number;
  colors: Palette;
  queries: string[];
  keys: string[];
  /** What is said of a cell; days count back from the last. */
  words(query: number, key: number, value: number | undefined): string;
}

/** Cells of query and key; a click selects both. */
function cellsView(host: Host, view: Section, read: () => Cells): void {
  const { store } = host;
  let cells: Cells;
  const words = (query: number, key: number) => {
    const { values, rows, columns } = cells.grid;
    return cells.words(query, key, values[(rows - 1 - query) * columns + columns - 1 - key]);
  };
  const before = ({ across, down }: { across: number; down: number }) => {
    const { rows, columns } = cells.grid;
    return { query: rows - 1 - Math.floor(down * rows), key: columns - 1 - Math.floor(across * columns) };
  };
  const drawn = picture(
    view.root,
    (at) => store.set(before(at)),
    (at) => {
      const { query, key } = at === null ? store.where : before(at);
      view.say(words(query, key));
    },
    host.signal,
  );
  const bar = element("div", "stockformer-page-bar", view.root);
  store.follow(() => {
    cells = read();
    const { grid, title, low, high, colors, queries, keys } = cells;
    const { query, key } = store.where;
    drawn.draw(title, 300, (frame) => {
      paintMap(frame, grid, low, high, colors, grid.rows - 1 - query, grid.columns - 1 - key);
      drawDays(frame, keys);
      drawRows(frame, queries, 8);
    });
    colorBar(bar, colors, low, high);
    view.say(words(query, key));
  });
}

/** One map; of the sample at a place among those that are shown. */
export function mapView(host: Host, parent: HTMLElement, place: number): void {
  const view = section(parent, `${named(host, place)}attention map`, "key");
  view.root.dataset["view"] = "map";
  const sample = () => pair(host)[place]!;
  const heading = compares(host) ? element("h2", "", view.root) : null;
  if (heading) heading.textContent = `${named(host, place)}${sample().title}`;
  cellsView(host, view, () => {
    const { queries, keys } = kindOf(sample(), host.store.where.kind);
    return {
      grid: mapOf(host, sample()),
      title: mapTitle(host),
      low: 0,
      high: Math.max(...pair(host).map((one) => largest(mapOf(host, one).values))),
      colors: SEQUENTIAL,
      queries,
      keys,
      words: (query, key, value) => `query ${dayOf(queries, query)}, key ${dayOf(keys, key)}, weight ${number(value, DIGITS)}`,
    };
  });
}

/** A's map minus B's. */
export function differenceView(host: Host, parent: HTMLElement): void {
  const view = section(parent, "difference of the maps", "key");
  view.root.dataset["view"] = "difference";
  cellsView(host, view, () => {
    const [one, other] = pair(host).map((sample) => mapOf(host, sample)) as [Grid, Grid];
    const grid = difference(one, other);
    const at = ({ values, rows, columns }: Grid, query: number, key: number) =>
      values[(rows - 1 - query) * columns + columns - 1 - key]!;
    const whole = largest(grid.values);
    return {
      grid,
      title: `A - B: ${mapTitle(host)}`,
      low: -whole,
      high: whole,
      colors: DIVERGING,
      queries: counted(grid.rows),
      keys: counted(grid.columns),
      words: (query, key) => {
        const [a, b] = [at(one, query, key), at(other, query, key)];
        const where = `query ${-query}, key ${-key} (days before the prediction)`;
        return `${where}: A ${number(a, DIGITS)} - B ${number(b, DIGITS)} = ${number(apart(a, b), DIGITS)}`;
      },
    };
  });
}

/** a - b, to the decimals that the larger has: what lies below them is its rounding. */
function apart(a: number, b: number): number {
  const decimals = DIGITS - 1 - Math.floor(Math.log10(Math.max(Math.abs(a), Math.abs(b))));
  return Number.isFinite(decimals) ? Number((a - b).toFixed(Math.min(decimals, 100))) : a - b;
}

/** Days by their distance from the last: -59, ..., 0. */
function counted(length: number): string[] {
  return Array.from({ length }, (_, day) => String(day + 1 - length));
}

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

const color = (place: number) => COLORS[place % COLORS.length]!;
const longest = (lists: string[][]) => lists.reduce((one, other) => (other.length > one.length ? other : one));

export function rowView(host: Host, parent: HTMLElement): void {
  daysView(host, parent, "attention row", "key", () => {
    const { kind, query } = host.store.where;
    const samples = pair(host);
    const lines = samples.map((sample, place) => {
      const { values, rows, columns } = mapOf(host, sample);
      const row = values.subarray((rows - 1 - query) * columns, (rows - query) * columns);
      return { name: `${named(host, place)}weight`, values: numbers(row), color: color(place), filled: !compares(host) };
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
    const days = { low: 0, high: 1, ...aligned(host, samples.map((sample) => sample.days)) };
    if (compares(host)) {
      const lines = samples.map((sample, place) => gateLine(sample, layer, `${named(host, place)}gate`, color(place), false));
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
      return { name: `${named(host, place)}weight`, values: sample.pooling!, color: color(place), filled: !compares(host) };
    });
    const days = aligned(host, samples.map((sample) => sample.days));
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

const numbers = (values: Float32Array): Numbers => Array.from(values, (value) => (Number.isFinite(value) ? value : null));

interface Bar {
  name: string;
  /** One a sample that is shown. */
  values: (number | null)[];
  color?: string;
  marked?: boolean;
  select?: () => void;
}

/** Named bars, as elements: they wrap, and a screen reader reads them. */
function drawBars(list: HTMLElement, bars: Bar[], whole: number, names: (place: number) => string): void {
  const focused = [...list.children].indexOf(document.activeElement!);
  list.replaceChildren(
    ...bars.map((bar) => {
      const row = element(bar.select ? "button" : "div", "stockformer-page-bar-row");
      row.dataset["name"] = row.title = bar.name;
      row.dataset["lmSuppressShortcuts"] = "true";
      if (bar.select) {
        row.addEventListener("click", bar.select);
        row.setAttribute("aria-pressed", String(bar.marked ?? false));
      }
      element("span", "stockformer-page-bar-name", row).textContent = bar.name;
      const track = element("span", "stockformer-page-bar-track", row);
      bar.values.forEach((value, place) => {
        const stripe = element("span", "stockformer-page-bar-stripe", track);
        stripe.style.width = `${whole ? (100 * Math.abs(value ?? 0)) / whole : 0}%`;
        stripe.style.background = bar.color ?? color(place);
      });
      const said = bar.values.map((value, place) => `${names(place)}${number(value)}`).join("  ");
      element("span", "stockformer-page-bar-value", row).textContent = said;
      return row;
    }),
  );
  if (focused >= 0) (list.children[focused] as HTMLElement | undefined)?.focus();
}

export function saliencyView(host: Host, parent: HTMLElement): void {
  const { store } = host;
  const view = section(parent, "saliency", "query", "feature");
  view.root.dataset["view"] = "saliency";
  const title = element("h3", "", view.root);
  const list = element("div", "stockformer-page-bars", view.root);
  store.follow(() => {
    const samples = pair(host);
    view.root.hidden = samples.some((sample) => sample.saliency === null);
    if (view.root.hidden) return;
    const found = samples.map((sample) => byFeature(sample.saliency!.inputs, host.arrays.saliency.get(sample)!));
    const bars = found[0]!.map(({ name, input }, feature) => ({
      name,
      values: found.map((one) => one[feature]!.value),
      marked: name === store.where.feature,
      select: () => store.set({ feature: name === store.where.feature ? null : name }),
      ...(compares(host) ? {} : { color: color(input) }),
    }));
    const size = ({ values }: Bar) => Math.abs(values.reduce((one: number, other) => one - other!, 2 * values[0]!));
    const strongest = bars.sort((one, other) => size(other) - size(one)).slice(0, SHOWN_FEATURES);
    const by = compares(host) ? "largest differences" : "all days";
    const targets = [...new Set(samples.map((sample) => sample.saliency!.target))].join(" and ");
    title.textContent = `|${samples[0]!.saliency!.method}| for ${targets}, ${by}`;
    drawBars(list, strongest, largest(strongest.flatMap(({ values }) => values)), (place) => named(host, place));
    if (compares(host)) view.say(...samples.map((sample, place) => ({ text: `${"AB"[place]}: ${sample.title}`, color: color(place) })));
    else view.say(...chosen(store.where.feature, found[0]!), ...shares(samples[0]!, found[0]!));
  });
}

/** The selected feature, also where it is not among the strongest. */
function chosen(feature: string | null, found: { name: string; value: number }[]): Said[] {
  const one = found.find(({ name }) => name === feature);
  return one === undefined ? [] : [`${one.name} ${number(one.value)};`];
}

/** How much of the attribution lies on the stock, and how much on the market. */
function shares(sample: Sample, found: { input: number; value: number }[]): Said[] {
  const absent = sample.saliency!.unavailable;
  const missing = absent ? [`features without data: ${absent}`] : [];
  if (sample.saliency!.inputs.length !== 2) return missing;
  const sum = (of: typeof found) => of.reduce((total, { value }) => total + value, 0);
  const market = sum(found.filter(({ input }) => input === 1)) / (sum(found) || 1);
  const said = [1 - market, market].map((share, input) => {
    const percent = Number.isFinite(share) ? `${(100 * share).toFixed(1)} %` : number(share);
    return { text: `${["stock", "market"][input]} ${percent}`, color: color(input) };
  });
  return ["share of all magnitudes:", ...said, ...missing];
}

export function predictionView(host: Host, parent: HTMLElement): void {
  const { store } = host;
  const view = section(parent, "prediction", "query");
  view.root.dataset["view"] = "prediction";
  const title = element("h3", "", view.root);
  const list = element("div", "stockformer-page-bars", view.root);
  store.follow(() => {
    const found = pair(host).map((sample) => sample.prediction);
    const first = found[0]!;
    view.root.hidden = found.some((one) => one === null || one.names.join("\n") !== first?.names.join("\n"));
    if (view.root.hidden || first === null) return;
    title.textContent = found.map((one, place) => `${named(host, place)}${one!.title}`).join("; ");
    const bars = first.names.map((name, place) => ({ name, values: found.map((one) => one!.values[place]!) }));
    const whole = first.classes ? 1 : largest(bars.flatMap(({ values }) => values));
    drawBars(list, compares(host) ? bars : bars.map((bar) => ({ ...bar, color: color(0) })), whole, (place) => named(host, place));
    view.say(found.map((one, place) => (one!.truth === null ? "" : `${named(host, place)}true: ${one!.truth}`)).join("  "));
  });
}

export function gridView(host: Host, parent: HTMLElement): void {
  const { store } = host;
  const view = section(parent, "head grid", "head", "layer");
  view.root.dataset["view"] = "grid";
  const title = element("h3", "", view.root);
  const kind = () => kindOf(pair(host)[0]!, store.where.kind);
  const before = (cell: { query: number; key: number }) => ({
    query: kind().queries.length - 1 - cell.query,
    key: kind().keys.length - 1 - cell.key,
  });
  const words = (layer: number, head: number | null, query: number, key: number) => {
    const { values, columns } = selectedMap(host.arrays, kind(), layer, head);
    const place = (kind().queries.length - 1 - query) * columns + columns - 1 - key;
    const which = head === null ? "mean of the heads" : `head ${head}`;
    const days = `query ${dayOf(kind().queries, query)}, key ${dayOf(kind().keys, key)}`;
    return `layer ${layer}, ${which}: ${days}, weight ${number(values[place], DIGITS)}`;
  };
  const selected = () => words(store.where.layer, store.where.head, store.where.query, store.where.key);
  const grid = headGrid(
    view.root,
    {
      select: (cell) => store.set({ layer: cell.layer, head: cell.head, ...before(cell) }),
      hover: (cell) => view.say(cell === null ? selected() : words(cell.layer, cell.head, before(cell).query, before(cell).key)),
    },
    host.signal,
  );
  let last: unknown = null;
  store.follow(() => {
    if (last !== kind()) {
      last = kind();
      title.textContent = `${kind().title}, all heads`;
      grid.show(kind().maps, host.arrays.codes.get(kind())!);
    }
    grid.select(store.where.layer, store.where.head);
    view.say(selected());
  });
}
