"""Pictures beside the widgets: in files, and in what a saved notebook holds."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import pytest
from cases import ALL_VIEWS, make_session, session_of
from PIL import Image

from stockformer.explainability import compare_groups
from stockformer_widgets import AttentionExplorer, AttentionHeatmap, GroupDifferences, PriceStrip, SampleComparison
from stockformer_widgets.components.snapshot import arrange

VIEW = "application/vnd.jupyter.widget-view+json"


def picture(widget) -> Image.Image:
    """The picture that a saved notebook holds, the widget beside it."""
    bundle = widget._repr_mimebundle_()
    assert bundle[VIEW]["model_id"] == widget.model_id
    assert bundle["text/plain"][:100] == repr(widget)[:100]
    return Image.open(io.BytesIO(bundle["image/png"]))


@pytest.mark.parametrize("kind", ALL_VIEWS)
def test_a_view_is_displayed_with_its_picture(kind):
    assert min(picture(kind(session_of("dataset"))).size) > 100


def test_the_explorers_picture_is_that_of_its_first_tab(session, tmp_path):
    explorer = AttentionExplorer(session)
    explorer.tabs.selected_index = 1
    shown = picture(explorer)
    views = [picture(view) for view in explorer.views[:7]]
    assert shown.width > sum(sorted(view.width for view in views)[:3])
    assert Image.open(explorer.save_png(tmp_path / "explorer.png")).width > 2 * shown.width


def test_a_view_with_nothing_to_show_is_left_out(session, tmp_path):
    explorer = AttentionExplorer(session)
    whole = picture(explorer)
    session.run(*(part[0] for part in session.reading.inputs))  # no dataset's sample: no prices
    assert picture(explorer).height <= whole.height
    prices = next(view for view in explorer.views if isinstance(view, PriceStrip))
    with pytest.raises(ValueError, match="PriceStrip has nothing to show of tensors given by hand"):
        prices.save_png(tmp_path / "prices.png")


def drawn(view):
    """The axes of a view's picture."""
    figure = view._plot()
    plt.close(figure)
    return figure.axes[0]


def test_a_map_is_drawn_as_far_as_it_is_shown_with_its_place(session):
    view = AttentionHeatmap(session)
    view.selection.query, view.selection.key = 3, 5
    view.selection.show((2, 4), (1, 6))
    axes = drawn(view)
    assert (axes.get_xlim(), axes.get_ylim()) == ((0.5, 6.5), (4.5, 1.5))
    across, down = axes.lines
    assert set(across.get_ydata()) == {3}
    assert set(down.get_xdata()) == {5}


def test_the_maps_of_a_comparison_have_one_scale(session):
    with SampleComparison(session, 1, 30) as comparison:
        maps = [view for view in comparison.views if type(view) is AttentionHeatmap]
        shown = [one.session.reading.capture.map("cross", 0).max() for one in maps]
        scales = [drawn(view).images[0].get_clim() for view in maps]
    assert shown[0] != shown[1]
    assert scales == [(0, pytest.approx(float(max(shown))))] * 2


def test_a_comparisons_picture_has_every_view(session):
    with SampleComparison(session, 1, 30) as comparison:
        assert picture(comparison).height > max(picture(view).height for view in comparison.views)


def test_groups_have_a_picture():
    session = make_session()
    found = compare_groups(session.model, session.dataset, range(10), range(20, 30))
    assert min(picture(GroupDifferences(found)).size) > 100


def test_a_picture_that_fails_leaves_the_widget(session, monkeypatch):
    explorer = AttentionExplorer(session)
    monkeypatch.setattr(AttentionHeatmap, "_plot", lambda self: 1 / 0)
    with pytest.warns(UserWarning, match="no picture of AttentionExplorer.*division by zero"):
        bundle = explorer._repr_mimebundle_()
    assert VIEW in bundle
    assert "image/png" not in bundle


def test_columns_stand_side_by_side_under_the_caption():
    def patch(color: str, width: int, height: int) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (width, height), color).save(file, format="PNG")
        return file.getvalue()

    red, green, blue = patch("red", 40, 10), patch("green", 30, 20), patch("blue", 50, 10)
    whole = Image.open(io.BytesIO(arrange([[red, green], [blue]], "caption", 50)))
    assert whole.size == (40 + 8 + 50, 20 + 10 + 8 + 20 + 8)
    assert whole.getpixel((20, 25)) == (255, 0, 0)
    assert whole.getpixel((20, 45)) == (0, 128, 0)
    assert whole.getpixel((60, 25)) == (0, 0, 255)
    assert whole.getpixel((95, 60)) == (255, 255, 255)
