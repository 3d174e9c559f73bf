"""What the explorer shows is what the tensors and the survey hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import screen
import torch
from explorer_page import (
    CRASH,
    DATASET,
    DAYS,
    LAST,
    MODEL,
    NAMES,
    SURVEY,
    check_overview,
    choose,
    choose_kind,
    click_cell,
    days,
    expect_cell,
    off_the_crosshair,
    open_tab,
    saliency,
    sample,
)
from lab import run_notebook, write_notebook
from playwright.sync_api import Locator, Page, expect
from screen import (
    bar_values,
    click,
    column_values,
    figure,
    line_values,
    map_shares,
    percent,
    plot_area,
    settle,
    shares_of,
    step_values,
    view,
    violations,
)
from shipped import shipped_sample

from stockformer.explainability import (
    attribute,
    choose_target,
    head_importance,
    joint_rollout,
    mean_norm_map,
    measure_faithfulness,
    relevance,
    trace_attention,
)
from stockformer.explainability.faithfulness.windows import training_windows
from stockformer.survey import sample_survey


def test_runs_and_shows_the_crash(page: Page) -> None:
    click_cell(page, LAST, LAST)
    check_overview(page, CRASH, "cross", 1, None, LAST, LAST)


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
        f"integrated gradients for the log volatility, {days(CRASH)[19]}"
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
    history.get_by_role("button", name="keep as A").click()
    history.get_by_role("button", name="undo filter").click()
    expect(history.get_by_text("6,976 windows", exact=True)).to_be_visible()
    choose(history, "days", "calm")
    calm = (SURVEY["regime"] == "calm").sum()
    expect(history.get_by_text(f"{calm:,} of 6,976 windows", exact=True)).to_be_visible()
    history.get_by_role("button", name="keep as B").click()
    history.get_by_role("button", name="compare A with B").click()
    table = page.locator(".stockformer-groups table")
    share = SURVEY[SURVEY["regime"] == "calm"]["market_share"].mean()
    expect(table.locator("tr", has_text="market share").locator("td").nth(2)).to_have_text(f"{share:.4g}")
    assert not violations(page, ".stockformer-groups")
    history.get_by_role("button", name="all windows").click()


def test_a_brushed_part_of_the_cloud_is_a_filter_and_a_group(page: Page) -> None:
    open_tab(page, "History")
    history = page.locator(".stockformer-HistoryView")
    axes = ["volatility", "market share"]
    group, number = drag_over(page, 3, axes, (0.2, 0.3), (0.5, 0.8))
    count = history.locator(".widget-html").filter(has_text="of 6,976 windows (").first
    expect(history.locator(".stockformer-title").nth(3)).to_have_text(
        f"Market share (upwards) against volatility per day, {number:,} windows"
    )
    history.get_by_role("button", name="keep as A").click()
    expect(history.locator(".widget-html", has_text="A: market share")).to_contain_text(f"{number:,} of 6,976 windows")

    headline = page.locator(".stockformer-headline")
    before = headline.inner_text()
    click(page, "HistoryView", 0.5, 0.5, number=3)
    expect(headline).not_to_have_text(before)
    expect(count).to_contain_text(f"{number:,} of 6,976 windows (market share")

    history.get_by_role("button", name="undo filter").click()
    expect(history.get_by_text("6,976 windows", exact=True)).to_be_visible()
    calm_group, _ = drag_over(page, 3, axes, (0.02, 0.3), (0.15, 0.8))
    history.get_by_role("button", name="keep as B").click()
    history.get_by_role("button", name="compare A with B").click()
    cells = page.locator(".stockformer-groups table").locator("tr", has_text="market share").locator("td")
    for place, part in enumerate((group, calm_group), 1):
        assert float(cells.nth(place).inner_text()) == pytest.approx(part["market_share"].mean(), rel=0.01)
    history.get_by_role("button", name="undo filter").click()
    expect(history.get_by_text("6,976 windows", exact=True)).to_be_visible()

    drag_over(page, 4, ["market share"], (0.3, 0.5), (0.6, 0.5))
    history.get_by_role("button", name="undo filter").click()
    expect(history.get_by_text("6,976 windows", exact=True)).to_be_visible()

    handle = history.get_by_role("slider", name="volatility per day, %, to")
    handle.press("PageDown")
    expect(count).to_contain_text("volatility")
    calmer = SURVEY["volatility"] <= float(handle.get_attribute("aria-valuenow")) / 100
    assert abs(number_of(count) - calmer.sum()) <= 5  # the page rounds the value
    assert calmer.sum() < len(SURVEY)
    handle.press("End")
    expect(history.get_by_text("6,976 windows", exact=True)).to_be_visible()


def test_the_mean_maps_of_two_months_are_drawn(page: Page) -> None:
    open_tab(page, "History")
    history = page.locator(".stockformer-HistoryView")
    choose(history, "mean maps", "of each month")
    maps, groups = history.get_by_role("img", name="Mean map of"), history.get_by_label("groups", exact=True)
    expect(history).to_contain_text("Stock to market attention, layer 0, mean over the windows of each month")
    expect(maps).to_have_count(8)
    assert groups.locator("option").all_inner_texts() == sorted(set(SURVEY["date"].dt.strftime("%Y-%m")))
    groups.select_option(["2006-11", "2008-10"])
    expect(maps).to_have_count(2)
    means = {month: of_kind["cross"][0].numpy() for month, of_kind in sample_survey().mean_maps("month").items()}
    largest = max(mean.max() for mean in means.values())
    for month in ("2006-11", "2008-10"):
        drawn = history.get_by_role("img", name=f"Mean map of {month}")
        drawn.scroll_into_view_if_needed()
        shares = shares_of(page, drawn.bounding_box(), DAYS, DAYS, at=0.5)
        np.testing.assert_allclose(shares, means[month] / largest, atol=0.008)
    assert not violations(page, ".stockformer-HistoryView")
    choose(history, "mean maps", "of each regime")
    expect(groups.locator("option")).to_have_text(["calm", "normal", "volatile"])
    choose(history, "mean maps", "hidden")


def drag_over(
    page: Page, figure_number: int, measures: list[str], first: tuple[float, float], last: tuple[float, float]
) -> tuple[pd.DataFrame, int]:
    """Drag over a figure of the history from one place to another, at shares of its width and height.

    Returns the windows between those places by the figure's own ticks, of `measures` across and upwards, and how many
    are left by the page's own count, which may be off by what a pixel holds.
    """
    # The count is said before the axes of the last filter are drawn.
    page.wait_for_function("window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'")
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    settle(page)
    area, drawn = plot_area(page, "HistoryView", figure_number), figure(page, "HistoryView", figure_number)
    size = np.array([area["width"], area["height"]])
    places = np.array([first, last]) * size
    page.mouse.move(*(places[0] + [area["x"], area["y"]]))
    page.mouse.down()
    page.mouse.move(*(places[1] + [area["x"], area["y"]]), steps=5)
    page.mouse.up()
    count = page.locator(".stockformer-HistoryView .widget-html").filter(has_text="of 6,976 windows (").first
    expect(count).to_be_visible()
    around = []
    for room in (0.0, -1.5, 1.5):
        inside = np.ones(len(SURVEY), bool)
        for axis, measure in enumerate(measures):
            pixels = np.sort(places[:, axis]) + np.array([-room, room])
            low, high = np.sort(drawn.value_at(pixels, vertical=bool(axis)))
            inside &= SURVEY[measure.replace(" ", "_")].between(low, high).to_numpy()
        around.append(SURVEY[inside])
    number = number_of(count)
    assert len(around[1]) <= number <= len(around[2])
    return around[0], number


def number_of(count: Locator) -> int:
    """How many windows are left, by the words that say it."""
    return int(count.inner_text().split()[0].replace(",", ""))


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
