"""The explore notebook in a real JupyterLab: what the page shows is what the tensors hold."""

from __future__ import annotations

import copy
import math
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import screen
import torch
from lab import choose_theme, run_notebook, write_notebook
from playwright.sync_api import Locator, Page, expect
from screen import (
    Figure,
    bar_values,
    click,
    column_values,
    figure,
    line_values,
    map_shares,
    percent,
    plot_area,
    step_values,
    view,
    violations,
)
from shipped import shipped_sample

from stockformer.dataset import Window
from stockformer.explainability import (
    Attribution,
    Capture,
    activation_patching,
    attribute,
    capture_attention,
    choose_target,
    head_importance,
    joint_rollout,
    mean_norm_map,
    measure_faithfulness,
    relevance,
    trace_attention,
)
from stockformer.explainability.faithfulness.curves import training_windows
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
    "Gates": "GateHeatmap",
    "Features": "SaliencyHeatmap",
    "Flow": "FlowHeatmap",
    "Patching": "ActivationPatching",
    "Faithfulness": "FaithfulnessCheck",
}


@pytest.fixture(scope="module", autouse=True)
def explorer(page: Page, lab: str) -> Page:
    run_notebook(page, lab, "explore.ipynb")
    view(page, "AttentionHeatmap").locator("image").wait_for()
    return page


@pytest.fixture(autouse=True)
def start(page: Page, explorer: Page) -> None:
    """Every test starts from the crash, stock to market, layer 1, mean of the heads."""
    open_tab(page, "Overview")
    choose_kind(page, "Stock to market")
    choose(page, "head", "mean")
    choose(page, "layer", "1")
    choose_sample(page, CRASH)
    expect(page.locator(".stockformer-explorer")).to_contain_text("AAPL, 2008-10-15")
    expect_bars_of(page, attributed(CRASH))
    page.mouse.move(5, 5)
    expect(page.locator(".stockformer-panel")).to_be_hidden()
    plot_area(page, "AttentionHeatmap")


def open_tab(page: Page, title: str) -> None:
    page.locator(".stockformer-explorer .lm-TabBar-tab", has_text=title).click()
    view(page, TABS[title]).wait_for()


def choose_sample(page: Page, index: int) -> None:
    window = DATASET.window(index)
    choose(page, "ticker", window.ticker)
    expect(page.locator(".stockformer-headline")).to_contain_text(window.ticker)
    page.get_by_label("day", exact=True).first.fill(str(window.dates[-1].date()))


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


def choose(page: Page, control: str, option: str) -> None:
    page.get_by_label(control, exact=True).locator("visible=true").first.select_option(label=option)


def yearly(before: float, after: float) -> str:
    """What a change does to the prediction, in words."""
    return f"goes from {100 * math.exp(before):.1f} % a year to {100 * math.exp(after):.1f} % a year"


def settle(page: Page) -> None:
    page.wait_for_function("document.getAnimations().length === 0")


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
    expect(view(page, "AttentionRow")).to_contain_text(f"What {dates[query]} attends to")

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


def test_runs_and_shows_the_crash(page: Page) -> None:
    click_cell(page, LAST, LAST)
    check_overview(page, CRASH, "cross", 1, None, LAST, LAST)


def test_an_enlarged_view_has_the_tab_for_itself_and_is_clicked_as_before(page: Page) -> None:
    shown = view(page, "AttentionHeatmap")
    before, button = shown.bounding_box(), shown.locator(".stockformer-enlarger")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".stockformer-explorer .stockformer-view:visible")).to_have_count(1)
    assert plot_area(page, "AttentionHeatmap")["width"] > 2 * before["width"]
    click_cell(page, 15, 6)
    expect_cell(page, sample(CRASH)[1].map("cross", 1), CRASH, 15, 6)
    button.click()
    expect(view(page, "SaliencyBars")).to_be_visible()
    assert plot_area(page, "AttentionHeatmap")["width"] < before["width"]
    assert shown.bounding_box()["width"] == pytest.approx(before["width"], abs=1)


@pytest.mark.parametrize(("query", "key"), [(0, 0), (15, 6), (LAST, 3), (12, LAST)])
def test_click_selects_the_cell_and_its_row(page: Page, query: int, key: int) -> None:
    click_cell(page, query, key)
    check_overview(page, CRASH, "cross", 1, None, query, key)


def test_layer_head_and_kind(page: Page) -> None:
    click_cell(page, 10, 14)
    choose(page, "layer", "0")
    check_overview(page, CRASH, "cross", 0, None, 10, 14)
    choose(page, "head", "3")
    check_overview(page, CRASH, "cross", 0, 3, 10, 14)
    choose(page, "layer", "1")
    choose_kind(page, "Stock self-attention")
    check_overview(page, CRASH, "self", 1, 3, 10, 14)
    choose_kind(page, "Market self-attention")
    check_overview(page, CRASH, "market", 0, 3, 10, 14)  # the market encoder has one layer


def test_another_sample_by_number_ticker_and_date(page: Page) -> None:
    click_cell(page, 9, 18)
    choose_sample(page, CALM)
    expect(page.locator(".stockformer-explorer")).to_contain_text("IBM, 2006-11-21")
    check_overview(page, CALM, "cross", 1, None, 9, 18)
    choose(page, "ticker", "MSFT")
    expect(page.locator(".stockformer-explorer")).to_contain_text("MSFT, 2006-11-21")
    page.get_by_label("day", exact=True).first.fill("2007-03-03")  # a Saturday
    expect(page.locator(".stockformer-explorer")).to_contain_text("MSFT, 2007-03-02")
    page.get_by_role("button", name="▶").click()
    expect(page.locator(".stockformer-explorer")).to_contain_text("MSFT, 2007-03-05")
    page.get_by_label("day", exact=True).first.fill("2001-01-01")
    expect(page.locator(".stockformer-explorer")).to_contain_text("no window of MSFT ends by 2001-01-01")
    check_overview(page, DATASET.index_of("2007-03-05", "MSFT"), "cross", 1, None, 9, 18)


def test_a_date_is_typed_key_by_key(page: Page) -> None:
    field, explorer = page.get_by_label("day", exact=True).first, page.locator(".stockformer-explorer")
    field.focus()  # on its month
    for pressed, day in [
        ("03", "2008-03-14"),  # 2008-03-15 was a Saturday
        ("16", "2008-03-14"),
        ("2010", "2010-03-16"),
    ]:
        for key in pressed:
            page.keyboard.press(key)
            settle(page)
        expect(explorer).to_contain_text(f"AAPL, {day}")
    expect(field).to_have_value("2010-03-16")
    expect(explorer.get_by_role("alert")).to_have_count(0)


def test_jumps_to_remarkable_windows(page: Page) -> None:
    jump = page.get_by_label("find", exact=True).first
    volatility = np.array([DATASET.window(i).prices["adjusted_close"].pct_change().std(ddof=0) for i in (0, 653, 5402)])
    assert volatility.argmax() == 1
    assert volatility.argmin() == 2
    for name, index in (("most volatile", 653), ("calmest", 5402)):
        jump.select_option(name)
        window = DATASET.window(index)
        expect(page.locator(".stockformer-explorer")).to_contain_text(f"{window.ticker}, {days(index)[-1]}")
    jump.select_option("most confident")
    page.get_by_role("button", name="stop").click()
    expect(page.get_by_role("button", name="stop")).to_be_hidden()
    expect(page.locator(".stockformer-explorer")).to_contain_text(f"{window.ticker}, {days(index)[-1]}")


def test_a_drag_across_the_days_ends_at_the_last(page: Page) -> None:
    click_cell(page, 0, 14)
    slider = page.locator(".widget-slider:has(.widget-label:text-is('query'))").first
    expect(slider.locator(".widget-readout")).to_have_text(days(CRASH)[0])  # else the handle moves under the mouse
    handle = slider.locator(".noUi-handle")
    handle.scroll_into_view_if_needed()
    box, track = handle.bounding_box(), handle.locator("xpath=ancestor::*[contains(@class,'noUi-target')]")
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    width = track.bounding_box()["width"]
    page.mouse.move(*middle)
    page.mouse.down()
    for step in range(1, 61):
        page.mouse.move(middle[0] + step / 60 * (width + 20), middle[1])
    page.mouse.up()
    check_overview(page, CRASH, "cross", 1, None, LAST, 14)
    title = view(page, "AttentionRow").locator(".stockformer-title")
    stale = page.evaluate(
        """title => new Promise(done => {
            const seen = [];
            new MutationObserver(() => seen.push(title.textContent)).observe(
                title, {childList: true, characterData: true, subtree: true});
            requestIdleCallback(() => requestIdleCallback(() => done(seen)));
        })""",
        title.element_handle(),
    )
    assert set(stale) <= {f"What {days(CRASH)[LAST]} attends to"}


def test_what_if_shows_before_and_after_and_undoes(page: Page) -> None:
    window, shown = sample(CRASH)
    before = float(shown.output[0])
    closed = copy.deepcopy(MODEL)
    with torch.no_grad():
        for layer in closed.cross_attn_layers:
            layer.gate[0].weight.zero_()
            layer.gate[0].bias.fill_(-100.0)
        after = float(closed(window.x[None], window.market_x[None])[0])
    page.get_by_role("button", name="tools", exact=True).click()
    for layer in range(2):
        choose(page, "layer", str(layer))
        expect(page.locator(".stockformer-explorer")).to_contain_text(f"Stock to market attention, layer {layer}")
        choose(page, "gate", "0, closed")
        expect(page.locator(".stockformer-explorer")).to_contain_text(f"gate of layer {layer} = 0")
    expect(view(page, "Prediction")).to_contain_text(yearly(before, after))
    settle(page)
    values = bar_values(page, "Prediction")
    np.testing.assert_allclose(list(values.values()), np.exp([after, window.y]), atol=0.02)
    circles = view(page, "Prediction").locator(".object_grp .element")
    expect(circles).to_have_count(2)
    area = figure(page, "Prediction").area
    middles = sorted((box["y"], box["x"] + box["width"] / 2) for box in map(Locator.bounding_box, circles.all()))
    ticks = figure(page, "Prediction")
    numbers = Figure("", area, [tick for tick in ticks.ticks if not tick["vertical"]], [], [])
    drawn = numbers.value_at(np.array([x - area["x"] for _, x in middles]), vertical=False)
    np.testing.assert_allclose(drawn, np.exp([before, window.y]), atol=0.02)
    np.testing.assert_allclose(line_values(page, "GateTimeline", slice(2, 4)), np.zeros((2, DAYS)), atol=0.005)
    for _ in range(4):  # both gates, and the layers chosen for them
        page.get_by_role("button", name="undo", exact=True).click()
    expect(page.locator(".stockformer-explorer")).not_to_contain_text("what if:")
    click_cell(page, 9, 12)
    check_overview(page, CRASH, "cross", 1, None, 9, 12)
    page.get_by_role("button", name="tools", exact=True).click()


PLACES = """() => [...document.querySelectorAll('.stockformer-explorer *')]
    .filter(part => part instanceof HTMLElement && part.checkVisibility() && !part.closest('.stockformer-reading *'))
    .map(part => {
        const {x, y, width, height} = part.getBoundingClientRect();
        return [part.className, x, y, width, height];
    })"""
OVERVIEW = (
    "AttentionHeatmap",
    "PriceStrip",
    "AttentionRow",
    "GateTimeline",
    "PoolingBars",
    "Prediction",
    "SaliencyBars",
)


@pytest.mark.parametrize("name", OVERVIEW)
def test_the_mouse_over_a_view_moves_nothing(page: Page, name: str) -> None:
    reading = view(page, name).locator(".stockformer-reading")
    view(page, name).scroll_into_view_if_needed()
    settle(page)
    area = figure(page, name).area
    before, selected = page.evaluate(PLACES), reading.text_content()
    for x, y in ((0.1, 0.15), (0.5, 0.85), (0.9, 0.5)):
        page.mouse.move(area["x"] + x * area["width"], area["y"] + y * area["height"])
        expect(reading).to_have_class("stockformer-reading stockformer-at-pointer")
        after = page.evaluate(PLACES)
        moved = [(one, other) for one, other in zip(before, after, strict=True) if one[1:] != other[1:]]
        assert not moved
    page.mouse.move(5, 5)
    expect(reading).to_have_class("stockformer-reading")
    expect(reading).to_have_text(selected)


def test_every_value_is_a_table(page: Page) -> None:
    """It is fetched when it is opened, and again when the picture under it changes."""
    row = view(page, "AttentionRow")
    table = row.locator(".stockformer-values table")
    expect(table).to_have_count(0)
    click_cell(page, 9, 7)
    row.get_by_text("numbers", exact=True).click()
    row.get_by_text("every value", exact=True).click()
    for layer in (1, 0):
        choose(page, "layer", str(layer))
        weights = sample(CRASH)[1].map("cross", layer)[9]
        expect(table.locator("tbody tr").first).to_contain_text(f"{weights[0]:.4g}")
        values = [float(cell) for cell in table.locator("tbody tr td:nth-child(3)").all_text_contents()]
        np.testing.assert_allclose(values, weights, rtol=1e-3)
    assert table.locator("thead th").all_text_contents() == ["key", "key day", "weight", "share"]
    row.get_by_text("numbers", exact=True).click()


def test_a_patch_of_the_map_is_applied_and_undone(page: Page) -> None:
    donor = int(np.where(DATASET.end_tickers == "AAPL", DATASET.volatility, np.inf).argmin())
    found = activation_patching(MODEL, DATASET.window(CRASH).inputs, DATASET.window(donor).inputs)
    effects = found.table.query("stream == 'stock'")["effect"].to_numpy().reshape(2, DAYS)
    layer, day = 1, 13
    whole, shown = page.locator(".stockformer-explorer"), view(page, "ActivationPatching")
    open_tab(page, "Patching")
    expect(shown).to_contain_text(f"the calmest window of AAPL, {days(donor)[-1]} (sample {donor})")
    click(page, "ActivationPatching", (day + 0.5) / DAYS, 0.75)
    page.mouse.move(5, 5)
    where = f"after layer {layer}, {days(CRASH)[day]} (donor {days(donor)[day]})"
    expect(shown).to_contain_text(f"stock stream {where}, effect {effects[layer, day]:+.4g}")
    settle(page)
    shares = map_shares(page, "ActivationPatching", 2, DAYS, "RdBu_r")
    np.testing.assert_allclose(2 * shares - 1, effects / found.table["effect"].abs().max(), atol=0.02)
    shown.get_by_role("button", name="apply this patch").click()
    expect(whole).to_contain_text(f"what if: stock stream after layer {layer} on day {day} of sample {donor}")
    open_tab(page, "Overview")
    after = found.value + effects[layer, day]
    expect(view(page, "Prediction")).to_contain_text(yearly(found.value, after))
    page.get_by_role("button", name="tools", exact=True).click()
    page.get_by_role("button", name="undo", exact=True).click()
    expect(whole).not_to_contain_text("what if:")
    click_cell(page, 9, 12)
    check_overview(page, CRASH, "cross", 1, None, 9, 12)
    page.get_by_role("button", name="tools", exact=True).click()


def test_views_redraw_in_place(page: Page) -> None:
    click_cell(page, 9, 18)
    svgs = page.locator(".stockformer-explorer .bqplot svg")
    before = svgs.element_handles()
    choose(page, "layer", "0")
    check_overview(page, CRASH, "cross", 0, None, 9, 18)
    assert all(node.evaluate("n => n.isConnected") for node in before)
    assert len(svgs.element_handles()) == len(before)


def test_hover_reads_out_and_leaving_returns(page: Page) -> None:
    click_cell(page, 9, 18)
    weights = sample(CRASH)[1].map("cross", 1)
    area = plot_area(page, "AttentionHeatmap")
    page.mouse.move(area["x"] + 10.5 / DAYS * area["width"], area["y"] + 5.5 / DAYS * area["height"])
    expect_cell(page, weights, CRASH, 5, 10)
    page.mouse.move(5, 5)
    expect_cell(page, weights, CRASH, 9, 18)
    area = plot_area(page, "AttentionRow")
    page.mouse.move(area["x"] + 7.5 / DAYS * area["width"], area["y"] + 0.5 * area["height"])
    expect(view(page, "AttentionRow")).to_contain_text(f"{days(CRASH)[7]}, weight {percent(float(weights[9, 7]))}"[:-3])


@pytest.mark.parametrize(
    ("name", "query", "key"),
    [("AttentionRow", 13, 7), ("GateTimeline", 7, 12), ("PoolingBars", 7, 12), ("PriceStrip", 7, 12)],
)
def test_a_click_on_the_time_axis_selects_a_day(page: Page, name: str, query: int, key: int) -> None:
    click_cell(page, 13, 12)
    expect_cell(page, sample(CRASH)[1].map("cross", 1), CRASH, 13, 12)
    click(page, name, 7.5 / DAYS, 0.3)
    check_overview(page, CRASH, "cross", 1, None, query, key)


def test_saliency_of_the_selected_day_signed(page: Page) -> None:
    click_cell(page, 19, 12)
    choose(page, "over", "selected day")
    choose(page, "values", "signed")
    day = pd.Series(saliency(CRASH)[19], index=NAMES)
    expect(view(page, "SaliencyBars").locator(".stockformer-title")).to_have_text(
        f"integrated gradients for the value, {days(CRASH)[19]}"
    )
    settle(page)
    bars = pd.Series(bar_values(page, "SaliencyBars"))
    assert set(bars.index) == set(day.abs().nlargest(len(bars)).index)
    np.testing.assert_allclose(bars, day[bars.index], atol=0.01 * day.abs().max())
    market = day.abs()[-2:].sum() / day.abs().sum()
    expect(view(page, "SaliencyBars")).to_contain_text(f"market {100 * market:.1f} %")
    choose(page, "over", "all days")
    choose(page, "values", "absolute")


def test_a_click_on_a_bar_selects_the_feature_everywhere(page: Page) -> None:
    strongest = pd.Series(np.abs(saliency(CRASH)).sum(axis=0), index=NAMES).nlargest(3)
    click(page, "SaliencyBars", 0.02, 2.5 / 6)
    expect(view(page, "SaliencyBars")).to_contain_text(f"{strongest.index[2]} {strongest.iloc[2]:.3g}"[:-1])
    open_tab(page, "Features")
    expect(view(page, "SaliencyHeatmap")).to_contain_text(f"{strongest.index[2]}, ")
    view(page, "SaliencyHeatmap").focus()
    page.keyboard.press("Escape")
    expect(view(page, "SaliencyHeatmap")).to_contain_text("selected day")


def test_layers_and_heads(page: Page) -> None:
    open_tab(page, "Layers and heads")
    settle(page)
    kinds = sample(CRASH)[1].kinds
    rows = {kind: [maps[0] for maps in layers] for kind, layers in kinds.items()}
    entropy = {
        kind: [float(-(maps * maps.clamp(min=1e-30).log()).sum(-1).mean() / np.log(DAYS)) for maps in layers]
        for kind, layers in rows.items()
    }
    for line, kind in enumerate(("cross", "self", "market")):
        drawn = line_values(page, "LayerEvolution", slice(line, line + 1))[0]
        np.testing.assert_allclose(drawn[: len(entropy[kind])], entropy[kind], atol=0.02)
    heads = rows["cross"][1]
    own = -(heads * heads.clamp(min=1e-30).log()).sum(-1).mean(-1) / np.log(DAYS)
    np.testing.assert_allclose(column_values(page, "HeadSpecialization", 0), own, atol=0.02)
    recency = heads[:, :, 16:].sum(-1).mean(-1)
    np.testing.assert_allclose(column_values(page, "HeadSpecialization", 2), recency, atol=0.02)

    click(page, "LayerEvolution", 0.5 / 2, 0.5)
    layer, head = (page.get_by_label(name, exact=True).locator("visible=true").first for name in ("layer", "head"))
    expect(layer).to_have_value("0")
    click(page, "HeadSpecialization", 2.5 / 4, 0.5, 1)
    expect(head.locator("option:checked")).to_have_text("2")
    open_tab(page, "Overview")
    expect(view(page, "AttentionHeatmap")).to_contain_text("layer 0, head 2")


def test_gates_and_features_by_day(page: Page) -> None:
    click_cell(page, 13, 12)
    open_tab(page, "Gates")
    expect(view(page, "GateHeatmap")).to_contain_text("Gate of layer 1")
    settle(page)
    gate = list(sample(CRASH)[1].gates.values())[1][0].numpy()
    rows = np.argsort(-gate.std(axis=0), kind="stable")
    off = np.arange(DAYS) != 13
    np.testing.assert_allclose(map_shares(page, "GateHeatmap", 16, DAYS)[:, off], gate[:, rows].T[:, off], atol=0.01)
    click(page, "GateHeatmap", 17.5 / DAYS, 0.45)
    expect(view(page, "GateHeatmap")).to_contain_text(f"day {days(CRASH)[17]}")

    open_tab(page, "Features")
    expect(view(page, "SaliencyHeatmap")).to_contain_text(f"{days(CRASH)[17]}")
    settle(page)
    off = np.arange(DAYS) != 17
    signed = saliency(CRASH)
    rows = np.argsort(-np.abs(signed).sum(axis=0), kind="stable")
    largest = np.abs(signed).max()
    shares = map_shares(page, "SaliencyHeatmap", len(NAMES), DAYS, "RdBu_r")
    np.testing.assert_allclose((2 * shares - 1)[:, off], signed[:, rows].T[:, off] / largest, atol=0.02)

    click(page, "SaliencyHeatmap", 12.5 / DAYS, 3.5 / len(NAMES))
    page.mouse.move(5, 5)
    expect(view(page, "SaliencyHeatmap")).to_contain_text(f"{NAMES[rows[3]]}, {days(CRASH)[12]}")
    open_tab(page, "Overview")
    expect_cell(page, sample(CRASH)[1].map("cross", 1), CRASH, 12, 12)


def test_flow_of_attention_and_what_heads_change(page: Page) -> None:
    click_cell(page, 13, 12)
    open_tab(page, "Flow")
    window = DATASET.window(CRASH)
    trace = trace_attention(MODEL, window.x[None], window.market_x[None])
    carried, paths = mean_norm_map(trace.kinds["cross"][1]).numpy(), joint_rollout(trace).market.numpy()
    off = off_the_crosshair(13, 12)
    flow = view(page, "FlowHeatmap")
    for name, shown, title in (
        ("norm of weighted values", carried, "layer 1, mean of 4 heads"),
        ("rollout", paths, "rollout through all layers"),
    ):
        flow.get_by_label("shows", exact=True).select_option(label=name)
        expect(flow.locator(".stockformer-title")).to_contain_text(title)
        expect(flow).to_contain_text(f"value {shown[13, 12]:.3g}"[:-1])
        settle(page)
        shares = map_shares(page, "FlowHeatmap", DAYS, DAYS)
        np.testing.assert_allclose(shares[off], (shown / shown.max())[off], atol=0.01)

    days_of = view(page, "DayScores")
    for name, scores in (("relevance", relevance(trace)), ("rollout", joint_rollout(trace))):
        days_of.get_by_label("by", exact=True).select_option(label=name)
        stock = scores.days[0].numpy()
        expect(days_of).to_contain_text(f"stock {stock[13]:.3g}"[:-1])
        settle(page)
        top = max(part.max() for part in scores.days)
        np.testing.assert_allclose(step_values(page, "DayScores"), stock, atol=0.01 * top)

    heads = head_importance(MODEL, window.x[None], window.market_x[None], trace=trace)
    layer = heads[(heads["kind"] == "cross") & (heads["layer"] == 1)]
    for number, column in enumerate(("gradient", "ablation")):
        expected = layer[column].to_numpy()
        drawn = column_values(page, "HeadImportance", number)
        np.testing.assert_allclose(drawn, expected, atol=0.02 * np.abs(expected).max())
    click(page, "HeadImportance", 2.5 / 4, 0.5)
    expect(flow.locator(".stockformer-title")).to_contain_text("rollout")
    flow.get_by_label("shows", exact=True).select_option(label="norm of weighted values")
    expect(flow.locator(".stockformer-title")).to_contain_text("layer 1, head 2")


def test_faithfulness_is_measured_while_one_watches(page: Page) -> None:
    open_tab(page, "Faithfulness")
    check = view(page, "FaithfulnessCheck")
    expect(check).to_contain_text("Not measured yet")
    stop = check.get_by_role("button", name="stop")
    check.get_by_label("on", exact=True).select_option(label="16 windows")
    check.get_by_role("button", name="measure").click()
    expect(check.locator(".widget-hprogress")).to_be_visible()
    stop.click()
    expect(stop).to_be_hidden()
    expect(check).to_contain_text("Not measured yet")

    check.get_by_label("on", exact=True).select_option(label="this sample")
    check.get_by_role("button", name="measure").click()
    expect(check).to_contain_text("better than random orders:", timeout=60_000)
    expect(stop).to_be_hidden()
    settle(page)
    window = DATASET.window(CRASH)
    found = measure_faithfulness(MODEL, [window.inputs], training=training_windows(DATASET))
    names = [name for name in found.table["ranking"] if name != "random"]
    for number, kind in enumerate(("deletion", "insertion")):
        curves = found.curves[found.curves["kind"] == kind].set_index("ranking")
        expected = np.stack([curves.loc[name, "value"] for name in names])
        measured = np.rint(100 * curves.loc[names[0], "fraction"]).astype(int)
        # First the band's two lines; after the rankings random orders, and the marks of no selection.
        drawn = line_values(page, "FaithfulnessCheck", slice(2, 2 + len(names)), number)
        np.testing.assert_allclose(drawn[:, measured], expected, atol=0.01 * np.ptp(expected))
    rows = {row.locator("td").first.inner_text(): row for row in check.locator("tr:has(td)").all()}
    for row in found.table.to_dict("records"):
        said = rows[f"■ {row['ranking'].replace('_', ' ')}"]
        expect(said).to_contain_text(f"{row['deletion']:.2f}")
        expect(said).to_contain_text(row["verdict"])
    assert not violations(page, ".stockformer-FaithfulnessCheck")
    open_tab(page, "Overview")
    expect(view(page, "SaliencyBars")).to_contain_text("on this sample")


def test_a_hidden_tab_is_right_when_it_is_shown(page: Page) -> None:
    open_tab(page, "Gates")
    open_tab(page, "Overview")
    before = view(page, "GateHeatmap").locator(".stockformer-title").text_content()
    choose(page, "layer", "0")
    expect(view(page, "AttentionHeatmap")).to_contain_text("layer 0")
    assert view(page, "GateHeatmap").locator(".stockformer-title").text_content() == before
    open_tab(page, "Gates")
    expect(view(page, "GateHeatmap")).to_contain_text("Gate of layer 0")


def test_keys_move_the_selection_and_not_the_notebook(page: Page) -> None:
    click_cell(page, 13, 12)
    cells = page.locator(".jp-Notebook .jp-Cell").count()
    weights = sample(CRASH)[1].map
    heatmap = view(page, "AttentionHeatmap")
    expect(heatmap).to_be_focused()
    for key, expected in (
        ("ArrowRight", (1, None, 13, 13)),
        ("ArrowDown", (1, None, 14, 13)),
        ("[", (0, None, 14, 13)),
        ("]", (1, None, 14, 13)),
        ("h", (1, 0, 14, 13)),
        ("H", (1, None, 14, 13)),
        ("Home", (1, None, 0, 13)),
        ("End", (1, None, LAST, 13)),
        ("ArrowUp", (1, None, LAST - 1, 13)),
        ("ArrowLeft", (1, None, LAST - 1, 12)),
    ):
        page.keyboard.press(key)
        layer, head, query, step = expected
        expect_cell(page, weights("cross", layer, head), CRASH, query, step)
    live = heatmap.locator("[aria-live]")
    expect(live).to_contain_text(f"query {days(CRASH)[LAST - 1]}, key {days(CRASH)[12]}")
    expect(view(page, "AttentionRow").locator("[aria-live]")).to_have_text("")
    for _ in range(DAYS):
        page.keyboard.press("ArrowRight")
    expect_cell(page, weights("cross", 1), CRASH, LAST - 1, LAST)
    assert page.locator(".jp-Notebook .jp-Cell").count() == cells
    view(page, "GateTimeline").focus()
    page.keyboard.press("ArrowLeft")
    expect_cell(page, weights("cross", 1), CRASH, LAST - 2, LAST)


def test_a_box_on_the_map_is_shown_larger_in_every_view(page: Page) -> None:
    click_cell(page, LAST, LAST)
    choose(page, "head", "3")
    weights = sample(CRASH)[1].map("cross", 1, 3).numpy()
    area = plot_area(page, "AttentionHeatmap")

    def point(query: float, key: float) -> tuple[float, float]:
        return area["x"] + key / DAYS * area["width"], area["y"] + query / DAYS * area["height"]

    page.mouse.move(*point(5.5, 8.5))
    page.mouse.down()
    for step in range(1, 6):
        page.mouse.move(*point(5.5 + 1.4 * step, 8.5 + 2 * step))
    page.mouse.up()
    page.mouse.move(5, 5)
    expect(view(page, "AttentionHeatmap")).to_contain_text(f"query {days(CRASH)[12]}, key {days(CRASH)[18]}")
    settle(page)
    shown = map_shares(page, "AttentionHeatmap", 8, 11)
    np.testing.assert_allclose(shown[:-1, :-1], (weights / weights.max())[5:12, 8:18], atol=0.01)
    for name, last in (("AttentionRow", 18), ("GateTimeline", 12), ("PoolingBars", 12), ("PriceStrip", 12)):
        expect(view(page, name).locator(".bqplot")).to_contain_text(days(CRASH)[last])

    click(page, "AttentionHeatmap", 2.5 / 11, 3.5 / 8)
    page.mouse.move(5, 5)
    expect_cell(page, torch.tensor(weights), CRASH, 8, 10)
    view(page, "AttentionHeatmap").focus()
    for key in ("ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp"):  # one further than what is shown
        page.keyboard.press(key)
    expect_cell(page, torch.tensor(weights), CRASH, 4, 10)
    page.keyboard.press("0")
    expect(view(page, "AttentionHeatmap").locator(".bqplot")).to_contain_text(days(CRASH)[LAST])
    settle(page)
    off = off_the_crosshair(4, 10)
    np.testing.assert_allclose(
        map_shares(page, "AttentionHeatmap", DAYS, DAYS)[off], (weights / weights.max())[off], atol=0.01
    )
    page.keyboard.press("+")
    expect(view(page, "PoolingBars").locator(".bqplot")).to_contain_text(days(CRASH)[10])
    box = plot_area(page, "AttentionHeatmap")
    page.mouse.dblclick(box["x"] + 30, box["y"] + 30)
    expect(view(page, "PoolingBars").locator(".bqplot")).to_contain_text(days(CRASH)[LAST])


def test_the_wheel_zooms_with_ctrl_and_pans_with_shift(page: Page) -> None:
    click_cell(page, 8, 15)
    pooling = view(page, "PoolingBars").locator(".bqplot")
    area = plot_area(page, "AttentionHeatmap")
    page.mouse.move(area["x"] + 50, area["y"] + 50)

    def turn(key: str, by: int) -> None:
        page.keyboard.down(key)
        page.mouse.wheel(0, by)
        page.keyboard.up(key)

    turn("Control", -100)  # half of the days, around the selected ones
    expect(pooling).to_contain_text(days(CRASH)[13])
    expect(view(page, "AttentionRow").locator(".bqplot")).to_contain_text(days(CRASH)[20])
    turn("Shift", 100)  # a quarter of these later
    expect(pooling).to_contain_text(days(CRASH)[15])
    turn("Shift", -100)
    expect(pooling).to_contain_text(days(CRASH)[13])
    turn("Control", 100)
    expect(pooling).to_contain_text(days(CRASH)[LAST])


def test_every_view_is_a_tab_stop_with_a_name_before_its_numbers_and_its_enlarging(page: Page) -> None:
    views = page.locator(".stockformer-explorer .stockformer-view:visible")
    assert views.count() == 7
    for number in range(views.count()):
        one = views.nth(number)
        expect(one).to_have_attribute("tabindex", "0")
        assert one.get_attribute("aria-label")
    view(page, "AttentionHeatmap").focus()
    page.keyboard.press("Tab")
    expect(view(page, "AttentionHeatmap").get_by_text("numbers", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    expect(view(page, "AttentionHeatmap").get_by_role("button", name="enlarge")).to_be_focused()
    page.keyboard.press("Tab")
    expect(view(page, "AttentionRow")).to_be_focused()
    border = view(page, "AttentionRow").evaluate("e => getComputedStyle(e, '::after').borderTopWidth")
    assert border == "2px"


def test_axe_finds_nothing_in_any_tab(page: Page) -> None:
    """Whatever opens is open, the table of every value in one view."""
    page.get_by_role("button", name="tools", exact=True).click()
    page.get_by_title("what is explained, and how").first.click()
    view(page, "AttentionRow").get_by_text("numbers", exact=True).click()
    view(page, "AttentionRow").get_by_text("every value", exact=True).click()
    for theme, titles in (("Dark", ("Overview", "History", "Faithfulness")), ("Light", TABS)):
        choose_theme(page, f"JupyterLab {theme}")
        for title in titles:
            open_tab(page, title)
            page.locator(".stockformer-fold:visible").evaluate_all("folds => folds.forEach(fold => (fold.open = true))")
            assert not violations(page, ".stockformer-explorer", colors_alone=theme == "Dark"), title
    page.locator(".stockformer-explorer details").evaluate_all("folds => folds.forEach(fold => (fold.open = false))")
    page.get_by_title("what is explained, and how").locator("visible=true").first.click()
    page.get_by_role("button", name="tools", exact=True).click()


#: What has the focus, and whether it looks as without; None outside of the explorer. The next Tab goes on from there.
BLUR = """() => {
    const one = document.activeElement;
    if (one.closest('.stockformer-explorer') === null) return null;
    const look = () => ['', '::after'].map(part => {
        const { outline, outlineStyle, boxShadow, borderTop } = getComputedStyle(one, part);
        return `${outlineStyle === 'none' ? '' : outline} ${boxShadow} ${borderTop}`;
    }).join();
    const focused = look();
    one.blur();
    return [one.outerHTML.slice(0, 200), look() === focused];
}"""


@pytest.mark.parametrize("forced", ["none", "active"])
def test_the_focus_can_be_seen_with_and_without_forced_colors(page: Page, forced: str) -> None:
    page.emulate_media(forced_colors=forced)
    page.get_by_role("button", name="tools", exact=True).click()
    page.get_by_label("gate", exact=True).wait_for()
    page.get_by_label("ticker", exact=True).first.focus()
    stops = []
    while (stop := page.evaluate(BLUR)) is not None:
        stops.append(stop)
        page.keyboard.press("Tab")
    page.emulate_media(forced_colors="none")
    page.get_by_role("button", name="tools", exact=True).click()
    assert len(stops) > 30
    seen = {name for name, unseen in stops if not unseen}
    # A date is several stops; the ring of its calendar button is the browser's, and in no style of the page.
    assert {name for name, _ in stops} == seen


def test_the_heart_fits_a_screen(page: Page) -> None:
    page.set_viewport_size({"width": 1832, "height": 1400})
    try:
        page.wait_for_function(
            "() => Math.abs(document.querySelector('.stockformer-explorer').clientWidth - 1400) < 40"
        )
        box = page.locator(".stockformer-explorer").bounding_box()
        for name in ("AttentionHeatmap", "AttentionRow", "GateTimeline", "SaliencyBars", "Prediction"):
            page.wait_for_function(
                """([name, top]) => {
                    const box = document.querySelector(`.stockformer-${name}`).getBoundingClientRect();
                    return box.bottom - top < 900;
                }""",
                arg=[name, box["y"]],
            )
    finally:
        page.set_viewport_size({"width": 1680, "height": 1400})


def test_a_narrow_column_does_not_overflow(page: Page) -> None:
    page.set_viewport_size({"width": 860, "height": 1400})
    try:
        page.wait_for_function(
            """() => {
                const explorer = document.querySelector('.stockformer-explorer');
                return explorer.clientWidth < 450 && explorer.scrollWidth <= explorer.clientWidth;
            }"""
        )
    finally:
        page.set_viewport_size({"width": 1680, "height": 1400})


def test_in_a_window_of_320_pixels_a_click_selects_the_cell(page: Page) -> None:
    page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")
    page.set_viewport_size({"width": 320, "height": 900})
    try:
        page.wait_for_function("document.querySelector('.stockformer-AttentionHeatmap').clientWidth < 250")
        for query, key in ((5, 8), (12, 3), (20, LAST)):
            click_cell(page, query, key)
            expect_cell(page, sample(CRASH)[1].map("cross", 1), CRASH, query, key)
    finally:
        page.set_viewport_size({"width": 1680, "height": 1400})
        page.evaluate("window.jupyterapp.commands.execute('application:toggle-left-area')")


@pytest.mark.parametrize("width", [1680, 860])
def test_no_words_and_no_figures_are_cut(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 1400})
    try:
        for title in TABS:
            open_tab(page, title)
            for shown in page.locator(".stockformer-explorer .stockformer-view:visible").all():
                shown.scroll_into_view_if_needed()  # bqplot fits only figures that are on the screen
                page.wait_for_function(
                    """view => {
                        const figures = [...view.querySelectorAll('.bqplot')].map(figure => figure.parentNode);
                        return [view, ...figures].every(box => box.scrollWidth <= box.clientWidth);
                    }""",
                    arg=shown.element_handle(),
                )
    finally:
        page.set_viewport_size({"width": 1680, "height": 1400})


def test_undo_and_redo_by_key_and_by_button(page: Page) -> None:
    click_cell(page, 9, 12)
    click_cell(page, 3, 4)
    heatmap, dates = view(page, "AttentionHeatmap"), days(CRASH)
    expect(heatmap).to_contain_text(f"query {dates[3]}, key {dates[4]}")
    heatmap.focus()
    page.keyboard.press("Control+z")
    expect(heatmap).to_contain_text(f"query {dates[9]}, key {dates[12]}")
    page.keyboard.press("Control+Shift+Z")
    expect(heatmap).to_contain_text(f"query {dates[3]}, key {dates[4]}")
    page.get_by_role("button", name="undo", exact=True).click()
    expect(heatmap).to_contain_text(f"query {dates[9]}, key {dates[12]}")


@pytest.mark.parametrize(("width", "columns"), [(700, 1), (900, 2), (1160, 3), (1900, 3)])
def test_one_row_of_controls_and_columns_by_width(page: Page, width: int, columns: int) -> None:
    beside = 1680 - page.locator(".stockformer-explorer").bounding_box()["width"]
    page.set_viewport_size({"width": round(width + beside), "height": 1400})
    try:
        page.wait_for_function(
            "width => Math.abs(document.querySelector('.stockformer-explorer').clientWidth - width) < 3", arg=width
        )
        tops = page.locator(".stockformer-bar > *, .stockformer-samples > *").evaluate_all(
            "all => all.filter(one => one.checkVisibility()).map(one => one.getBoundingClientRect().top)"
        )
        assert (max(tops) - min(tops) < 20) == (width >= 860)
        names = "AttentionHeatmap", "AttentionRow", "SaliencyBars"
        left, row, right = (view(page, name).bounding_box() for name in names)
        lefts = {round(box["x"], -1) for box in (left, row, right)}
        assert len(lefts) == columns
        if columns < 3:  # what matters more is higher
            assert left["y"] < row["y"]
            assert right["y"] < row["y"]
    finally:
        page.set_viewport_size({"width": 1680, "height": 1400})


@pytest.mark.parametrize("width", [700, 900, 1160])
def test_open_tools_cover_no_tab_and_cut_no_words(page: Page, width: int) -> None:
    beside = 1680 - page.locator(".stockformer-explorer").bounding_box()["width"]
    page.set_viewport_size({"width": round(width + beside), "height": 1400})
    tools, panel = page.get_by_role("button", name="tools", exact=True), page.locator(".stockformer-panel")
    if not panel.is_visible():
        tools.click()
    try:
        panel.wait_for()
        plot_area(page, "AttentionHeatmap")
        panel = panel.bounding_box()
        tabs = page.locator(".stockformer-explorer .lm-TabBar-tab:visible").evaluate_all(
            "all => all.map(tab => tab.getBoundingClientRect().toJSON())"
        )
        assert len(tabs) == len(TABS) + 1  # the grid of heads
        is_beside = panel["x"] > tabs[0]["x"] + 100
        below = panel["y"] + panel["height"]
        assert all(tab["right"] <= panel["x"] if is_beside else tab["top"] >= below for tab in tabs)
        words = ".stockformer-explorer .widget-label, .stockformer-panel .widget-readout"
        cut = page.locator(words).evaluate_all(
            """all => all.filter(one => one.checkVisibility() && one.scrollWidth > one.clientWidth)
                .map(one => one.innerText)"""
        )
        assert not cut
        drawn = view(page, "AttentionHeatmap").bounding_box()["width"]
        assert drawn > 300  # of which dates on the axis need 200
    finally:
        tools.click()
        page.set_viewport_size({"width": 1680, "height": 1400})


def test_first_sight_in_a_notebook_of_1160_by_800(page: Page) -> None:
    beside = 1680 - page.locator(".stockformer-explorer").bounding_box()["width"]
    page.set_viewport_size({"width": round(1160 + beside), "height": 1400})
    try:
        page.wait_for_function("() => Math.abs(document.querySelector('.stockformer-explorer').clientWidth - 1160) < 3")
        plot_area(page, "AttentionHeatmap")
        top = page.locator(".stockformer-explorer").bounding_box()["y"]
        for shown in (
            page.locator(".stockformer-headline"),
            page.locator(".stockformer-headline .stockformer-badge").first,
            view(page, "AttentionHeatmap"),
            view(page, "AttentionRow"),
            view(page, "SaliencyBars"),
        ):
            box = shown.bounding_box()
            assert box["y"] + box["height"] - top <= 800
    finally:
        page.set_viewport_size({"width": 1680, "height": 1400})


def test_the_history_draws_every_window_and_a_click_goes_there(page: Page) -> None:
    open_tab(page, "History")
    page.locator(".stockformer-windows td").first.wait_for()
    frame = SURVEY.pivot(index="date", columns="ticker", values="market_share")
    drawn = line_values(page, "HistoryView", slice(0, 4), number=1)
    np.testing.assert_allclose(drawn, frame.to_numpy().T, atol=0.005)
    day = frame.loc["2011-10-26"]
    click_date(page, frame.index.get_loc("2011-10-26"), len(frame), day["IBM"])
    expect(page.locator(".stockformer-explorer")).to_contain_text("IBM, 2011-10-26")
    reading = page.locator(".stockformer-HistoryView .stockformer-reading").nth(1)
    expect(reading).to_contain_text("2011-10-26")
    expect(reading).to_contain_text(f"IBM {percent(day['IBM'])}")
    marked = page.locator(".stockformer-windows tr[aria-selected=true]")
    expect(marked).to_contain_text("IBM")
    expect(marked).to_contain_text(percent(day["IBM"]))
    inside, around = (part.bounding_box() for part in (marked, page.locator(".stockformer-windows")))
    assert around["y"] < inside["y"] < around["y"] + around["height"] - inside["height"]
    row = page.locator(".stockformer-windows tbody tr").nth(2)
    date, ticker = row.locator("td").all_inner_texts()[:2]
    row.click()
    expect(page.locator(".stockformer-explorer")).to_contain_text(f"{ticker}, {date}")
    expect(row).to_have_attribute("aria-selected", "true")


def test_a_brushed_period_of_the_history_is_a_filter_and_a_group(page: Page) -> None:
    open_tab(page, "History")
    history = page.locator(".stockformer-HistoryView")
    area, dates = plot_area(page, "HistoryView", 0), sorted(SURVEY["date"].unique())
    places = [500, 700]
    ends = [area["x"] + area["width"] * (place + 0.5) / len(dates) for place in places]
    page.mouse.move(ends[0], area["y"] + 20)
    page.mouse.down()
    page.mouse.move(ends[1], area["y"] + 20, steps=5)
    page.mouse.up()
    count = history.locator(".widget-html").filter(has_text="of 6,976 windows (").first
    expect(count).to_be_visible()
    words = count.inner_text()
    first, last = (pd.Timestamp(day) for day in words.split("(")[1].rstrip(")").split(" to "))
    assert abs(dates.index(first) - places[0]) <= 3
    assert abs(dates.index(last) - places[1]) <= 3
    assert int(words.split()[0]) == SURVEY["date"].between(first, last).sum()
    history.get_by_role("button", name="group A").click()
    history.get_by_role("button", name="undo filter").click()
    expect(history.get_by_text("6,976 windows", exact=True)).to_be_visible()
    choose(history, "days", "calm")
    calm = (SURVEY["regime"] == "calm").sum()
    expect(history.get_by_text(f"{calm:,} of 6,976 windows", exact=True)).to_be_visible()
    history.get_by_role("button", name="group B").click()
    history.get_by_role("button", name="compare A with B").click()
    table = page.locator(".stockformer-groups table")
    share = SURVEY[SURVEY["regime"] == "calm"]["market_share"].mean()
    expect(table.locator("tr", has_text="market share").locator("td").nth(2)).to_have_text(f"{share:.4g}")
    assert not violations(page, ".stockformer-groups")
    history.get_by_role("button", name="all windows").click()


def click_date(page: Page, place: int, places: int, value: float) -> None:
    """Click the measure's history at a date and a value."""
    drawn = figure(page, "HistoryView", 1)
    ticks = [tick for tick in drawn.ticks if tick["vertical"]]
    by_value = np.polyfit([screen.number(tick["text"]) for tick in ticks], [tick["y"] for tick in ticks], 1)
    x = drawn.area["x"] + drawn.area["width"] * (place + 0.5) / places
    page.mouse.click(x, drawn.area["y"] + float(np.polyval(by_value, value)))


def test_single_views_follow_one_selection_and_a_click_on_a_class_explains_it(
    page: Page, lab: str, lab_root: Path
) -> None:
    dataset, model = shipped_sample()
    index = dataset.index_of("2008-10-15", "AAPL")
    cells = [
        "from ipywidgets import VBox",
        "from stockformer.sample import load_sample",
        "from stockformer_widgets import AttentionHeatmap, ExtractorSession, GateTimeline, Prediction, SaliencyBars",
        "dataset, model = load_sample()",
        f"session = ExtractorSession.from_dataset(model, dataset, {index})",
        "heatmap = AttentionHeatmap(session)",
        "VBox([heatmap, Prediction(session, heatmap.selection), SaliencyBars(session, heatmap.selection)])",
    ]
    write_notebook(lab_root / "alone.ipynb", ["\n".join(cells), "GateTimeline(session, heatmap.selection)"])
    run_notebook(page, lab, "alone.ipynb")
    view(page, "AttentionHeatmap").locator("image").wait_for()
    screen.click_cell(page, 25, 30, dataset.lookback)
    expect(view(page, "GateTimeline")).to_contain_text(f"{dataset.window(index).dates[25].date()}, ")

    click(page, "Prediction", 0.1, 0.25)
    expect(view(page, "Prediction")).to_contain_text("DOWN 4")
    expect(view(page, "SaliencyBars")).to_contain_text("|integrated gradients| for DOWN over UP")
    settle(page)
    inputs, names = dataset.window(index).inputs, [*dataset.feature_cols, *dataset.market_feature_cols]
    parts = attribute(model, *inputs, target=choose_target(model, model(*inputs), 0)).parts
    totals = pd.Series(torch.cat(parts, dim=1).abs().sum(dim=0).numpy(), index=names)
    bars = pd.Series(bar_values(page, "SaliencyBars"))
    np.testing.assert_allclose(bars, totals[bars.index], atol=0.01 * totals.max())
