// What every part of a page is made with.

import { element } from "../../dom";
import { COLORS } from "../axes";
import { type Arrays, type Grid, type Sample, selectedMap } from "../bundle";
import { kindOf, shown, sizes, type Store } from "../store";

export interface Host {
  store: Store;
  arrays: Arrays;
  signal: AbortSignal;
}

/** A part of the page that takes the keyboard: what its arrow keys move is written on it. */
export interface Section {
  root: HTMLElement;
  /** Set what is said below: of the cell under the mouse, or of what is selected. */
  say(...words: Said[]): void;
}

/** Words, and the colour that stands for them. */
export type Said = string | { text: string; color: string };

/** Of an attention weight: it travels in half precision. */
export const DIGITS = 3;

export function section(parent: HTMLElement, name: string, horizontal: string, vertical = "query"): Section {
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

export const pair = (host: Host) => shown(host.store.bundle, host.store.where);
export const compares = (host: Host) => host.store.bundle.mode === "comparison";
/** "A " and "B " in a comparison. */
export const named = (host: Host, place: number) => (compares(host) ? `${"AB"[place]} ` : "");
/** The day so many days before the last. */
export const dayOf = (days: readonly string[], before: number) => days[days.length - 1 - before] ?? "no such day";

export const color = (place: number) => COLORS[place % COLORS.length]!;

export function mapOf(host: Host, sample: Sample): Grid {
  const { kind, layer, head } = host.store.where;
  const found = kindOf(sample, kind);
  return selectedMap(host.arrays, found, layer, head);
}

export function mapTitle(host: Host): string {
  const { kind, layer, head } = host.store.where;
  const { heads } = sizes(pair(host), kind, layer);
  const which = head === null ? `mean of ${heads} head${heads === 1 ? "" : "s"}` : `head ${head}`;
  return `${kindOf(pair(host)[0]!, kind).title}, layer ${layer}, ${which}`;
}

/** Days by their distance from the last: -59, ..., 0. */
export function counted(length: number): string[] {
  return Array.from({ length }, (_, day) => String(day + 1 - length));
}
