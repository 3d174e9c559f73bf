"""ExtractorSession: a live model that fails without losing anything."""

import numpy as np
import pytest
import torch
from torch import nn
from traitlets import TraitError

from stockformer.dataset import StockDataset
from stockformer.model import create_model
from stockformer.sample import load_sample, sample_table
from stockformer_widgets import ExtractorSession

DATASET, MODEL = load_sample()


@pytest.fixture
def session() -> ExtractorSession:
    return ExtractorSession.from_dataset(MODEL, DATASET, index=10)


def test_reading_is_the_models_own_pass(session):
    x, _, market_x = DATASET[10]
    with torch.no_grad():
        expected = MODEL(x[None], market_x[None])
    assert torch.equal(session.reading.capture.output, expected)
    assert list(session.reading.dates) == list(DATASET.window(10).dates)


def test_setting_the_sample_runs_once_and_fires_once(session):
    heard = []
    session.observe(lambda change: heard.append(change["name"]), ["sample", "reading"])
    session.sample = 11
    assert sorted(heard) == ["reading", "sample"]
    session.sample = 11
    session.sample = 11 - len(DATASET)
    assert len(heard) == 2


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
        (lambda x, m: (x * np.nan, m), "input 0 has 2460 values that are NaN or infinite"),
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


def test_sample_that_does_not_exist(session):
    before = session.reading
    with pytest.raises(IndexError, match="sample 6852 does not exist: the dataset has 6852"):
        session.sample = 6852
    assert (session.sample, session.reading) == (10, before)


def test_no_dataset_no_sample():
    x, _, market_x = DATASET[3]
    session = ExtractorSession(MODEL, x, market_x)
    with pytest.raises(TraitError, match="no dataset"):
        session.sample = 1
    assert session.sample is None


def test_a_model_that_raises_leaves_everything(session):
    before, hooks = session.reading, len(MODEL.stock_layers[0].self_attn._forward_hooks)
    handle = MODEL.final_norm.register_forward_hook(lambda *_: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            session.sample = 11
    finally:
        handle.remove()
    assert (session.sample, session.reading) == (10, before)
    assert len(MODEL.stock_layers[0].self_attn._forward_hooks) == hooks == 0


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


def test_saliency_follows_the_sample(session):
    first = session.saliency()
    assert session.saliency() is first
    session.sample = 12
    assert not torch.equal(session.saliency()[0], first[0])


def test_arbitrary_models_take_their_inputs_as_they_are():
    layer = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)
    session = ExtractorSession(nn.TransformerDecoder(layer, 2), torch.randn(1, 5, 8), torch.randn(1, 7, 8))
    assert {kind: len(maps) for kind, maps in session.reading.capture.kinds.items()} == {
        "layers.*.self_attn": 2,
        "layers.*.multihead_attn": 2,
    }


def test_repr_is_one_short_line(session):
    assert repr(session) == "ExtractorSession(CrossAttentionStockTransformer, sample 10 of 6852)"


def test_a_follower_that_raises_leaves_sample_and_reading_together(session):
    def fail(change):
        raise RuntimeError("no picture today")

    session.observe(fail, "reading")
    with pytest.raises(RuntimeError, match="no picture"):
        session.sample = 100
    assert session.sample == 100
    assert list(session.reading.dates) == list(DATASET.window(100).dates)


def test_wrong_feature_names():
    x, _, market_x = DATASET[3]
    with pytest.raises(ValueError, match=r"feature_names has 1 \+ 11 names for 41 \+ 11 features"):
        ExtractorSession(MODEL, x, market_x, feature_names=[["a"], DATASET.market_feature_cols])


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
