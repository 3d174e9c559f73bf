"""The explore notebook in the page: what it is compared with, and what is done with it."""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
import pandas as pd
import pytest
import screen
import torch
from playwright.sync_api import Locator, Page, expect
from screen import (
    bar_values,
    line_values,
    map_shares,
    percent,
    settle,
    step_values,
    view,
)
from shipped import shipped_sample

from stockformer.dataset import Window
from stockformer.explainability import (
    Attribution,
    Capture,
    attribute,
    capture_attention,
)
from stockformer.survey import sample_survey

DATASET, MODEL = shipped_sample("volatility")
DAYS = DATASET.lookback
LAST = DAYS - 1
CRASH = DATASET.index_of("2008-10-15", "AAPL")
CALM = DATASET.index_of("2006-11-21", "IBM")
SURVEY = sample_survey().to_frame()
NAMES = [*DATASET.feature_cols, *DATASET.market_feature_cols]
click_cell = partial(screen.click_cell, days=DAYS)
TABS = {
    "Overview": "AttentionHeatmap",
    "History": "HistoryView",
    "Layers and heads": "LayerEvolution",
    "Head grid": "HeadGrid",
    "Gates": "GateHeatmap",
    "Features": "SaliencyHeatmap",
    "Flow": "FlowHeatmap",
    "Patching": "ActivationPatching",
    "Faithfulness": "FaithfulnessCheck",
}


def open_tab(page: Page, title: str) -> None:
    page.locator(".stockformer-explorer .lm-TabBar-tab", has_text=title).click()
    view(page, TABS[title]).wait_for()


def choose_sample(page: Page, index: int) -> None:
    window = DATASET.window(index)
    choose(page, "ticker", window.ticker)
    expect(page.locator(".stockformer-headline")).to_contain_text(window.ticker)
    control(page, "day").fill(str(window.dates[-1].date()))


def choose_kind(page: Page, name: str) -> None:
    choose(page, "kind", name)


def sample(index: int) -> tuple[Window, Capture]:
    window = DATASET.window(index)
    return window, capture_attention(MODEL, window.x[None], window.market_x[None])


def days(index: int) -> list[str]:
    return [str(date.date()) for date in DATASET.window(index).dates]


@cache
def attributed(index: int) -> Attribution:
    """From the training mean."""
    inputs = DATASET.window(index).inputs
    return attribute(MODEL, *inputs, baselines=inputs.baseline)


def saliency(index: int) -> np.ndarray:
    """Its parts, [T, features of stock and market], signed."""
    return torch.cat(attributed(index).parts, dim=1).numpy()


def expect_bars_of(page: Page, found: Attribution) -> None:
    """The last view of the first tab, which takes the longest, shows this one."""
    change = f"the target changes by {found.value - found.reference:.4g} (error"
    expect(view(page, "SaliencyBars")).to_contain_text(change)


def control(page: Page | Locator, label: str) -> Locator:
    """The first visible control with a label. The search of the whole page takes twice as long."""
    return page.locator(".widget-inline-hbox").get_by_label(label, exact=True).locator("visible=true").first


def choose(page: Page | Locator, label: str, option: str) -> None:
    control(page, label).select_option(label=option)


def expect_cell(page: Page, weights: torch.Tensor, index: int, query: int, key: int) -> None:
    """The heatmap names the selected cell."""
    said = f"query {days(index)[query]}, key {days(index)[key]}, weight {percent(float(weights[query, key]))}"
    expect(view(page, "AttentionHeatmap")).to_contain_text(said[:-3])


def off_the_crosshair(row: int | None, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells of a map that the lines of the selection do not cross."""
    return np.ix_(np.arange(DAYS) != row, np.arange(DAYS) != column)


def check_overview(page: Page, index: int, kind: str, layer: int, head: int | None, query: int, key: int) -> None:
    """Hold every view of the first tab against the tensors of a pass of our own."""
    window, shown = sample(index)
    dates = days(index)
    weights = shown.map(kind, layer, head)
    found = attributed(index)
    expect_bars_of(page, found)
    expect_cell(page, weights, index, query, key)
    which = "mean of 4 heads" if head is None else f"head {head}"
    expect(view(page, "AttentionHeatmap")).to_contain_text(f"layer {layer}, {which}")
    row, pooling = weights[query].numpy(), shown.pooling[0].numpy()
    # What a view says comes after what it draws: so all of these are drawn.
    expect(view(page, "AttentionRow")).to_contain_text(f"{dates[key]}, weight {percent(row[key])}"[:-3])
    expect(view(page, "GateTimeline")).to_contain_text(f"band: middle 80 % of layer {layer}")
    expect(view(page, "PoolingBars")).to_contain_text(f"{dates[query]}, weight {percent(pooling[query])}"[:-3])
    settle(page)
    off = off_the_crosshair(query, key)
    shares = map_shares(page, "AttentionHeatmap", DAYS, DAYS)
    np.testing.assert_allclose(shares[off], (weights / weights.max()).numpy()[off], atol=0.008)
    np.testing.assert_allclose(step_values(page, "AttentionRow"), row, atol=0.01 * row.max())
    expect(view(page, "AttentionRow")).to_contain_text(f"strongest: {dates[int(row.argmax())]}")
    expect(view(page, "AttentionRow")).to_contain_text(f"Attention of {dates[query]}")

    prices = window.prices[["adjusted_close", "spy"]].to_numpy().T
    changes = 100 * (prices / prices[:, :1] - 1)
    np.testing.assert_allclose(line_values(page, "PriceStrip", slice(0, 2)), changes, atol=0.01 * np.ptp(changes))
    expect(view(page, "PriceStrip")).to_contain_text(f"{dates[query]}, ■ close {prices[0, query]:.2f}")

    means = np.stack([gate[0].mean(dim=-1).numpy() for gate in shown.gates.values()])
    np.testing.assert_allclose(line_values(page, "GateTimeline", slice(2, 2 + len(means))), means, atol=0.01)

    np.testing.assert_allclose(step_values(page, "PoolingBars"), pooling, atol=0.01 * pooling.max())
    expect(view(page, "PoolingBars")).to_contain_text(f"largest: {dates[int(pooling.argmax())]}")

    values = {"predicted": math.exp(shown.output[0]), "true": math.exp(window.y)}
    assert bar_values(page, "Prediction") == pytest.approx(values, abs=0.02)
    for name, value in zip(("predicted", "actually"), values.values(), strict=True):
        expect(view(page, "Prediction")).to_contain_text(f"{name} {100 * value:.1f} % a year")

    totals = pd.Series(torch.cat(found.parts, dim=1).abs().sum(dim=0), index=NAMES)
    bars = pd.Series(bar_values(page, "SaliencyBars"))
    top = totals.nlargest(len(bars))
    assert list(bars.index) == list(top.index)
    np.testing.assert_allclose(bars, top, atol=0.01 * top.max())


OVERVIEW = (
    "AttentionHeatmap",
    "PriceStrip",
    "AttentionRow",
    "GateTimeline",
    "PoolingBars",
    "Prediction",
    "SaliencyBars",
)
