"""The report: every figure, one page, and nothing begun that cannot be finished."""

import re

import matplotlib.pyplot as plt
import pytest
import torch
from torch import nn

from stockformer.explainability import generate_report


def test_cross_attention_model(make_model, inputs, tmp_path):
    names = [["<b>", *"abcd"], list("xyz")]
    saved = generate_report(
        make_model(),
        *inputs,
        output_dir=tmp_path / "new" / "folder",
        input_names=["Stock", "Market"],
        feature_names=names,
        title="<script>alert(1)</script>",
    )
    some = {"cross_layer0", "self_layer1_heads", "market_evolution", "gate_layer1", "pooling", "saliency_1"}
    assert some <= set(saved)
    pictures = [path for name, path in saved.items() if name != "report"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)
    page = saved["report"].read_text()
    assert page.count("data:image/png;base64,") == len(pictures)
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert "<script>" not in page
    assert plt.get_fignums() == []


def test_encoder_only_model(make_model, inputs, tmp_path):
    saved = generate_report(make_model("encoder", "regression"), inputs[0], output_dir=tmp_path)
    assert "self_layer0" in saved
    assert not [name for name in saved if name.startswith(("cross", "gate", "market"))]


def test_arbitrary_model(tmp_path):
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    saved = generate_report(model, torch.randn(2, 6, 8), torch.randn(2, 4, 8), output_dir=tmp_path, sample=1)
    assert {"encoder_layers_self_attn_layer0", "decoder_layers_multihead_attn_layer0", "report"} <= set(saved)


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
