// Named bars, as elements.

import { element } from "../../dom";
import { number } from "../axes";
import { byFeature, largest, type Sample } from "../bundle";
import { color, compares, type Host, named, pair, type Said, section } from "./section";

const SHOWN_FEATURES = 14;

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
    if (compares(host))
      view.say(...samples.map((sample, place) => ({ text: `${"AB"[place]}: ${sample.title}`, color: color(place) })));
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
    drawBars(list, compares(host) ? bars : bars.map((bar) => ({ ...bar, color: color(0) })), whole, (place) =>
      named(host, place),
    );
    view.say(
      found.map((one, place) => (one!.truth === null ? "" : `${named(host, place)}true: ${one!.truth}`)).join("  "),
    );
  });
}

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
