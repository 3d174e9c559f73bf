"""The side panel: another sample beside this one, files, and keys that exist."""

from __future__ import annotations

import datetime
import re

import pytest
from cases import make_session, observers, plain, shown_message, widgets
from ipywidgets import HTML

from stockformer_widgets import AttentionExplorer
from stockformer_widgets.components.keyboard import PAN, STEPS, ZOOM
from stockformer_widgets.controls.tools import CompareControls, ExportControls


def section(explorer: AttentionExplorer, kind: type):
    return next(one for one in explorer.tools.children if isinstance(one, kind))


def test_another_day_is_shown_beside_this_one_and_closed(session, explorer):
    compare, ends = section(explorer, CompareControls), session.dataset.end_dates
    before, following = widgets(), observers(session)
    compare.ticker.value, compare.day.value = "BBB", ends[30].date()
    compare.compare.click()
    assert [one.sample for one in explorer.comparison.sessions] == [5, 30]
    closer, shown = explorer._beside.children
    assert shown is explorer.comparison
    compare.day.value = ends[33].date()
    compare.compare.click()
    assert [one.sample for one in explorer.comparison.sessions] == [5, 33]
    closer, shown = explorer._beside.children
    closer.click()
    assert explorer.comparison is None
    assert shown.comm is None
    assert (widgets(), observers(session)) == (before, following)


def test_closing_the_explorer_closes_the_comparison(session):
    before = widgets()
    explorer = AttentionExplorer(session)
    section(explorer, CompareControls).compare.click()
    assert explorer.comparison is not None
    explorer.close()
    assert widgets() == before


def test_a_day_that_cannot_be_compared_is_said(session, explorer):
    compare = section(explorer, CompareControls)
    compare.day.value = datetime.date(2019, 1, 1)
    compare.compare.click()
    assert shown_message(explorer).startswith(f"no window of {compare.ticker.value} ends by 2019-01-01")
    compare.day.value = None
    compare.compare.click()
    assert shown_message(explorer) == "choose a day to compare with"
    session.run(*(tensor[0] for tensor in session.reading.inputs))
    compare.day.value = session.dataset.end_dates[3].date()
    compare.compare.click()
    assert shown_message(explorer).startswith("the tensors on the screen are not a sample of the dataset")
    assert explorer.comparison is None


@pytest.mark.parametrize(("name", "begins"), [("a.html", b"<!doctype html>"), ("a.png", b"\x89PNG")])
def test_files_are_written(session, explorer, tmp_path, name, begins):
    session.explanations.method = "gradient"
    export = section(explorer, ExportControls)
    export.path.value = str(tmp_path / name)
    export.write.click()
    written = (tmp_path / name).read_bytes()
    assert written.startswith(begins)
    assert plain(explorer.message.value) == f"{tmp_path / name} is written, {len(written) / 1e6:.1f} MB"
    assert 'role="alert"' not in explorer.message.value


def test_a_file_of_another_kind_is_refused(explorer):
    export = section(explorer, ExportControls)
    export.path.value = "explorer.pdf"
    export.write.click()
    assert shown_message(explorer) == "expected a path that ends in .html or .png, found 'explorer.pdf'"


def test_the_keys_that_are_listed_are_those_that_views_know(explorer):
    listed = set(re.findall(r"\S+", plain(" ".join(re.findall("<kbd>(.*?)</kbd>", section(explorer, HTML).value)))))
    known = {*STEPS, *ZOOM, *PAN, "0", "Esc", "Ctrl+Z", "Ctrl+Shift+Z"}
    assert listed == {key for key in known if not key.startswith("Arrow")} | {"arrows"}


def test_tensors_by_hand_have_nothing_to_compare_with():
    with make_session("by hand") as session, AttentionExplorer(session) as explorer:
        assert list(explorer.tools.titles) == ["What if", "Export", "Keys"]
