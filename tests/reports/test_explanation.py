"""The report: every figure, one page, and nothing begun that cannot be finished."""

import html
import re

import matplotlib.pyplot as plt
import pandas as pd
import pytest
import torch
from torch import nn

from stockformer.explainability import (
    CELL_RANKINGS,
    DAY_RANKINGS,
    attention_effects,
    attribute,
    capture_attention,
    describe_outputs,
    generate_report,
    head_importance,
    joint_rollout,
    market_entry,
    measure_faithfulness,
    relevance,
    summarize_days,
    summarize_effects,
    summarize_entry,
    summarize_faithfulness,
    summarize_gate,
    summarize_head_importance,
    summarize_heads,
    summarize_layers,
    summarize_map,
    summarize_outputs,
    summarize_pooling,
    summarize_prices,
    summarize_saliency,
    trace_attention,
)
from stockformer.model import create_model

DATES = pd.date_range("2008-10-08", periods=6)


def unmarked(page: str) -> str:
    """A page without the marks of what no line breaks."""
    return re.sub(r'<span class="whole">(.*?)</span>', r"\1", page)


def test_cross_attention_model(make_model, inputs, tmp_path, few_orders):
    names = [["<b>", *"abcd"], list("xyz")]
    saved = generate_report(
        make_model(),
        *inputs,
        output_dir=tmp_path / "new" / "folder",
        input_names=["Stock", "Market"],
        feature_names=names,
        title="<script>alert(1)</script>",
    )
    some = {
        "cross_layer0",
        "self_layer1_heads",
        "market_evolution",
        "gate_layer1",
        "pooling",
        "saliency_1",
        "days_relevance",
        "market_entry",
        "self_layer1_carried",
        "cross_layer0_importance",
        "attention_effects",
        "faithfulness_day",
    }
    assert some <= set(saved)
    pictures = [path for name, path in saved.items() if name != "report"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    page = saved["report"].read_text()
    assert page.count("data:image/png;base64,") == len(pictures)
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    links = re.findall(r'<li><a href="#([^"]+)">(.*?)</a> (.*?)</li>', page)
    headings = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', page)
    assert [(anchor, title) for anchor, title, _ in links] == headings
    assert len(headings) > 6
    assert all(page.count(sentence) > 1 for *_, sentence in links)  # it stands in its section too
    assert "<script>" not in page
    assert plt.get_fignums() == []


def text_of(cells):
    return [html.unescape(re.sub("<.*?>", "", cell)) for cell in cells]


def tables(page):
    """Caption -> rows of cells, of every table of a page."""
    found = {}
    for table in re.findall("<table>.*?</table>", page, re.S):
        (caption,) = text_of(re.findall("<caption>.*?</caption>", table))
        rows = [
            text_of(re.findall("<t[hd](?: scope=.*?)?>.*?</t[hd]>", row)) for row in re.findall("<tr>.*?</tr>", table)
        ]
        found.setdefault(caption, []).append(rows)
    return found


PRICES = pd.DataFrame({"date": DATES, "adjusted_close": [100, 110, 99, 99, 99, 99.0]})


@pytest.fixture(scope="module")
def page_of(tmp_path_factory, undrawn):
    """A model, its inputs, and the page about their second sample."""
    torch.manual_seed(0)
    cfg = {"d_model": 8, "nhead": 2, "num_layers": 2, "dim_feedforward": 12, "market_layers": 1}
    model = create_model(5, "binary", None, cfg | {"market_feature_dim": 3}).eval()
    inputs = torch.randn(2, 6, 5), torch.randn(2, 7, 3)
    folder = tmp_path_factory.mktemp("report")
    with undrawn():
        saved = generate_report(model, *inputs, output_dir=folder, sample=1, dates=DATES, prices=PRICES, label=0.0)
    return model, inputs, saved, saved["report"].read_text()


def named(days):
    return [str(date)[:10] for date in DATES] if days == len(DATES) else None


def test_every_summary_is_on_the_page(page_of):
    model, inputs, _, page = page_of
    shown = capture_attention(model, *inputs)
    summaries = [summarize_prices(PRICES)]
    summaries.append(summarize_outputs(describe_outputs(shown.output[1:], model, torch.tensor([0])), ["DOWN", "UP"]))
    for layers in shown.kinds.values():
        summaries.append(summarize_layers([weights[1] for weights in layers]))
        summaries += [summarize_map(weights[1].mean(dim=0), days=named(weights.size(-1))) for weights in layers]
        summaries += [summarize_heads(weights[1]) for weights in layers]
    summaries += [summarize_gate(gate[1]) for gate in shown.gates.values()]
    summaries.append(summarize_pooling(shown.pooling[1], named(6)))
    one = tuple(part[1:] for part in inputs)
    summaries.append(summarize_saliency(attribute(model, *one).parts))
    trace = trace_attention(model, *one)
    summaries += [summarize_days(flow(trace).days) for flow in (joint_rollout, relevance)]
    summaries.append(summarize_entry(market_entry(trace), [gate[1] for gate in shown.gates.values()]))
    summaries.append(summarize_effects(attention_effects(model, *one), trace.value))
    summaries.append(summarize_head_importance(head_importance(model, *one, trace=trace)))
    summaries += [
        summarize_faithfulness(measure_faithfulness(model, [one], each)) for each in (CELL_RANKINGS, DAY_RANKINGS)
    ]
    columns = [
        [float(cell) for cell in column[1:]]
        for found in tables(page).values()
        for table in found
        for column in list(zip(*table, strict=True))[1:-2]
    ]
    for summary in summaries:
        assert html.escape(summary.verdict) in unmarked(page)
        values = pytest.approx([one.value for one in summary.findings], abs=5.01e-4)
        assert any(values == column for column in columns)
        for one in summary.findings:
            assert f"<td>{html.escape(one.formula)}</td><td>{html.escape(one.reading)}</td>" in page


def test_the_numbers_stand_in_their_columns(page_of):
    model, inputs, _, page = page_of
    layers = [weights[1].mean(dim=0) for weights in capture_attention(model, *inputs).kinds["cross"]]
    found = tables(page)["Maps, mean of the heads"][0]
    assert found[0] == ["measure", "layer 0", "layer 1", "formula", "how to read it"]
    expected = [[one.value for one in summarize_map(weights).findings] for weights in layers]
    for row, values in zip(found[1:], zip(*expected, strict=True), strict=True):
        assert [float(cell) for cell in row[1:3]] == pytest.approx(values, abs=5.01e-4)
    price = {row[0]: row[1] for row in tables(page)["Numbers"][0][1:]}
    assert price == {"change percent": "-1", "daily volatility percent": "6.325", "largest move percent": "10"}


def test_prices_and_the_truth(page_of):
    _, _, saved, page = page_of
    assert "Down 1.0 % over 6 days of prices" in unmarked(page)
    assert "The truth is DOWN." in page
    assert re.search(r'<span class="whole">1\.0 %</span> over .* on <span class="whole">2008-10-\d\d</span>\.', page)
    assert {"price", "prediction", "saliency_summary"} <= set(saved)


def test_days_of_the_market_may_be_others(page_of):
    """Six dates for six stock days; seven market days have numbers."""
    assert {"cross_layer0", "market_layer0", "saliency_1"} <= set(page_of[2])


def test_encoder_only_model(make_model, inputs, tmp_path, small_report):
    saved = generate_report(make_model("encoder", "regression"), inputs[0], output_dir=tmp_path)
    assert "self_layer0" in saved
    assert not [name for name in saved if name.startswith(("cross", "gate", "market"))]


def test_arbitrary_model(tmp_path, small_report):
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    saved = generate_report(model, torch.randn(2, 6, 8), torch.randn(2, 4, 8), output_dir=tmp_path, sample=1)
    assert {"encoder_layers_self_attn_layer0", "decoder_layers_multihead_attn_layer0", "report"} <= set(saved)
    assert not {"prediction", "price", "pooling"} & set(saved)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample": 2}, "sample is 2, expected 0 to 1"),
        ({"input_names": ["Stock"]}, "input_names has 1 entries for 2 inputs"),
        ({"feature_names": [["a"] * 5]}, "feature_names has 1 entries for 2 inputs"),
        ({"feature_names": [["a"] * 5, ["b"]]}, r"feature_names\[1\] has 1 names for 3 features"),
        ({"dates": ["2020-01-01"]}, "1 dates for 6 days"),
    ],
)
def test_bad_arguments_write_nothing(make_model, inputs, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        generate_report(make_model(), *inputs, output_dir=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_directory_that_cannot_be_written(make_model, inputs, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="file"):
        generate_report(make_model(), *inputs, output_dir=tmp_path / "file")
