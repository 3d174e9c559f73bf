"""Exported pages, opened from disk without a network: values, links between views, keys, hostile names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hostile import DAYS, EVIL, hostile_session
from pictures import changes, expect_unchanged
from playwright.sync_api import Browser, Locator, Page, expect
from screen import percent, shares_of, violations
from shipped import shipped_sample

from stockformer.dataset import StockDataset
from stockformer.explainability import attribute, capture_attention
from stockformer.model import create_model
from stockformer.reports.explanation import generate_report
from stockformer.sample import load_sample, sample_table
from stockformer.survey import sample_survey
from stockformer_widgets import AttentionExplorer, ExtractorSession, SampleComparison

SAMPLE, MODEL = shipped_sample()
DATASET = StockDataset(sample_table(), **SAMPLE.settings | {"lookback": DAYS})
CALM, CRASH = (DATASET.index_of(day, "AAPL") for day in ("2006-11-21", "2008-10-15"))
LEFT, TOP, RIGHT, BOTTOM = 76, 6, 14, 18  # around a picture


@pytest.fixture
def opened(browser: Browser) -> Iterator[Page]:
    """A page without a network; nothing may be asked for, and nothing may go wrong."""
    context = browser.new_context(offline=True, viewport={"width": 1400, "height": 1000})
    page = context.new_page()
    wrong: list[str] = []
    page.on("console", lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: None if request.url.startswith("file:") else wrong.append(request.url))
    yield page
    context.close()
    assert not wrong


@pytest.fixture(scope="module")
def explorer_file(tmp_path_factory) -> Path:
    session = ExtractorSession.from_dataset(MODEL, DATASET, CRASH)
    explorer = AttentionExplorer(session)
    explorer.selection.layer, explorer.selection.head = 2, 3
    page = explorer.export_html(tmp_path_factory.mktemp("page") / "explorer.html", samples=[CRASH, CALM])
    assert page.stat().st_size < 3_000_000
    return page


@pytest.fixture
def short() -> Iterator[ExtractorSession]:
    """The smaller of the shipped models, on windows of the same days: its pages have a quarter of the charts."""
    dataset, model = shipped_sample("volatility")
    short = StockDataset(sample_table(), **dataset.settings | {"lookback": DAYS})
    with ExtractorSession.from_dataset(model, short) as session:
        yield session


def view(page: Page, name: str) -> Locator:
    return page.locator(f"[data-view='{name}']")


def area(shown: Locator) -> dict[str, float]:
    """The picture in a view, without its axes."""
    shown.scroll_into_view_if_needed()
    box = shown.locator("canvas").bounding_box()
    width, height = box["width"] - LEFT - RIGHT, box["height"] - TOP - BOTTOM
    return {"x": box["x"] + LEFT, "y": box["y"] + TOP, "width": width, "height": height}


def click(page: Page, shown: Locator, across: float, down: float = 0.5) -> None:
    box = area(shown)
    page.mouse.click(box["x"] + across * box["width"], box["y"] + down * box["height"])
    page.mouse.move(2, 2)


def select_last(page: Page, name: str, days: int = DAYS) -> tuple[np.ndarray, ...]:
    """Select the last cell of a map, so that the crosshair is on nothing else; the places of the other cells."""
    click(page, view(page, name), 1 - 0.5 / days, 1 - 0.5 / days)
    return np.ix_(np.arange(days - 1), np.arange(days - 1))


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_label(label, exact=True).select_option(label=option)


def rounded(value: float, form: str = ".3g") -> str:
    """A number as the page writes it."""
    return format(float(value), form).replace("e-0", "e-")


def shown_of(index: int):
    window = DATASET.window(index)
    return window, capture_attention(MODEL, window.x[None], window.market_x[None])


def test_map_row_gate_and_pooling_are_those_of_the_model(opened: Page, explorer_file: Path) -> None:
    opened.goto(explorer_file.as_uri())
    choose(opened, "layer", "1")
    choose(opened, "head", "5")
    window, shown = shown_of(CRASH)
    days = [str(day.date()) for day in window.dates]
    weights = shown.map("cross", 1, 5).numpy()
    off = select_last(opened, "AttentionHeatmap")
    drawn = shares_of(opened, area(view(opened, "AttentionHeatmap")), DAYS, DAYS, at=0.5)
    np.testing.assert_allclose(drawn[off], weights[off] / weights.max(), atol=0.02)

    click(opened, view(opened, "AttentionHeatmap"), 8.5 / DAYS, 5.5 / DAYS)
    weight = percent(float(rounded(weights[5, 8])))
    expect(view(opened, "AttentionHeatmap")).to_contain_text(f"query {days[5]}, key {days[8]}, weight {weight}")
    expect(view(opened, "AttentionRow")).to_contain_text(f"Attention of {days[5]}")
    expect(view(opened, "AttentionRow")).to_contain_text(f"{days[8]}, weight {weight}")
    gate = list(shown.gates.values())[1][0].mean(dim=-1)[5]
    expect(view(opened, "GateTimeline")).to_contain_text(f"layer 1 {gate:.3f}")
    expect(view(opened, "PoolingBars")).to_contain_text(f"{days[5]}, weight {percent(float(shown.pooling[0, 5]))}")

    click(opened, view(opened, "AttentionRow"), 3.5 / DAYS)
    expect(view(opened, "AttentionHeatmap")).to_contain_text(f"query {days[5]}, key {days[3]}")
    click(opened, view(opened, "GateTimeline"), 10.5 / DAYS)
    expect(view(opened, "AttentionHeatmap")).to_contain_text(f"query {days[10]}, key {days[3]}")


def test_saliency_and_prediction(opened: Page, explorer_file: Path) -> None:
    opened.goto(explorer_file.as_uri())
    window, shown = shown_of(CRASH)
    parts = attribute(MODEL, window.x[None], window.market_x[None]).parts
    sums = np.concatenate([part.abs().sum(dim=0).numpy() for part in parts])
    names = [*DATASET.feature_cols, *DATASET.market_feature_cols]
    largest = pd.Series(sums, index=names).nlargest(14)
    rows = view(opened, "SaliencyBars").locator(".stockformer-page-bar-row")
    expect(rows).to_have_count(14)
    for row, (name, value) in zip(rows.all(), largest.items(), strict=True):
        said, number = row.locator(".stockformer-page-bar-name, .stockformer-page-bar-value").all_text_contents()
        assert said == name
        assert float(number) == pytest.approx(value, rel=1e-3)
    rows.nth(2).focus()
    opened.keyboard.press("Enter")
    expect(rows.nth(2)).to_have_attribute("aria-pressed", "true")
    expect(rows.nth(2)).to_be_focused()
    view(opened, "SaliencyBars").focus()
    opened.keyboard.press("ArrowDown")
    expect(rows.nth(3)).to_have_attribute("aria-pressed", "true")
    share = shown.output.softmax(dim=-1)[0]
    expect(view(opened, "Prediction")).to_contain_text(f"DOWN{percent(float(share[0]))}"[:-3])
    expect(view(opened, "Prediction")).to_contain_text("true: UP")


def test_another_sample_and_kind(opened: Page, explorer_file: Path) -> None:
    opened.goto(explorer_file.as_uri())
    choose(opened, "sample", "AAPL, 2006-11-21")
    choose(opened, "attention", "Market self-attention")
    expect(opened.locator("h1")).to_have_text("AAPL, 2006-11-21")
    window, shown = shown_of(CALM)
    weights = shown.map("market", 1, 3).numpy()
    expect(view(opened, "AttentionHeatmap")).to_contain_text("Market self-attention, layer 1, head 3")
    off = select_last(opened, "AttentionHeatmap")
    drawn = shares_of(opened, area(view(opened, "AttentionHeatmap")), DAYS, DAYS, at=0.5)
    np.testing.assert_allclose(drawn[off], weights[off] / weights.max(), atol=0.02)
    expect(view(opened, "PriceStrip")).to_contain_text(str(window.dates[-1].date()))
    linked = opened.context.new_page()
    linked.goto(opened.url)
    expect(linked.locator("h1")).to_have_text("AAPL, 2006-11-21")
    reading = ".stockformer-reading"
    expect(view(linked, "AttentionHeatmap")).to_contain_text("Market self-attention, layer 1, head 3")
    said = view(opened, "AttentionHeatmap").locator(reading).text_content()
    expect(view(linked, "AttentionHeatmap").locator(reading)).to_have_text(said)


def test_the_history_of_the_samples_leads_to_each(opened: Page, tmp_path: Path) -> None:
    dataset, model = load_sample("volatility")
    surveyed, days = sample_survey(), ("2006-11-21", "2008-10-15")
    samples = [dataset.index_of(day, "AAPL") for day in days]
    session = ExtractorSession.from_dataset(model, dataset, samples[0])
    session.explanations.method = "gradient"
    page = AttentionExplorer(session, survey=surveyed).export_html(tmp_path / "page.html", samples=samples)
    opened.goto(page.as_uri())
    shown = view(opened, "History")
    box = shown.locator("canvas").first.bounding_box()
    across = LEFT + (box["width"] - LEFT - RIGHT) * 1.5 / 2
    shown.locator("canvas").first.click(position={"x": across, "y": box["height"] / 2})
    expect(opened.locator("h1")).to_have_text("AAPL, 2008-10-15")
    share = surveyed.query(f'SELECT market_share FROM windows WHERE "window" = {samples[1]}')["market_share"][0]
    expect(shown).to_contain_text(f"market share {percent(share)}"[:-3])
    shown.press("ArrowLeft")
    expect(opened.locator("h1")).to_have_text("AAPL, 2006-11-21")


def test_the_head_grid_selects_and_the_keyboard_moves(opened: Page, explorer_file: Path) -> None:
    opened.goto(explorer_file.as_uri())
    maps = view(opened, "HeadGrid").locator(".stockformer-grid-maps")
    maps.scroll_into_view_if_needed()
    box = maps.bounding_box()
    side = min(150, box["width"] // 8 - 6)  # 6 between maps, 3 for the frame at both ends
    opened.mouse.click(box["x"] + 3 + 5 * (side + 6) + side * 0.51, box["y"] + (side + 20) + 14 + side * 0.26)
    expect(view(opened, "AttentionHeatmap")).to_contain_text("layer 1, head 5")
    view(opened, "AttentionHeatmap").focus()
    days = [str(day.date()) for day in DATASET.window(CRASH).dates]
    expect(view(opened, "AttentionHeatmap")).to_contain_text(f"query {days[3]}, key {days[6]}")
    for key in ("ArrowDown", "ArrowDown", "ArrowLeft", "]", "h"):
        opened.keyboard.press(key)
    expect(view(opened, "AttentionHeatmap")).to_contain_text("layer 2, head 6")
    expect(view(opened, "AttentionHeatmap")).to_contain_text(f"query {days[5]}, key {days[5]}")
    expect(opened.locator("[aria-live]")).to_contain_text(f"query {days[5]}, key {days[5]}")
    opened.keyboard.press("End")
    expect(view(opened, "AttentionHeatmap")).to_contain_text(f"query {days[-1]}")
    expect(opened.get_by_label("head", exact=True)).to_have_value("6")


_PLACES = """() => [...document.querySelectorAll('.stockformer-page-view, .stockformer-page-view canvas')].map(part => {
    const {x, y, width, height} = part.getBoundingClientRect();
    return [x, y + scrollY, width, height];
})"""


@pytest.mark.parametrize("width", [1400, 390])
def test_an_enlarged_view_has_its_section_for_itself_until_escape(
    opened: Page, explorer_file: Path, width: int
) -> None:
    opened.set_viewport_size({"width": width, "height": 1000})
    opened.goto(explorer_file.as_uri())
    shown = view(opened, "AttentionHeatmap")
    canvas, button = shown.locator("canvas"), shown.locator(".stockformer-enlarger")
    canvas.wait_for()
    before, height = opened.evaluate(_PLACES), canvas.bounding_box()["height"]
    button.click()
    expect(canvas).to_have_css("height", "600px")
    assert canvas.bounding_box()["width"] > width - 40
    expect(view(opened, "AttentionRow")).to_be_hidden()
    expect(view(opened, "LayerEvolution")).to_be_visible()
    opened.keyboard.press("Escape")
    expect(canvas).to_have_css("height", f"{height:g}px")
    assert opened.evaluate(_PLACES) == before
    button.click()
    expect(canvas).to_have_css("height", "600px")
    click(opened, shown, 8.5 / DAYS, 5.5 / DAYS)
    days = [str(day.date()) for day in DATASET.window(CRASH).dates]
    expect(shown).to_contain_text(f"query {days[5]}, key {days[8]}")
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


def test_two_samples_and_their_difference(opened: Page, tmp_path: Path, short: ExtractorSession) -> None:
    indices = [short.dataset.index_of(day, "AAPL") for day in ("2006-11-21", "2008-10-15")]
    with SampleComparison(short, *indices) as comparison:
        opened.goto(comparison.export_html(tmp_path / "two.html").as_uri())
    windows = [short.dataset.window(index) for index in indices]
    maps = [capture_attention(short.model, *window.inputs).map("cross", 0).numpy() for window in windows]
    whole = max(one.max() for one in maps)
    off = select_last(opened, "AttentionHeatmapA")
    for place, weights in enumerate(maps):
        drawn = shares_of(opened, area(view(opened, f"AttentionHeatmap{'AB'[place]}")), DAYS, DAYS, at=0.5)
        np.testing.assert_allclose(drawn[off], weights[off] / whole, atol=0.02)
    apart = maps[0] - maps[1]
    drawn = shares_of(opened, area(view(opened, "AttentionHeatmap")), DAYS, DAYS, "RdBu_r", at=0.5)
    np.testing.assert_allclose(2 * drawn[off] - 1, apart[off] / np.abs(apart).max(), atol=0.04)
    click(opened, view(opened, "AttentionHeatmapA"), 8.5 / DAYS, 5.5 / DAYS)
    for place, window in enumerate(windows):
        days = [str(day.date()) for day in window.dates]
        expect(view(opened, f"AttentionHeatmap{'AB'[place]}")).to_contain_text(f"query {days[5]}, key {days[8]}")
    said = view(opened, "AttentionHeatmap").locator(".stockformer-reading")
    expect(said).to_contain_text(f"weight A - B {rounded(apart[5, 8], '+.3g')}")


def test_a_patched_sample_says_so_and_its_numbers_are_those_of_the_patch(opened: Page, tmp_path: Path) -> None:
    dataset, model = shipped_sample("volatility")
    session = ExtractorSession.from_dataset(model, dataset, dataset.index_of("2008-10-15", "AAPL"))
    before, donor = float(session.reading.capture.output[0]), session.explanations.donors()["calmest window"]
    session.what_if(patch_from=donor, patch_days=[("stock", 0, 13), ("stock", 0, 20), ("market", 0, 19)])
    capture = session.reading.capture
    file = AttentionExplorer(session).export_html(tmp_path / "patched.html", samples=[session.sample, donor])
    opened.goto(file.as_uri())
    words = f"market stream after layer 0 on day 19, stock stream after layer 0 on days 13, 20 of sample {donor}"
    expect(opened.locator("h1")).to_have_text(f"AAPL, 2008-10-15 ({words})")
    expect(opened.locator("body")).to_contain_text(f"What if: {words}.")
    change = f"goes from {100 * np.exp(before):.1f} % a year to {100 * np.exp(float(capture.output[0])):.1f} % a year"
    expect(view(opened, "Prediction")).to_contain_text(change)
    choose(opened, "layer", "1")
    weights, last = capture.map("cross", 1).numpy(), dataset.lookback - 1
    off = select_last(opened, "AttentionHeatmap", last + 1)
    drawn = shares_of(opened, area(view(opened, "AttentionHeatmap")), last + 1, last + 1, at=0.5)
    np.testing.assert_allclose(drawn[off], weights[off] / weights.max(), atol=0.02)
    # What is the donor's already changes nothing more.
    shown = view(opened, "ActivationPatching")
    effects = 2 * shares_of(opened, area(shown), 2, last + 1, "RdBu_r") - 1
    assert list(np.flatnonzero(np.abs(effects[0]) < 0.01)) == [13, 20]
    opened.get_by_label("sample", exact=True).select_option(index=1)
    expect(view(opened, "Prediction")).to_contain_text("value change 0")


def test_hostile_names_are_text(opened: Page, tmp_path: Path) -> None:
    session = hostile_session()
    explorer = AttentionExplorer(session)
    explorer.selection.feature = session.feature_names[0][0]
    opened.set_viewport_size({"width": 375, "height": 800})
    opened.goto(explorer.export_html(tmp_path / "evil.html", samples=[0]).as_uri())
    expect(opened.locator("h1")).to_contain_text(EVIL)
    assert opened.title().startswith(EVIL)
    assert opened.locator("img").count() == 0
    assert opened.evaluate("document.documentElement.scrollWidth") <= 375


def test_samples_whose_titles_have_many_spaces_can_be_chosen(opened, tmp_path, monkeypatch, short) -> None:
    monkeypatch.setattr(ExtractorSession, "title", property(lambda session: f"  two  spaces {session.sample} "))
    opened.goto(AttentionExplorer(short).export_html(tmp_path / "spaces.html", samples=[0, 9]).as_uri())
    expect(opened.locator("h1")).to_contain_text("spaces 0")
    opened.get_by_label("sample", exact=True).select_option(index=1)
    expect(opened.locator("h1")).to_contain_text("spaces 9")


def test_gates_of_a_shorter_stock_end_with_the_market(opened: Page, tmp_path: Path, short: ExtractorSession) -> None:
    """Band and lines are of the same days, by the names that the map has for them."""
    torch.manual_seed(0)
    stock, market = (torch.randn(days, part.size(2)) for days, part in zip((6, 9), short.reading.inputs, strict=True))
    session = ExtractorSession(short.model, stock, market)
    opened.goto(AttentionExplorer(session).export_html(tmp_path / "short.html").as_uri())
    gate = session.reading.capture.gates["cross_attn_layers.0.gate"][0, 2].mean()
    box = area(view(opened, "GateTimeline"))
    opened.mouse.move(box["x"] + box["width"] * 2.5 / 6, box["y"] + 20)
    expect(view(opened, "GateTimeline")).to_contain_text(f"step 2, ■ layer 0 {gate:.3f}"[:-1])
    strongest = int(session.reading.capture.map("cross", 0)[5].argmax())
    expect(view(opened, "AttentionHeatmap")).to_contain_text(f"query step 5, key step {strongest}")


def test_a_printed_page_keeps_its_bars_and_its_width(opened: Page, explorer_file: Path) -> None:
    opened.goto(explorer_file.as_uri())
    view(opened, "AttentionHeatmap").locator("canvas").wait_for()
    opened.emulate_media(media="print")
    opened.set_viewport_size({"width": 700, "height": 900})
    stripe = view(opened, "SaliencyBars").locator(".stockformer-page-bar-stripe").first
    assert stripe.evaluate("bar => getComputedStyle(bar).printColorAdjust") == "exact"
    pictures = opened.locator(".stockformer-page-picture canvas").all()
    assert pictures
    for shown in pictures:
        assert shown.evaluate("one => one.clientWidth <= one.parentNode.clientWidth")
    opened.emulate_media(media="screen")


def test_what_is_drawn_follows_the_theme(opened: Page, explorer_file: Path) -> None:
    opened.emulate_media(color_scheme="light")
    opened.goto(explorer_file.as_uri())
    for name in ("HeadGrid", "AttentionHeatmap"):
        view(opened, name).locator("canvas").first.wait_for()
    for scheme, channel in (("dark", 255), ("light", 0)):
        opened.emulate_media(color_scheme=scheme)
        for name in ("HeadGrid", "AttentionHeatmap"):
            words = view(opened, name).locator("canvas").first
            # Grey letters on nothing: captions of the grid, dates beside the map.
            opened.wait_for_function(
                """([canvas, channel]) => {
                    const { width, height } = canvas;
                    const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
                    copy.drawImage(canvas, 0, 0);
                    const { data } = copy.getImageData(0, 0, width, height);
                    const greys = [];
                    for (let at = 0; at < data.length; at += 4) {
                        const [red, green, blue, alpha] = data.subarray(at, at + 4);
                        if (alpha === 255 && red === green && red === blue) greys.push(red);
                    }
                    const ends = [Math.min(...greys), Math.max(...greys)];
                    return ends.includes(channel) && !ends.includes(255 - channel);
                }""",
                arg=[words.element_handle(), channel],
            )


def test_nothing_is_filled_between_the_points_of_a_line(opened: Page, explorer_file: Path) -> None:
    opened.goto(explorer_file.as_uri())
    for name in ("LayerEvolution", "AttentionEffects"):
        coloured = (
            view(opened, name)
            .locator("canvas")
            .first.evaluate(
                """canvas => {
                const { width, height } = canvas;
                const copy = new OffscreenCanvas(width, height).getContext('2d', { willReadFrequently: true });
                copy.drawImage(canvas, 0, 0);
                const { data } = copy.getImageData(0, 0, width, height);
                const columns = new Array(width).fill(0);
                for (let at = 0; at < width * height; at++) {
                    const [red, green, blue] = data.subarray(4 * at, 4 * at + 3);
                    if (Math.max(red, green, blue) - Math.min(red, green, blue) > 40) columns[at % width]++;
                }
                return columns;
            }"""
            )
        )
        # Three kinds of attention, each a line of about 2 pixels, points of 6; the selected layer is a column or two.
        assert 2 <= np.median(coloured) <= 12, name
        assert np.quantile(coloured, 0.97) <= 18, name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(opened: Page, explorer_file: Path, scheme: str) -> None:
    opened.set_viewport_size({"width": 390, "height": 800})
    opened.emulate_media(color_scheme=scheme)
    opened.goto(explorer_file.as_uri())
    expect(view(opened, "AttentionHeatmap")).to_contain_text("weight")
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    text, ground = opened.evaluate(
        "() => [getComputedStyle(document.querySelector('h1')).color, getComputedStyle(document.body).colorScheme]"
    )
    assert (text == "rgb(255, 255, 255)") == (scheme == "dark")
    assert ground == "light dark"


@pytest.mark.pictures
def test_it_looks_as_in_its_pictures_and_axe_finds_nothing(opened: Page, explorer_file: Path) -> None:
    opened.goto(explorer_file.as_uri())
    view(opened, "AttentionHeatmap").locator("canvas").wait_for()
    opened.locator("footer p").last.evaluate("line => (line.style.visibility = 'hidden')")  # today, and versions
    changed = look_at(opened, exported=opened.locator("body"))
    opened.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = true")
    expect_no_violations(opened)
    expect_unchanged(changed)


@pytest.mark.pictures
def test_a_report_looks_as_in_its_pictures_and_axe_finds_nothing(opened: Page, tmp_path: Path, few_orders) -> None:
    sizes = {"d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 12, "market_layers": 1}
    torch.manual_seed(0)
    model = create_model(5, "binary", None, sizes | {"market_feature_dim": 3}, "cross_attention").eval()
    report = generate_report(model, torch.randn(1, 6, 5), torch.randn(1, 6, 3), output_dir=tmp_path)["report"]
    opened.goto(report.as_uri())
    opened.set_viewport_size({"width": 1100, "height": 1000})
    changed = look_at(opened, report=opened)
    opened.emulate_media(color_scheme="light")
    sections = {
        f"report-{one.locator('h2').inner_text().lower().replace(' ', '-')}": one
        for one in opened.locator("section").all()
    }
    changed += changes(opened, sections)
    expect_no_violations(opened)
    expect_unchanged(changed)


def look_at(page: Page, **parts: Locator | Page) -> list[str]:
    """What is not as in its pictures, light and dark."""
    changed = []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        changed += changes(page, {f"{name}-{scheme}": part for name, part in parts.items()})
    return changed


def expect_no_violations(page: Page) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert not violations(page, colors_alone=scheme == "dark"), scheme
