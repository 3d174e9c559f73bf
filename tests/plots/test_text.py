"""Names are text on paper: neither mathematics nor paths, whatever characters they hold."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.text import Text
from torch import nn

from stockformer.charts.figures import render
from stockformer.explainability import (
    describe_outputs,
    generate_report,
    plot_attention_heatmap,
    plot_layer_evolution,
    plot_prediction,
    plot_saliency_map,
    plot_saliency_summary,
)

HOSTILE = [r"$\frac{$", "b_{$", "$x$", "a\ud800b", r"\$5", "100 % $^2$"]


def texts(figure):
    return {text.get_text() for text in figure.findobj(Text)}


def pictures(model, name):
    """One figure of each kind of place that a name from the user's data is drawn in."""
    saliency = torch.rand(6, 2)
    yield plot_saliency_map(saliency, [name, "other"], title=name)
    yield plot_saliency_summary(saliency, saliency, stock_feature_names=[name, "other"], stream_names=(name, "b"))
    outputs = describe_outputs(torch.tensor([[0.3, 0.7]]), model, torch.tensor([1]))
    yield plot_prediction(outputs, class_names=["down", name], title=name)
    yield plot_attention_heatmap(torch.rand(4, 4), title=name, query_label=name, key_label=name)
    yield plot_layer_evolution({"kinds": {name: [torch.rand(1, 2, 4, 4)]}}, name)


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_drawn_as_they_are(model, name):
    readable = name.replace("\ud800", "?")
    for figure in pictures(model, name):
        assert render(figure, 40).startswith(b"\x89PNG")
        drawn = texts(figure)  # after drawing, which sets the labels of ticks
        assert any(readable in text for text in drawn), drawn
        assert not any(text.get_parse_math() for text in figure.findobj(Text) if readable in text.get_text())
    assert plt.get_fignums() == []


def ink(figure):
    return np.asarray(plt.imread(io.BytesIO(render(figure, 60)))).tobytes()


def test_a_dollar_sign_is_seen(model):
    """Between two of them matplotlib would draw italics, and no sign."""
    one, other = (plot_saliency_map(torch.ones(3, 1), ["f"], title=title) for title in ("$x$", "x"))
    assert ink(one) != ink(other)


@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf", ""])
def test_a_saved_figure(tmp_path, suffix):
    path = tmp_path / f"picture{suffix}"
    figure = plot_saliency_map(torch.ones(3, 1), [r"$\frac{$"], save_path=path)
    plt.close(figure)
    (written,) = tmp_path.iterdir()
    start = {".svg": b"<?xml", ".pdf": b"%PDF"}.get(suffix, b"\x89PNG")
    assert written.read_bytes().startswith(start)
    assert written.suffix == (suffix or ".png")


def test_the_users_own_mathematics_stays(model):
    figure, (mine, given) = plt.subplots(1, 2)
    mine.set_title(r"$\alpha$")
    plot_saliency_map(torch.ones(3, 1), [r"$\frac{$"], ax=given)
    assert mine.title.get_parse_math()
    assert render(figure, 40).startswith(b"\x89PNG")


class Attending(nn.Module):
    """Attention in modules of these names; what it returns cannot be attributed, which keeps reports short."""

    def __init__(self, names):
        super().__init__()
        self.layers = nn.ModuleDict({name: nn.MultiheadAttention(4, 1, batch_first=True) for name in names})

    def forward(self, x):
        for layer in self.layers.values():
            x = layer(x, x, x)[0]
        return {"sum": x.sum(dim=(1, 2))}


class Attributed(Attending):
    def forward(self, x):
        super().forward(x)
        return self.layers["BTC/USD"](x, x, x)[0].sum(dim=(1, 2))


@pytest.mark.parametrize("kind", [Attending, Attributed])
def test_modules_of_any_name_are_reported_inside_the_folder(tmp_path, kind, small_report):
    outside = tmp_path / "outside"
    outside.mkdir()
    more = ["btc usd", "BTC_USD", "n" * 300, "$\\frac{$", "日経", "gate", "layers"]
    names = ["BTC/USD", str(outside / "x"), *(more if kind is Attending else ())]
    folder = tmp_path / "report"
    saved = generate_report(kind(names), torch.randn(1, 3, 4), output_dir=folder)
    assert list(outside.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"outside", "report"}
    assert sorted(saved.values()) == sorted(folder.iterdir())
    assert len({path.name.lower() for path in saved.values()}) == len(saved)
    assert len([name for name in saved if name.endswith("_layer0")]) == len(names)
    assert "BTC/USD" in saved["report"].read_text()


def test_a_report_that_fails_changes_nothing(tmp_path, monkeypatch):
    model = Attending(["a"])
    generate_report(model, torch.randn(1, 3, 4), output_dir=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    writes = []

    def disk_full(file):
        writes.append(file)
        if len(writes) > 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        generate_report(model, torch.randn(1, 3, 4), output_dir=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_report_is_checked_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "report.html").mkdir()
    monkeypatch.setattr("stockformer.reports.sections.capture_attention", None)
    with pytest.raises(IsADirectoryError, match=r"report\.html is a folder"):
        generate_report(Attending(["a"]), torch.randn(1, 3, 4), output_dir=tmp_path)
