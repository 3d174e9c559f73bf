"""What a session's model may read, and what is refused at the door."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from cases import STOCK, make_session
from shipped import shipped_sample
from torch import nn

from stockformer.dataset import StockDataset
from stockformer.model import create_model
from stockformer.sample import sample_table
from stockformer_widgets import ExtractorSession

DATASET, MODEL = shipped_sample()


@pytest.fixture
def session() -> ExtractorSession:
    return ExtractorSession.from_dataset(MODEL, DATASET, index=10)


def test_reading_is_the_models_own_pass(session):
    x, _, market_x = DATASET[10]
    with torch.no_grad():
        expected = MODEL(x[None], market_x[None])
    assert torch.equal(session.reading.capture.output, expected)
    assert list(session.reading.dates) == list(DATASET.window(10).dates)


def test_run_takes_arrays_lists_and_tensors(session):
    x, _, market_x = DATASET[3]
    for inputs in ((x.numpy(), market_x.numpy()), (x.tolist(), market_x.tolist()), (x[None].half(), market_x.double())):
        session.run(*inputs)
        assert session.sample is None
        assert session.reading.capture.output.shape == (1, 2)
    session.sample = 10
    assert session.reading.window is not None


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (lambda x, m: (x[:, :40], m), r"40 \+ 11 features, but CrossAttentionStockTransformer takes 41 \+ 11"),
        (lambda x, m: (x,), r"41 features, but CrossAttentionStockTransformer takes 41 \+ 11"),
        (lambda x, m: (x[0], m), r"input 0 has shape \[41\], expected one sample"),
        (lambda x, m: (torch.stack([x, x]), m), r"input 0 has shape \[2, 60, 41\], expected one sample"),
        (lambda x, m: (x, m[:0]), r"input 1 has shape \[1, 0, 11\]"),
        (
            lambda x, m: (x * np.nan, m),
            "input 0 has 2460 values that are NaN or infinite, the first in volume_pct on day 0, expected",
        ),
        (lambda x, m: (x.repeat(4, 1), m), "240 steps.* at most 200"),
    ],
)
def test_bad_inputs_leave_the_session_as_it_was(session, inputs, message):
    before = session.reading
    x, _, market_x = DATASET[3]
    with pytest.raises(ValueError, match=message):
        session.run(*inputs(x, market_x))
    assert session.reading is before
    assert session.sample == 10


def test_other_feature_count_is_refused_at_the_door():
    encoder = create_model(41, "binary", None, {}, model_type="encoder")
    with pytest.raises(ValueError, match=r"the dataset has 41 \+ 11 features, but StockTransformer takes 41"):
        ExtractorSession.from_dataset(encoder, DATASET)


def test_encoder_with_its_own_dataset():
    encoder = create_model(41, "binary", None, {}, model_type="encoder")
    table = sample_table().query("symbol == 'IBM'")
    session = ExtractorSession.from_dataset(encoder, StockDataset(table, market_feature_cols=None))
    assert list(session.reading.capture.kinds) == ["self"]
    assert session.feature_names == [DATASET.feature_cols]


def test_model_without_attention():
    with pytest.raises(ValueError, match="no attention to show"):
        ExtractorSession(nn.Linear(3, 1), torch.zeros(1, 3))


def test_nothing_to_look_at():
    with pytest.raises(ValueError, match="needs inputs for the model or a dataset"):
        ExtractorSession(MODEL)


def test_training_mode_is_left_alone(session):
    MODEL.train()
    try:
        session.sample = 12
        assert MODEL.training
    finally:
        MODEL.eval()
    with torch.no_grad():
        x, _, market_x = DATASET[12]
        assert torch.equal(session.reading.capture.output, MODEL(x[None], market_x[None]))


def test_arbitrary_models_take_their_inputs_as_they_are():
    layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    session = ExtractorSession(nn.TransformerDecoder(layer, 2), torch.randn(1, 5, 8), torch.randn(1, 7, 8))
    assert {kind: len(maps) for kind, maps in session.reading.capture.kinds.items()} == {
        "layers.*.self_attn": 2,
        "layers.*.multihead_attn": 2,
    }


def test_a_mask_may_hide_days():
    torch.manual_seed(0)
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, batch_first=True), 2)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    session = ExtractorSession(decoder, torch.randn(1, 5, 8), torch.randn(1, 4, 8), mask)
    own = session.reading.capture.kinds["layers.*.self_attn"][1][0]
    assert torch.equal(own, own.tril())
    mask[2, 1] = torch.nan
    with pytest.raises(ValueError, match="input 2 has 1 values that are NaN"):
        session.run(torch.randn(1, 5, 8), torch.randn(1, 4, 8), mask)


@pytest.mark.parametrize(
    "make", [lambda: ExtractorSession(None, 1), lambda: ExtractorSession.from_dataset(DATASET, MODEL)]
)
def test_what_is_no_model(make):
    with pytest.raises(TypeError, match=r"expected a torch\.nn\.Module as the model, got (NoneType|StockDataset)"):
        make()


def test_what_is_no_dataset():
    with pytest.raises(TypeError, match="expected a StockDataset as the dataset, got DataFrame"):
        ExtractorSession.from_dataset(MODEL, pd.DataFrame())


def test_wrong_feature_names():
    x, _, market_x = DATASET[3]
    with pytest.raises(ValueError, match=r"feature_names has 1 \+ 11 names for 41 \+ 11 features"):
        ExtractorSession(MODEL, x, market_x, feature_names=[["a"], DATASET.market_feature_cols])


def test_feature_names_that_are_not_distinct():
    session = make_session("by hand")
    with pytest.raises(ValueError, match="feature_names has 1 names more than once, 'f1' for one"):
        ExtractorSession(session.model, *session.reading.inputs, feature_names=[STOCK, ["m0", "f1"]])


@pytest.mark.parametrize("inputs", [("abc", "def"), ([["a"] * 41], [[1] * 11]), ([[1], [1, 2]], [[1] * 11])])
def test_what_is_no_array(session, inputs):
    with pytest.raises(ValueError, match="input 0 is no array of numbers"):
        session.run(*inputs)


def test_attention_that_does_not_run():
    class Idle(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2)

        def forward(self, x):
            return x

    with pytest.raises(ValueError, match="its forward pass did not run it"):
        ExtractorSession(Idle(), torch.zeros(1, 3, 4))


def test_token_models_keep_their_integers():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(10, 4)
            self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

        def forward(self, tokens):
            return self.layer(self.embedding(tokens))

    session = ExtractorSession(Tokens(), [[1, 2, 3]])
    assert session.reading.capture.map("layer.self_attn", 0).shape == (3, 3)


def test_dates_of_tensors_given_by_hand():
    session = make_session("by hand")
    days = pd.bdate_range("2020-01-01", periods=6)
    session.run(*session.reading.inputs, dates=days)
    assert session.reading.days(6) == list(days.strftime("%Y-%m-%d"))
    assert session.reading.days(4) == ["step 0", "step 1", "step 2", "step 3"]
    before = session.reading
    with pytest.raises(ValueError, match="there are 5 dates for 6 steps"):
        session.run(*session.reading.inputs, dates=days[:5])
    assert session.reading is before


@pytest.mark.parametrize(
    ("make", "stock", "market"),
    [
        (lambda: nn.Transformer(8, 2, 1, 1, 16, batch_first=True), (1, 6, 8), (1, 4, 8)),
        (lambda: nn.Transformer(8, 2, 1, 1, 16), (6, 8), (4, 8)),
        (lambda: nn.Transformer(8, 2, 1, 1, 16), (6, 1, 8), (4, 1, 8)),
    ],
)
def test_dates_of_other_models(make, stock, market):
    session = ExtractorSession(make(), torch.randn(stock), torch.randn(market))
    days = pd.bdate_range("2020-01-01", periods=6)
    session.run(torch.randn(stock), torch.randn(market), dates=days)
    assert session.reading.days(6) == list(days.strftime("%Y-%m-%d"))


def test_the_first_bad_value_is_named():
    x, _, market_x = DATASET[3]
    dates = DATASET.window(3).dates
    market_x = market_x.clone()
    market_x[7, 2] = math.inf
    market_x[9, 1] = math.nan
    message = f"input 1 has 2 values that are NaN or infinite, the first in {{}} on {dates[7].date()}, expected none"
    with pytest.raises(ValueError, match=message.format(DATASET.market_feature_cols[2])):
        ExtractorSession.from_dataset(MODEL, DATASET, 3).run(x, market_x, dates=dates)
    with pytest.raises(ValueError, match=message.format(".*")):
        ExtractorSession(MODEL, x, market_x, dates=dates)
