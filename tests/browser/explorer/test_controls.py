"""Samples, what-if, keys, wheel and undo of the explorer."""

from __future__ import annotations

import copy
import math

import numpy as np
import torch
from explorer_page import (
    CALM,
    CRASH,
    DATASET,
    DAYS,
    LAST,
    MODEL,
    check_overview,
    choose,
    choose_sample,
    click_cell,
    control,
    days,
    expect_cell,
    off_the_crosshair,
    open_tab,
    sample,
)
from playwright.sync_api import Locator, Page, expect
from screen import (
    Figure,
    bar_values,
    click,
    figure,
    line_values,
    map_shares,
    plot_area,
    settle,
    view,
)

from stockformer.explainability import (
    activation_patching,
)


def yearly(before: float, after: float) -> str:
    """What a change does to the prediction, in words."""
    return f"goes from {100 * math.exp(before):.1f} % a year to {100 * math.exp(after):.1f} % a year"


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
    jump = page.get_by_label("go to", exact=True).first
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
    assert set(stale) <= {f"Attention of {days(CRASH)[LAST]}"}


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


def test_keys_choose_in_controls_of_the_history_and_undo_what_they_chose(page: Page) -> None:
    open_tab(page, "History")
    history, undo = view(page, "HistoryView"), page.get_by_role("button", name="undo", exact=True)
    ticker, handle = control(history, "ticker"), history.locator("[role=slider]").first
    before, slid = undo.get_attribute("title"), handle.get_attribute("aria-valuetext")
    ticker.focus()
    page.keyboard.press("ArrowDown")
    expect(undo).to_have_attribute("title", "undo: filter (Ctrl+Z)")
    expect(ticker).to_have_js_property("selectedIndex", 1)
    page.keyboard.press("Control+z")
    expect(ticker).to_have_js_property("selectedIndex", 0)
    expect(undo).to_have_attribute("title", before)
    handle.focus()
    page.keyboard.press("ArrowRight")
    expect(undo).to_have_attribute("title", "undo: filter (Ctrl+Z)")
    expect(handle).not_to_have_attribute("aria-valuetext", slid)
    page.keyboard.press("Control+z")
    expect(handle).to_have_attribute("aria-valuetext", slid)
    expect(undo).to_have_attribute("title", before)
    page.evaluate(
        """() => {
            window.executed = [];
            window.jupyterapp.commands.commandExecuted.connect((_, { id }) => window.executed.push(id));
        }"""
    )
    history.locator(".widget-readout").first.click()
    page.keyboard.press("Control+z")  # of the text, neither JupyterLab's nor the explorer's
    assert page.evaluate("window.executed") == []
    expect(undo).to_have_attribute("title", before)
