// @vitest-environment happy-dom

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import sliderNames from "../src/slider_names";
import { browser, FakeModel } from "./fakes";

let around: HTMLElement;
let closing: AbortController;

const slider = (value: string, numbers: readonly number[]) => `
  <div class="widget-slider">
    ${numbers.map((number) => `<div role="slider" aria-valuetext="${number}"></div>`).join("")}
    <div class="widget-readout">${value}</div>
  </div>`;

beforeEach(() => {
  browser(700);
  closing = new AbortController();
  around = document.createElement("div");
  around.innerHTML = `${slider("2008-10-15", [15])}${slider("2008-09-16-2008-10-15", [0, 21])}${slider("day 9-day 10", [9, 10])}<b></b>`;
  document.body.replaceChildren(around);
  const names = ["row", "first day", "last day", "from", "to"];
  sliderNames.render({
    model: new FakeModel({ names }).typed,
    el: around.querySelector<HTMLElement>("b")!,
    signal: closing.signal,
  });
});

afterEach(() => {
  closing.abort();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const said = () =>
  [...around.querySelectorAll("[role=slider]")].map((handle) =>
    ["aria-label", "aria-valuetext"].map((name) => handle.getAttribute(name)),
  );

test("every handle has a name, and the value that is written beside it", () => {
  expect(said()).toEqual([
    ["row", "2008-10-15"],
    ["first day", "2008-09-16"],
    ["last day", "2008-10-15"],
    ["from", "day 9-day 10"], // which half is whose cannot be told
    ["to", "day 9-day 10"],
  ]);
});

test("a value that changes is said again, until the widget is gone", async () => {
  const [handle, readout] = ["[role=slider]", ".widget-readout"].map((one) => around.querySelector(one)!);
  const move = async (day: string) => {
    handle!.setAttribute("aria-valuetext", "16");
    readout!.textContent = day;
    await new Promise((done) => setTimeout(done));
  };
  await move("2008-10-16");
  expect(said()[0]).toEqual(["row", "2008-10-16"]);
  closing.abort();
  await move("2008-10-17");
  expect(said()[0]).toEqual(["row", "16"]);
});
