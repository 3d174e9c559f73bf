"""Checkpoint files: both containers, what is refused, what travels with the weights."""

from __future__ import annotations

import copy
import math
import os
import pickle
import re
import resource
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch

from stockformer.checkpoint import load_checkpoint, save_checkpoint
from stockformer.dataset import StockDataset
from stockformer.preprocessing import TRAINED_HERE, Normalization

SETTINGS = {
    "feature_cols": ["a", "b", "c", "d", "e"],
    "market_feature_cols": ["m", "n", "o"],
    "target_col": "close_10d_fwd_return",
    "lookback": 7,
    "label_mode": "binary",
    "threshold": 0.02,
    "bucket_edges": None,
    "normalization": Normalization(list("abcdemno"), {"AAA": [0.5] * 8}, {"AAA": [2.0] * 8}),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("wrapped", [False, True])
def test_both_containers(model, inputs, tmp_path, wrapped, legacy):
    state = model.state_dict()
    content = {"model_state_dict": state, "epoch": 3, "optimizer_state_dict": {"lr": 0.1}} if wrapped else state
    torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=not legacy)
    loaded, info = load_checkpoint(tmp_path / "a.pt", nhead=2)
    assert not loaded.training
    assert torch.equal(loaded(*inputs), model(*inputs))
    assert info.dataset_settings == {"label_mode": "binary", "preprocessing": None}
    assert info.metrics == {}


@pytest.mark.parametrize("extra", [{"metrics": None}, {"metrics": 0.53}, {"dataset_settings": None}, {"nhead": None}])
def test_other_keys_of_a_container_are_ignored(model, inputs, tmp_path, extra):
    torch.save({"model_state_dict": model.state_dict(), **extra}, tmp_path / "a.pt")
    loaded, _ = load_checkpoint(tmp_path / "a.pt", nhead=2)
    assert torch.equal(loaded(*inputs), model(*inputs))


def test_meta_beside_the_file_gives_the_head_count(make_model, inputs, tmp_path):
    model = make_model(nhead=8)
    torch.save(model.state_dict(), tmp_path / "a.pt")
    (tmp_path / "a.pt.meta").write_text('{"nhead": 8, "model_type": "cross_attention"}')
    loaded, info = load_checkpoint(str(tmp_path / "a.pt"))
    assert info.arch["nhead"] == 8
    assert torch.equal(loaded(*inputs), model(*inputs))


class Hostile:
    """Pickles into a call that writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def save_with_pickle(content, path):
    path.write_bytes(pickle.dumps(content, protocol=2))


def save_legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [torch.save, save_legacy, save_with_pickle])
@pytest.mark.parametrize("place", ["whole", "state", "beside"])
def test_code_in_a_file_is_refused_and_never_runs(model, tmp_path, save, place):
    hostile = Hostile(tmp_path / "written")
    content = {
        "whole": hostile,
        "state": {"model_state_dict": hostile},
        "beside": {"model_state_dict": {}, "x": hostile},
    }
    save(content[place], tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt was refused"):
        load_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    "content", [b"", b"hello world\n", b"date,symbol\n2020-01-01,AAA\n", b"\x80\x02", b"PK\x03\x04"]
)
def test_a_file_of_something_else(tmp_path, content):
    (tmp_path / "a.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pt (is damaged|was refused)") as error:
        load_checkpoint(tmp_path / "a.pt")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_a_truncated_file(model, tmp_path, share, legacy):
    path = tmp_path / "a.pt"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    os.truncate(path, int(share * path.stat().st_size))
    with pytest.raises(ValueError, match=r"a\.pt"):
        load_checkpoint(path, nhead=2)


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_bytes_never_raise_anything_else(model, tmp_path, legacy):
    path = tmp_path / "a.pt"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=not legacy)
    sound, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(sound)
        damaged[rng.integers(1500)] = rng.integers(256)
        path.write_bytes(damaged)
        refused = None
        try:
            load_checkpoint(path, nhead=2)
        except Exception as error:
            refused = error
        assert refused is None or isinstance(refused, ValueError), repr(refused)


def flipped(file, bit):
    damaged = bytearray(file)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_no_flipped_bit_changes_the_model(make_model, tmp_path):
    model = make_model("encoder", num_layers=1)
    path = save_checkpoint(tmp_path / "a.pt", model, SETTINGS)
    sound, state, rng = path.read_bytes(), model.state_dict(), np.random.default_rng(0)
    settings = load_checkpoint(path)[1].dataset_settings
    bits, refusals = 8 * len(sound), []
    # The end holds the directory of the archive; one bit of an entry's attributes makes it a folder.
    entries = [8 * (match.start() + 38) + 4 for match in re.finditer(b"PK\x01\x02", sound)]
    for bit in [*rng.integers(bits, size=300), *rng.integers(bits - 8 * 3_000, bits, size=300), *entries]:
        path.write_bytes(flipped(sound, bit))
        try:
            loaded, info = load_checkpoint(path)
        except ValueError as error:
            refusals.append(str(error))
        else:
            assert all(torch.equal(values, state[name]) for name, values in loaded.state_dict().items())
            assert info.dataset_settings == settings
    assert len(refusals) > 300
    assert all(message.startswith(str(path)) and "\n" not in message for message in refusals)


def test_a_file_without_checksums_loads_with_a_warning(model, tmp_path):
    save_legacy(model.state_dict(), tmp_path / "a.pt")
    with pytest.warns(UserWarning, match=r"a\.pt is a file of torch before 1\.6, which has no checksums"):
        load_checkpoint(tmp_path / "a.pt", nhead=2)


def test_an_archive_that_unpacks_to_more_than_its_size(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "stored.pt")
    packed = zipfile.ZipFile(tmp_path / "a.pt", "w", zipfile.ZIP_DEFLATED)
    with zipfile.ZipFile(tmp_path / "stored.pt") as stored, packed:
        for name in stored.namelist():
            packed.writestr(name, stored.read(name))
    with pytest.raises(ValueError, match=r"a\.pt was refused: it unpacks to more"):
        load_checkpoint(tmp_path / "a.pt", nhead=2)


def test_members_that_share_their_bytes(tmp_path):
    """Two entries of the directory for one stored member."""
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data", bytes(100_000))
        again = copy.copy(archive.getinfo("a/data"))
        again.filename = "a/more"
        archive.filelist.append(again)
    with pytest.raises(ValueError, match=r"a\.pt was refused: it unpacks to more"):
        load_checkpoint(tmp_path / "a.pt", nhead=2)


@pytest.fixture
def limited_memory():
    """Whoever takes more than 2 GiB than is in use fails."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**31, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


HUGE = 10**9


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("name", "claimed"),
    [
        ("pos_encoder.pe", torch.zeros(1).expand(1, HUGE, 8)),
        ("input_proj.weight", torch.zeros(1).expand(HUGE, 5)),
        ("stock_layers.0.linear1.weight", torch.zeros(1).expand(HUGE, 8)),
        ("bucket_head.3.bias", torch.zeros(1).expand(HUGE)),
        ("market_encoder.input_proj.weight", torch.zeros(1).expand(8, HUGE)),
        ("pos_encoder.pe", torch.zeros(1).as_strided((1, HUGE, 8), (0, 0, 0))),
        ("unused", torch.zeros(1).expand(HUGE)),
    ],
)
def test_shapes_that_the_file_does_not_hold(model, tmp_path, limited_memory, name, claimed, legacy):
    (save_legacy if legacy else torch.save)(model.state_dict() | {name: claimed}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt was refused: its weights would take [\d,]{13,} bytes"):
        load_checkpoint(tmp_path / "a.pt", nhead=2)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("input_proj.weight", torch.zeros(100_000, 1)),  # d^2 weights would follow
        ("stock_layers.0.linear1.weight", torch.zeros(10**6, 1)),
        ("bucket_head.3.bias", torch.zeros(10**6)),
        ("market_encoder.input_proj.weight", torch.zeros(1, 10**6)),
    ],
)
def test_one_large_tensor_makes_no_large_model(model, tmp_path, limited_memory, name, values):
    torch.save(model.state_dict() | {name: values}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"checkpoint|state dict"):
        load_checkpoint(tmp_path / "a.pt", nhead=2)


def test_names_of_layers_make_no_layers(model, tmp_path):
    names = {f"stock_layers.{layer}.x": torch.zeros(1) for layer in range(2, 1000)}
    torch.save(model.state_dict() | names, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"names 1001 layers but holds only \d+ tensors"):
        load_checkpoint(tmp_path / "a.pt", nhead=2)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.bool, torch.complex64])
def test_weights_that_are_no_floating_point_numbers(model, tmp_path, dtype):
    state = model.state_dict()
    torch.save(state | {"input_proj.bias": state["input_proj.bias"].to(dtype)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=f"'input_proj.bias' of {str(dtype)[6:]}.*expected floating-point numbers"):
        load_checkpoint(tmp_path / "a.pt", nhead=2)


@pytest.mark.parametrize("values", [torch.empty(8, device="meta"), torch.zeros(8).to_sparse()])
def test_weights_that_are_no_plain_tensors(model, tmp_path, values):
    torch.save(model.state_dict() | {"input_proj.bias": values}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt has weights 'input_proj.bias' of float32, "):
        load_checkpoint(tmp_path / "a.pt", nhead=2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision(model, inputs, tmp_path, dtype):
    torch.save({name: values.to(dtype) for name, values in model.state_dict().items()}, tmp_path / "a.pt")
    loaded, _ = load_checkpoint(tmp_path / "a.pt", nhead=2)
    assert torch.equal(loaded(*inputs), model.to(dtype).float()(*inputs))


def test_weights_that_are_views(model, inputs, tmp_path):
    """A checkpoint may hold transposed views, and slices of one storage."""
    state = {name: values.clone() for name, values in model.state_dict().items()}
    weight = "input_proj.weight"
    state[weight] = state[weight].t().contiguous().t()
    torch.save(state, tmp_path / "a.pt")
    loaded, _ = load_checkpoint(tmp_path / "a.pt", nhead=2)
    assert loaded.input_proj.weight.is_contiguous()
    assert torch.equal(loaded(*inputs), model(*inputs))


def test_loading_draws_no_random_number(model, tmp_path):
    path = save_checkpoint(tmp_path / "a.pt", model)
    before = torch.random.get_rng_state()
    load_checkpoint(path)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ("[" * 50_000, "is not JSON"),
        ('{"nhead": ' * 6_000, "is not JSON"),
        ("[1]" + " " * 10**6, "has 1,000,003 bytes, expected a small JSON object"),
        ("[0" + ", 0" * 1000 + "]", r"holds \[0, 0, 0, 0, 0, 0, \.\.\.\], expected an object"),
    ],
)
def test_a_hostile_meta(model, tmp_path, meta, message):
    torch.save(model.state_dict(), tmp_path / "a.pt")
    (tmp_path / "a.pt.meta").write_text(meta)
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("meta", "contradiction"),
    [
        ('{"nhead": 2, "model_type": "encoder"}', "its .meta says encoder, its weights are of cross_attention"),
        ('{"nhead": 4}', "its .meta says 4 heads, the file 2: read as 2"),
    ],
)
def test_a_meta_that_contradicts_the_file(model, tmp_path, meta, contradiction):
    path = save_checkpoint(tmp_path / "a.pt", model)
    (tmp_path / "a.pt.meta").write_text(meta)
    with pytest.warns(UserWarning, match=f"contradicts itself: {contradiction}"):
        _, info = load_checkpoint(path)
    assert info.arch["nhead"] == 2
    load_checkpoint(path, nhead=4, output_mode="binary")


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*none\.pt"):
        load_checkpoint(tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "list, expected a dict"),
        (torch.zeros(2), "Tensor, expected a dict"),
        ({}, "not a StockFormer state dict"),
        ({"model_state_dict": [1]}, "no state dict"),
        ({"epoch": 3}, "no state dict"),
        ({"fc.weight": torch.zeros(2, 2)}, "not a StockFormer state dict: it lacks"),
    ],
)
def test_not_a_state_dict(tmp_path, content, message):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("name", ["final_norm.weight", "reg_head.0.bias", "cross_attn_layers.1.gate.0.weight"])
def test_a_state_dict_that_lacks_a_parameter(model, tmp_path, name):
    state = model.state_dict()
    del state[name]
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=f"not a checkpoint of type cross_attention.*{name}"):
        load_checkpoint(tmp_path / "a.pt", nhead=2)


@pytest.mark.parametrize("name", ["final_norm.weight", "input_proj.weight", "pos_encoder.pe"])
def test_a_parameter_of_another_shape(model, tmp_path, name):
    torch.save(model.state_dict() | {name: torch.zeros(3)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"checkpoint|state dict") as error:
        load_checkpoint(tmp_path / "a.pt", nhead=2)
    assert "\n" not in str(error.value)


def test_round_trip(model, inputs, tmp_path):
    metrics = {"test_accuracy": 0.5125, "best_epoch": 3.0}
    path = save_checkpoint(tmp_path / "deep" / "a.pt", model, SETTINGS, metrics)
    loaded, info = load_checkpoint(path)
    assert torch.equal(loaded(*inputs), model(*inputs))
    assert info.dataset_settings == SETTINGS | {"preprocessing": TRAINED_HERE}
    assert info.metrics == metrics
    assert (info.arch["nhead"], info.arch["model_type"]) == (2, "cross_attention")


def test_the_file_keeps_its_head_count_without_meta(make_model, inputs, tmp_path):
    model = make_model(nhead=8)
    path = save_checkpoint(tmp_path / "a.pt", model)
    (tmp_path / "a.pt.meta").unlink()
    loaded, info = load_checkpoint(path)
    assert info.arch["nhead"] == 8
    assert torch.equal(loaded(*inputs), model(*inputs))


def test_a_written_file_is_a_container_that_others_can_read(model, tmp_path):
    path = save_checkpoint(tmp_path / "a.pt", model, SETTINGS)
    state = torch.load(path, weights_only=True)["model_state_dict"]
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert (tmp_path / "a.pt.meta").read_text() == '{"model_type": "cross_attention", "nhead": 2}'


@pytest.mark.parametrize("loss", [None, "coral"])
def test_bucket_edges_travel(make_model, tmp_path, loss):
    model = make_model(label_mode="buckets", bucket_edges=[-2.0, 0.5], loss_name=loss)
    settings = SETTINGS | {"label_mode": "buckets", "bucket_edges": [-2.0, 0.5]}
    loaded, info = load_checkpoint(save_checkpoint(tmp_path / "a.pt", model, settings))
    assert info.dataset_settings["bucket_edges"] == [-2.0, 0.5]
    assert (loaded.label_mode, loaded.use_coral) == ("buckets", loss == "coral")


def test_edges_and_threshold_of_numpy_travel(make_model, table, tmp_path):
    dataset = StockDataset(
        table,
        ["f0", "f1"],
        None,
        lookback=5,
        label_mode="buckets",
        bucket_edges=list(np.linspace(-1, 1, 3)),
        threshold=np.float64(0.5),
    )
    model = make_model("encoder", "buckets", dataset.bucket_edges)
    _, info = load_checkpoint(save_checkpoint(tmp_path / "a.pt", model, dataset.settings))
    assert info.dataset_settings["bucket_edges"] == [-1.0, 0.0, 1.0]


def test_one_bucket_edge_is_no_binary_model(make_model, tmp_path):
    model = make_model(label_mode="buckets", bucket_edges=[0.5])
    path = save_checkpoint(tmp_path / "a.pt", model, SETTINGS | {"label_mode": "buckets", "bucket_edges": [0.5]})
    assert load_checkpoint(path)[0].label_mode == "buckets"


@pytest.mark.parametrize(
    ("label_mode", "edges", "name"), [("regression", None, "model_reg_10d.pt"), ("buckets", [0.0], "bucket_3d.pt")]
)
def test_a_bare_state_dict_takes_its_mode_from_the_name(make_model, inputs, tmp_path, label_mode, edges, name):
    model = make_model(label_mode=label_mode, bucket_edges=edges)
    torch.save(model.state_dict(), tmp_path / name)
    loaded, info = load_checkpoint(tmp_path / name, nhead=2)
    assert info.dataset_settings["label_mode"] == loaded.label_mode == label_mode
    assert torch.equal(loaded(*inputs), model(*inputs))


def test_an_explicit_output_mode(make_model, tmp_path):
    torch.save(make_model().state_dict(), tmp_path / "a.pt")
    assert load_checkpoint(tmp_path / "a.pt", nhead=2, output_mode="buckets")[0].label_mode == "buckets"


def test_an_encoder_has_no_market_features(make_model, tmp_path):
    torch.save(make_model("encoder").state_dict(), tmp_path / "a.pt")
    _, info = load_checkpoint(tmp_path / "a.pt", nhead=2)
    assert info.dataset_settings["market_feature_cols"] is None


def test_weights_are_a_copy(model, tmp_path):
    path = save_checkpoint(tmp_path / "a.pt", model)
    before = model.input_proj.weight.detach().clone()
    with torch.no_grad():
        model.input_proj.weight.zero_()
    assert torch.equal(load_checkpoint(path)[0].input_proj.weight, before)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("there", [True, False])
def test_a_failing_save_changes_nothing(make_model, tmp_path, monkeypatch, there):
    if there:
        save_checkpoint(tmp_path / "a.pt", make_model(nhead=4))
    before = contents(tmp_path)

    def disk_full(file):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path / "a.pt", make_model(nhead=2))
    assert contents(tmp_path) == before


def test_written_files_are_for_everyone_that_the_umask_lets_read(model, tmp_path):
    umask = os.umask(0o022)
    try:
        save_checkpoint(tmp_path / "a.pt", model)
    finally:
        os.umask(umask)
    assert {oct(file.stat().st_mode & 0o777) for file in tmp_path.iterdir()} == {"0o644"}


def settings_with(changes):
    stored = {**SETTINGS, "normalization": asdict(SETTINGS["normalization"]), "preprocessing": asdict(TRAINED_HERE)}
    return stored | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"colour": "red"},
        {7: 7},
        *({name: value} for name in ("feature_cols", "market_feature_cols") for value in (5, "abc", [1, 2], {})),
        *({name: value} for name in ("lookback", "target_col", "train_end", "label_mode") for value in ([], 1.5, {})),
        *({"threshold": value} for value in ("high", [0.5], math.nan, True)),
        *({"bucket_edges": value} for value in ("auto", [None], [math.inf], 3)),
        {"assumed": 3},
        *({"normalization": value} for value in (3, "abc", {}, {"columns": ["a"], "mean": 1, "std": 1})),
        {"normalization": {"columns": list("ab"), "mean": {"AAA": [1.0]}, "std": {"AAA": [1.0]}}},
        {"normalization": {"columns": ["a"], "mean": {"AAA": [1.0]}, "std": {"BBB": [1.0]}}},
        {"normalization": {"columns": ["a"], "mean": {"AAA": [1.0]}, "std": {"AAA": [math.nan]}}},
        *({"preprocessing": value} for value in (3, {"colour": 1}, {"recomputed": 3}, {"split_by": "weeks"})),
        *({"preprocessing": {"min_return": value}} for value in ("small", math.nan, None)),
    ],
    ids=repr,
)
def test_settings_that_are_not_settings_are_one_sentence(model, tmp_path, changes):
    content = {"model_state_dict": model.state_dict(), "nhead": 2, "dataset_settings": settings_with(changes)}
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a\.pt|label_mode") as error:
        load_checkpoint(tmp_path / "a.pt")
    assert "\n" not in str(error.value)


def test_a_deeply_nested_meta(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "a.pt")
    (tmp_path / "a.pt.meta").write_text("[" * 4000)
    with pytest.raises(ValueError, match=r"a\.pt\.meta (is not JSON|has)"):
        load_checkpoint(tmp_path / "a.pt")
