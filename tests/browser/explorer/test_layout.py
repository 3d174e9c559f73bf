"""The explorer at any width: its places, its focus, its accessibility."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from explorer_page import CRASH, LAST, OVERVIEW, TABS, choose, click_cell, expect_cell, open_tab, sample
from lab import choose_theme
from pictures import changes, expect_unchanged
from playwright.sync_api import Page, expect
from screen import (
    figure,
    plot_area,
    settle,
    view,
    violations,
)

from stockformer_widgets.catalogue import PAGES


def test_an_enlarged_view_has_the_tab_for_itself_and_is_clicked_as_before(page: Page) -> None:
    shown = view(page, "AttentionHeatmap")
    before, button = shown.bounding_box(), shown.locator(".stockformer-enlarger")
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".stockformer-explorer .stockformer-view:visible")).to_have_count(1)
    assert plot_area(page, "AttentionHeatmap")["width"] > 2 * before["width"]
    click_cell(page, 15, 6)
    expect_cell(page, sample(CRASH)[1].map("cross", 1), CRASH, 15, 6)
    button.focus()
    page.keyboard.press("Escape")
    expect(view(page, "SaliencyBars")).to_be_visible()
    assert plot_area(page, "AttentionHeatmap")["width"] < before["width"]
    assert shown.bounding_box()["width"] == pytest.approx(before["width"], abs=1)


PLACES = """() => [...document.querySelectorAll('.stockformer-explorer *')]
    .filter(part => part instanceof HTMLElement && part.checkVisibility() && !part.closest('.stockformer-reading *'))
    .map(part => {
        const {x, y, width, height} = part.getBoundingClientRect();
        return [part.className, x, y, width, height];
    })"""


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


def test_every_view_is_a_tab_stop_with_a_name_before_its_numbers_and_its_enlarging(page: Page) -> None:
    views = page.locator(".stockformer-explorer .stockformer-view:visible")
    assert views.count() == 7
    for number in range(views.count()):
        one = views.nth(number)
        expect(one).to_have_attribute("tabindex", "0")
        assert one.get_attribute("aria-label")
    view(page, "AttentionHeatmap").focus()
    page.keyboard.press("Tab")
    expect(view(page, "AttentionHeatmap").get_by_role("button", name="log colours")).to_be_focused()
    page.keyboard.press("Tab")
    expect(view(page, "AttentionHeatmap").get_by_text("numbers", exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    expect(view(page, "AttentionHeatmap").get_by_role("button", name="enlarge")).to_be_focused()
    page.keyboard.press("Tab")
    expect(view(page, "AttentionRow")).to_be_focused()
    border = view(page, "AttentionRow").evaluate("e => getComputedStyle(e, '::after').borderTopWidth")
    assert border == "2px"


@pytest.fixture(scope="module", params=["dark", "light"])
def theme(page: Page, explorer: Page, request: pytest.FixtureRequest) -> Iterator[str]:
    choose_theme(page, f"JupyterLab {request.param.title()}")
    yield request.param
    choose_theme(page, "JupyterLab Light")


def test_axe_finds_nothing_in_any_tab(page: Page, theme: str) -> None:
    """Whatever opens is open, the table of every value in one view."""
    explaining, by = page.get_by_title("what is explained, and how"), page.get_by_label("by", exact=True)
    page.get_by_role("button", name="tools", exact=True).click()
    page.locator(".stockformer-panel").wait_for()  # it moves what is clicked next
    explaining.first.click()
    by.first.wait_for()
    view(page, "AttentionRow").get_by_text("numbers", exact=True).click()
    view(page, "AttentionRow").get_by_text("every value", exact=True).click()
    for title in TABS if theme == "light" else ("Overview", "History", "Faithfulness"):
        open_tab(page, title)
        page.locator(".stockformer-fold:visible").evaluate_all("folds => folds.forEach(fold => (fold.open = true))")
        assert not violations(page, ".stockformer-explorer", colors_alone=theme == "dark"), title
    page.locator(".stockformer-explorer details").evaluate_all("folds => folds.forEach(fold => (fold.open = false))")
    explaining.locator("visible=true").first.click()
    expect(by.locator("visible=true")).to_have_count(0)
    page.get_by_role("button", name="tools", exact=True).click()
    expect(page.locator(".stockformer-panel")).to_be_hidden()


@pytest.mark.pictures
def test_the_explorer_looks_as_in_its_pictures_at_four_widths(page: Page, theme: str) -> None:
    click_cell(page, 9, 18)
    beside = 1680 - page.locator(".stockformer-explorer").bounding_box()["width"]
    changed = []
    try:
        for width in (900, 1160, 1400, 1900):
            page.set_viewport_size({"width": round(width + beside), "height": 3000})
            changed += changes(page, {f"explorer-{width}-{theme}": page.locator(".stockformer-explorer")})
    finally:
        page.set_viewport_size({"width": 1680, "height": 1400})
    expect_unchanged(changed)


@pytest.mark.pictures
def test_every_view_looks_as_in_its_picture(page: Page, theme: str) -> None:
    click_cell(page, 9, 18)
    changed = []
    page.set_viewport_size({"width": 1680, "height": 3000})
    try:
        for title in TABS:
            open_tab(page, title)
            names = [kind.__name__ for column in PAGES.get(title, []) for kind in column] or [TABS[title]]
            changed += changes(page, {f"{name}-{theme}": view(page, name) for name in names})
    finally:
        page.set_viewport_size({"width": 1680, "height": 1400})
    expect_unchanged(changed)


@pytest.mark.pictures
def test_what_opens_looks_as_in_its_picture(page: Page, theme: str) -> None:
    click_cell(page, 9, 18)
    opened = {"tools": page.locator(".stockformer-panel"), "numbers": view(page, "AttentionRow")}
    openers = [page.get_by_role("button", name="tools", exact=True), opened["numbers"].get_by_text("numbers")]
    page.set_viewport_size({"width": 1680, "height": 3000})
    try:
        for opener in openers:
            opener.click()
        changed = changes(page, {f"{name}-{theme}": part for name, part in opened.items()})
        for opener in openers:
            opener.click()
    finally:
        page.set_viewport_size({"width": 1680, "height": 1400})
    expect_unchanged(changed)


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


@pytest.mark.parametrize(("width", "zoom"), [(1680, 1), (860, 1), (1012, 2)])
def test_no_words_and_no_figures_are_cut(page: Page, width: int, zoom: int) -> None:
    """The last is a column of 1160 pixels at 200 %."""
    page.set_viewport_size({"width": width, "height": 1400})
    chrome = page.context.new_cdp_session(page)
    if zoom > 1:
        sizes = {"width": width, "height": 1400, "deviceScaleFactor": zoom, "mobile": False}
        chrome.send("Emulation.setDeviceMetricsOverride", sizes)
    try:
        for title in TABS:
            open_tab(page, title)
            for shown in page.locator(".stockformer-explorer .stockformer-view:visible").all():
                shown.scroll_into_view_if_needed()  # bqplot fits only figures that are on the screen
                page.wait_for_function(
                    """view => {
                        const figures = [...view.querySelectorAll('.bqplot')].map(figure => figure.parentNode);
                        const [end, edge] = [view, view.closest('.stockformer-explorer')]
                            .map(box => box.getBoundingClientRect().right);
                        return end <= edge && [view, ...figures].every(box => box.scrollWidth <= box.clientWidth);
                    }""",
                    arg=shown.element_handle(),
                )
    finally:
        chrome.detach()
        page.set_viewport_size({"width": 1680, "height": 1400})


#: Keeps the names of what moves in the explorer from now on.
_WATCH_MOTION = """() => {
    window.moved = [];
    const note = ({ target, type }) => window.moved.push(`${target.className} ${type}`);
    const explorer = document.querySelector('.stockformer-explorer');
    for (const kind of ['animationstart', 'transitionrun']) explorer.addEventListener(kind, note);
}"""


def test_nothing_moves_where_less_motion_is_wished(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.evaluate(_WATCH_MOTION)
    click_cell(page, 9, 12)
    page.locator(".stockformer-explorer .noUi-target:visible").last.click()
    page.get_by_role("button", name="tools", exact=True).click()
    view(page, "AttentionRow").get_by_text("numbers", exact=True).click()
    for title in TABS:
        open_tab(page, title)
    page.get_by_role("button", name="tools", exact=True).click()
    open_tab(page, "Overview")
    plot_area(page, "AttentionHeatmap")
    page.emulate_media(reduced_motion="no-preference")
    assert not page.evaluate("window.moved")


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
        assert len(tabs) == len(TABS)
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
