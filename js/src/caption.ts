// The text below a picture, in widgets and pages: the selected place, what the picture says, how far to trust it, and
// its numbers.

import "./caption.css";
import { element } from "./dom";
import { number, share } from "./numbers";

/** Words, their value, and the colour of their swatch. */
export type Phrase = readonly [words: string, value?: string, color?: string];

export interface Finding {
  name: string;
  value: number | null;
  formula: string;
  reading: string;
}

export interface Note {
  text: string;
  detail: string;
  /** Whether it belongs beside the table of numbers, not below the picture. */
  aside: boolean;
}

/** How far to trust a picture. */
export interface Doubt {
  text: string;
  level: "sure" | "doubtful" | "unmeasured";
  detail: string;
}

export interface Text {
  caveats: string[];
  summary: { verdict: string; findings: Finding[]; subject: string };
  notes: Note[];
  doubt: Doubt | null;
  /** Names and colours. */
  legend: [string, string][];
  /** Whether there is nothing to show yet. */
  empty: boolean;
}

/** The values of a picture, the first cell of a row its name. */
export interface Table {
  columns: string[];
  rows: string[][];
  /** How many rows there are in all. */
  of: number;
}

export interface Caption {
  /** Describe a place: the selected one, or the one under the mouse. */
  read(phrases: readonly Phrase[], atPointer: boolean): void;
  /** Show the text of a picture. */
  tell(text: Text): void;
  /** The table that was asked for. */
  fill(table: Table): void;
}

const SIGNS = { sure: "✓", doubtful: "!", unmeasured: "?" };

/** Build a caption in `root`; `ask` requests the table, which is large and rarely wanted. */
export function caption(root: HTMLElement, ask: () => void, signal: AbortSignal): Caption {
  const around = element("div", "stockformer-caption", root);
  around.setAttribute("role", "document"); // the view is an application: text and tables in it are read as such
  const legend = element("div", "stockformer-legend", around);
  const reading = element("div", "stockformer-reading", around);
  const prose = element("div", "stockformer-prose", around);
  const trust = element("div", "stockformer-trust", around);
  const more = element("details", "stockformer-fold", around);
  element("summary", "", more).textContent = "numbers";
  const numbers = element("table", "", more);
  const asides = element("div", "stockformer-notes", more);
  const all = element("details", "", more);
  element("summary", "", all).textContent = "every value";
  const values = element("div", "stockformer-values", all);
  scrolling(values, "every value");
  all.addEventListener("toggle", () => all.open && ask(), { signal });
  tips(around, signal);
  settle(prose, signal);
  signal.addEventListener("abort", () => around.remove());

  return {
    read(phrases, atPointer) {
      reading.classList.toggle("stockformer-at-pointer", atPointer);
      reading.title = spoken(phrases);
      reading.replaceChildren(...phrases.flatMap((phrase, place) => [...(place ? [", "] : []), ...written(phrase)]));
    },
    tell({ caveats, summary, notes, doubt, legend: names, empty }) {
      legend.replaceChildren(...names.flatMap(([name, color]) => written([name, "", color])));
      prose.replaceChildren(
        ...caveats.map(warned),
        ...(summary.verdict ? [paragraph(summary.verdict, "stockformer-sentence")] : []),
        ...notes.filter(({ aside }) => !aside).map(noted),
      );
      trust.replaceChildren(...(doubt ? [doubted(doubt)] : []));
      tabulate(numbers, summary.subject, summary.findings);
      more.hidden = empty;
      asides.replaceChildren(...notes.filter(({ aside }) => aside).map(noted));
      values.replaceChildren();
      if (all.open) ask();
    },
    fill(table) {
      values.replaceChildren(...valued(table));
    },
  };
}

/** Phrases in plain text. */
export const spoken = (phrases: readonly Phrase[]): string =>
  phrases.map(([words, value]) => [words, value].filter(Boolean).join(" ")).join(", ");

function written([words, value = "", color = ""]: Phrase): (Node | string)[] {
  const around = element("span", "stockformer-phrase");
  if (color) {
    const swatch = element("span", "stockformer-swatch", around);
    swatch.style.color = color;
    swatch.textContent = "■";
    around.append(" ");
  }
  around.append(words);
  if (words && value) around.append(" ");
  if (value) element("b", "", around).textContent = value;
  return [around];
}

/** Dates, and numbers in percent: a line that ends within one is misread. */
const WHOLE = /(\d{4}-\d\d(?:-\d\d)?|[\d.,]+ %)/;

function paragraph(words: string, className: string): HTMLElement {
  const made = element("p", className);
  for (const [place, part] of words.split(WHOLE).entries())
    if (place % 2) element("span", "stockformer-phrase", made).textContent = part;
    else made.append(part);
  return made;
}

function warned(words: string): HTMLElement {
  const made = paragraph(words, "stockformer-caveat");
  made.setAttribute("role", "note");
  return made;
}

function noted({ text, detail }: Note): HTMLElement {
  const made = paragraph(text, "stockformer-note");
  if (detail) made.append(" ", help(detail));
  return made;
}

/** A badge, explained where it has the focus or the mouse. */
function doubted({ text, level, detail }: Doubt): HTMLElement {
  const badge = element(detail ? "button" : "span", `stockformer-badge stockformer-${level}`);
  signed(badge, SIGNS[level]);
  badge.append(` ${text}`);
  if (detail) explain(badge, detail);
  return badge;
}

/** A question mark that explains something: its name is the explanation. */
function help(detail: string): HTMLElement {
  const button = element("button", "stockformer-help");
  signed(button, "?");
  explain(button, detail);
  return button;
}

function signed(button: HTMLElement, sign: string): void {
  const mark = element("span", "", button);
  mark.setAttribute("aria-hidden", "true");
  mark.textContent = sign;
}

function explain(button: HTMLElement, detail: string): void {
  (button as HTMLButtonElement).type = "button";
  element("span", "stockformer-tip", button).textContent = detail;
}

/** Escape hides the explanation that has the focus. */
function tips(root: HTMLElement, signal: AbortSignal): void {
  const hide = (event: KeyboardEvent) => event.key === "Escape" && (event.target as HTMLElement).blur();
  root.addEventListener("keydown", hide, { signal });
}

function tabulate(table: HTMLTableElement, subject: string, findings: readonly Finding[]): void {
  table.replaceChildren();
  if (subject && findings.length) element("caption", "", table).textContent = subject;
  for (const { name, value, formula, reading } of findings) {
    const row = element("tr", "", table);
    const [words, written] = named(name, value);
    const head = element("th", "", row);
    head.scope = "row";
    head.textContent = words;
    element("td", "", row).textContent = written;
    element("td", "", row).append(help(`${name} = ${formula}. ${reading}`));
  }
}

/** A number and its name as a person writes them. */
export function named(name: string, value: number | null): [string, string] {
  const words = name.replaceAll("_", " ");
  if (value !== null && words.endsWith(" percent")) return [words.slice(0, -" percent".length), `${number(value)} %`];
  return [words, /\bshare$/.test(words) ? share(value) : number(value)];
}

function valued({ columns, rows, of }: Table): HTMLElement[] {
  const table = element("table");
  if (rows.length < of)
    element("caption", "", table).textContent = `the first ${number(rows.length)} of ${number(of)} rows`;
  const head = element("tr", "", element("thead", "", table));
  for (const column of columns) Object.assign(element("th", "", head), { scope: "col", textContent: column });
  const body = element("tbody", "", table);
  for (const [name, ...cells] of rows) {
    const row = element("tr", "", body);
    Object.assign(element("th", "", row), { scope: "row", textContent: name });
    for (const cell of cells) element("td", "", row).textContent = cell;
  }
  return [table];
}

/** Make what scrolls reachable by the keyboard. It is not a landmark: a page would have one per view. */
function scrolling(root: HTMLElement, name: string): void {
  root.tabIndex = 0;
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", name);
}

/** Keep the height of the longest text so far until the width changes, so that nothing below it jumps. */
function settle(prose: HTMLElement, signal: AbortSignal): void {
  let width = 0;
  let height = 0;
  const sizes = new ResizeObserver(() => {
    if (prose.clientWidth !== width) {
      [width, height] = [prose.clientWidth, 0];
      prose.style.minHeight = "";
    }
    height = Math.max(height, prose.offsetHeight);
    prose.style.minHeight = `${height}px`;
  });
  sizes.observe(prose);
  signal.addEventListener("abort", () => sizes.disconnect());
}
