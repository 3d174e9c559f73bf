"""Read back from the page what the views show, as numbers."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from PIL import Image
from playwright.sync_api import Locator, Page

from stockformer_widgets.components.drawing import RIGHT

_READ_FIGURE = r"""(view, number) => {
    const plot = view.querySelectorAll('.bqplot')[number];  // axes and marks are in two layers of it
    const style = (e, name) => getComputedStyle(e)[name];
    const area = plot.querySelector('.plotarea_events').getBoundingClientRect();
    const ticks = [...plot.querySelectorAll('.axis .tick')].map(tick => {
        const [, x, y] = tick.getAttribute('transform').match(/translate\(([^,]+),([^)]+)\)/);
        return {text: tick.textContent, x: +x, y: +y,
                vertical: tick.parentNode.getAttribute('text-anchor') === 'end'};
    });
    return {
        title: plot.parentNode.querySelector('.stockformer-title').textContent,
        area: {x: area.x, y: area.y, width: area.width, height: area.height},
        ticks,
        paths: [...plot.querySelectorAll('.curve path.line')].map(p => ({
            d: p.getAttribute('d'), stroke: style(p, 'stroke'), opacity: style(p, 'opacity')})),
        bars: [...plot.querySelectorAll('rect.bar')].map(r => {
            const box = r.getBoundingClientRect();
            return {left: box.x - area.x, right: box.right - area.x, middle: box.y + box.height / 2 - area.y,
                    top: box.y - area.y, fill: style(r, 'fill')};
        }),
    };
}"""

#: Whether a figure fills its view and is where it was a frame ago: bqplot fits it 0.4 s after its width has changed.
_IS_AT_REST = """([view, number, right]) => {
    const figure = view.querySelectorAll('.bqplot')[number];
    const place = JSON.stringify(figure.getBoundingClientRect()), before = figure.placeBefore;
    const ends = [figure, figure.querySelector('.plotarea_events')].map(part => part.getBoundingClientRect().right);
    figure.placeBefore = place;
    return Math.abs(ends[0] - ends[1] - right) < 1 && place === before;
}"""


_AXE = Path(__file__).parents[2] / "js" / "node_modules" / "axe-core" / "axe.min.js"
#: WCAG 2.2, levels A and AA, and what axe holds to be good practice.
_RULES = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
_COLOR_RULES = {"type": "rule", "values": ["color-contrast", "link-in-text-block"]}
_RUN_AXE = """async ([part, runOnly]) => {
    const { violations } = await axe.run(part ?? document, { runOnly, resultTypes: ['violations'] });
    return violations.flatMap(({ id, help, nodes }) =>
        nodes.map(({ html, failureSummary }) => `${id}, ${help}: ${html} ${failureSummary}`));
}"""


@dataclass
class Figure:
    """One bqplot figure as it is in the page; pixels count from its plot area."""

    title: str
    area: dict[str, float]
    ticks: list[dict[str, Any]]
    paths: list[dict[str, str]]
    bars: list[dict[str, Any]]

    def points(self, path: int) -> np.ndarray:
        """Corners of a drawn line, [n, 2] pixels."""
        return np.array(re.findall(r"([-\d.e]+),([-\d.e]+)", self.paths[path]["d"]), dtype=float)

    def value_at(self, pixels: np.ndarray, vertical: bool) -> np.ndarray:
        """Pixels to axis values, by two of the axis's own labelled ticks."""
        ticks = [tick for tick in self.ticks if tick["vertical"] == vertical]
        place = [tick["y" if vertical else "x"] for tick in ticks]
        value = [number(tick["text"]) for tick in ticks]
        slope, offset = np.polyfit(place, value, 1)
        return pixels * slope + offset


def number(text: str) -> float:
    """The number of a tick."""
    value = float(text.replace("\N{MINUS SIGN}", "-").removesuffix(" %"))
    return value / 100 if text.endswith("%") else value


def percent(share: float) -> str:
    """A share in percent, with three digits."""
    return "<0.001 %" if 0 < share < 1e-5 else f"{100 * share:#.3g}".rstrip(".") + " %"


def view(page: Page | Locator, name: str) -> Locator:
    """The first view of a class in the page, or in a part of it."""
    return page.locator(f".stockformer-{name}").first


def figure(page: Page | Locator, name: str, number: int = 0) -> Figure:
    """One of a view's figures, read back."""
    return Figure(**view(page, name).evaluate(_READ_FIGURE, number))


def line_values(page: Page, name: str, lines: slice, number: int = 0) -> np.ndarray:
    """[lines, points] of a view's figure, by its own axis."""
    drawn = figure(page, name, number)
    chosen = range(len(drawn.paths))[lines]
    return np.stack([drawn.value_at(drawn.points(line)[:, 1], vertical=True) for line in chosen])


def step_values(page: Page, name: str) -> np.ndarray:
    """Heights of a figure's steps, one a day: its first line goes from corner to corner."""
    return line_values(page, name, slice(0, 1))[0][:-1:2]


def bar_values(page: Page, name: str) -> dict[str, float]:
    """Name -> length of horizontal bars, from the top."""
    drawn = figure(page, name)
    names = sorted((tick for tick in drawn.ticks if tick["vertical"]), key=lambda tick: tick["y"])
    numbers = Figure("", drawn.area, [tick for tick in drawn.ticks if not tick["vertical"]], [], [])
    bars = sorted(drawn.bars, key=lambda bar: bar["middle"])
    ends = numbers.value_at(np.array([[bar["left"], bar["right"]] for bar in bars]), vertical=False)
    return {tick["text"]: value for tick, value in zip(names, _farther(ends), strict=True)}


def column_values(page: Page, name: str, number: int) -> np.ndarray:
    """Heights of vertical bars, from the left."""
    drawn = figure(page, name, number)
    bars = sorted(drawn.bars, key=lambda bar: bar["left"])
    ends = np.array([[bar["top"], 2 * bar["middle"] - bar["top"]] for bar in bars])
    return _farther(drawn.value_at(ends, vertical=True))


def _farther(ends: np.ndarray) -> np.ndarray:
    """The end of each bar that is farther from 0: [bars, 2] -> [bars]."""
    return np.take_along_axis(ends, np.abs(ends).argmax(axis=1)[:, None], axis=1)[:, 0]


def map_shares(page: Page, name: str, rows: int, columns: int, colormap: str = "viridis") -> np.ndarray:
    """[rows, columns] from 0 = first to 1 = last colour of the map, from the colours on the screen."""
    view(page, name).scroll_into_view_if_needed()
    area = figure(page, name).area
    return shares_of(page, area, rows, columns, colormap)  # near the edge: the crosshair runs through the middle


def pixels_of(page: Page, area: dict[str, float]) -> np.ndarray:
    """[height, width, RGB] of a rectangle of the page."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot(clip=area))).convert("RGB"), dtype=float)


def shares_of(
    page: Page, area: dict[str, float], rows: int, columns: int, colormap: str = "viridis", at: float = 0.2
) -> np.ndarray:
    """As `map_shares`, of the cells in a rectangle of the page."""
    return shares(pixels_of(page, area), rows, columns, colormap, at)


def shares(pixels: np.ndarray, rows: int, columns: int, colormap: str = "viridis", at: float = 0.2) -> np.ndarray:
    """As `map_shares`, of the cells in a picture; `at` is the place in a cell that is looked at."""
    down, across = (
        ((np.arange(number) + at) / number * size).astype(int)
        for number, size in zip((rows, columns), pixels.shape[:2], strict=True)
    )
    palette = colormaps[colormap](np.linspace(0, 1, 256))[:, :3] * 255
    distance = np.linalg.norm(pixels[np.ix_(down, across)][:, :, None] - palette, axis=-1)
    return distance.argmin(axis=-1) / 255


def violations(page: Page, part: str | None = None, *, colors_alone: bool = False) -> list[str]:
    """What axe-core finds in the page, or in the part that a selector names; of colours only in a second theme."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(_AXE.read_text(encoding="utf-8"))
    found: list[str] = page.evaluate(_RUN_AXE, [part, _COLOR_RULES if colors_alone else _RULES])
    return found


def plot_area(page: Page, name: str, number: int = 0) -> dict[str, float]:
    """Where a view's figure is on the screen, without its axes, once it is at rest."""
    view(page, name).scroll_into_view_if_needed()
    page.wait_for_function(_IS_AT_REST, arg=[view(page, name).element_handle(), number, RIGHT])
    return figure(page, name, number).area


def settle(page: Page) -> None:
    page.wait_for_function("document.getAnimations().length === 0")


def click(page: Page, name: str, x: float, y: float, number: int = 0) -> None:
    """Click into a view's figure, at shares of its width and height."""
    area = plot_area(page, name, number)
    page.mouse.click(area["x"] + x * area["width"], area["y"] + y * area["height"])


def click_cell(page: Page, query: int, key: int, days: int) -> None:
    """Click the middle of a cell of the attention map."""
    click(page, "AttentionHeatmap", (key + 0.5) / days, (query + 0.5) / days)
