"""Statistics of maps whose values are known."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy as scipy_entropy
from scipy.stats import spearmanr

from stockformer.explainability import capture_attention
from stockformer.explainability.attention import statistics

N = 12
IDENTITY = torch.eye(N)
UNIFORM = torch.full((N, N), 1 / N)
COLUMN = torch.zeros(N, N).index_fill(1, torch.tensor([N - 1]), 1.0)
CAUSAL = torch.tril(torch.ones(N, N)) / torch.arange(1, N + 1).unsqueeze(1)
MAPS = {"identity": IDENTITY, "uniform": UNIFORM, "column": COLUMN, "causal": CAUSAL}

MEAN_OFFSET = sum(abs(q - k) for q in range(N) for k in range(N)) / N**2
KNOWN = {
    "entropy": {"identity": 0, "uniform": math.log(N), "column": 0, "causal": math.log(math.factorial(N)) / N},
    "diffuseness": {"identity": 0, "uniform": 1, "column": 0},
    "sparsity": {"identity": 1, "uniform": 0, "column": 1},
    "distance": {"identity": 0, "uniform": MEAN_OFFSET, "column": (N - 1) / 2, "causal": (N - 1) / 4},
    "recency": {"identity": 0.25, "uniform": 0.25, "column": 1},
    "diagonal_share": {
        "identity": 1,
        "uniform": 1 / N,
        "column": 1 / N,
        "causal": sum(1 / i for i in range(1, N + 1)) / N,
    },
    "stripe_share": {"identity": 0, "uniform": 1, "column": 1, "causal": 1 / N},
    "past_share": {"identity": 1, "uniform": (N + 1) / (2 * N), "column": 1 / N, "causal": 1},
    "peak": {"identity": 0, "uniform": 0, "column": N - 1, "causal": 0},
}


@pytest.mark.parametrize(("name", "map_name"), [(name, which) for name, values in KNOWN.items() for which in values])
def test_known_maps(name, map_name):
    value = getattr(statistics, name)(MAPS[map_name])
    assert float(value) == pytest.approx(KNOWN[name][map_name], abs=1e-6)


@pytest.fixture
def random_heads():
    return torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0)).softmax(dim=-1)


@pytest.mark.parametrize("name", [statistic.name for statistic in statistics.MAP_STATISTICS])
def test_leading_dimensions_are_kept(name, random_heads):
    compute = getattr(statistics, name)
    together = compute(random_heads)
    assert together.shape == (2, 3)
    assert float(together[1, 2]) == pytest.approx(float(compute(random_heads[1, 2])))


def test_entropy_is_scipys(random_heads):
    expected = scipy_entropy(random_heads.numpy(), axis=-1)
    np.testing.assert_allclose(statistics.row_entropy(random_heads), expected, rtol=1e-5)
    np.testing.assert_allclose(statistics.entropy(random_heads), expected.mean(axis=-1), rtol=1e-5)


def test_entropy_of_the_mean_head_is_not_the_mean_of_entropies():
    opposite = torch.stack([COLUMN, COLUMN.flip(1)])
    assert float(statistics.entropy(opposite).mean()) == 0
    assert float(statistics.entropy_of_mean_head(opposite)) == pytest.approx(math.log(2))


def test_divergence_is_scipys(random_heads):
    ours = statistics.head_divergence(random_heads)[0]
    for a in range(3):
        for b in range(3):
            distance = jensenshannon(random_heads[0, a].numpy(), random_heads[0, b].numpy(), axis=-1)
            assert float(ours[a, b]) == pytest.approx(float((distance**2).mean()), abs=1e-6)


def test_shares():
    shares = torch.tensor([[0.5, 0.25, 0.25, 0.0], [0.25] * 4])
    assert statistics.effective_number(shares).tolist() == pytest.approx([2**1.5, 4])
    assert statistics.top_share(shares, 2).tolist() == pytest.approx([0.75, 0.5])
    assert statistics.top_share(shares, 9).tolist() == pytest.approx([1, 1])


@pytest.mark.parametrize(("days", "recent"), [(60, 15), (10, 2), (2, 1), (1, 1)])
def test_recent_days(days, recent):
    assert statistics.recent_days(days) == recent


def test_redundancy():
    heads = torch.stack([COLUMN, COLUMN, COLUMN.flip(1)])
    assert statistics.redundancy(heads).tolist() == pytest.approx([1, 1, 0], abs=1e-6)
    assert math.isnan(float(statistics.redundancy(COLUMN[None])[0]))


def test_gates_by_hand():
    gate = torch.tensor([[0.01, 0.5], [0.1, 0.99]])
    found = {one.name: float(one.compute(gate)) for one in statistics.GATE_STATISTICS}
    expected = {"mean": 0.4, "std": gate.numpy().std(), "open_share": 0.25, "saturated_share": 0.5, "day_std": 0.145}
    assert found == pytest.approx(expected)


def test_tables(sample):
    dataset, model = sample
    x, _, market_x = dataset[0]
    shown = capture_attention(model, x[None], market_x[None])
    table = statistics.map_statistics(shown)
    assert len(table) == (4 + 4 + 2) * 8
    row = table.query("kind == 'self' and layer == 2 and head == 5").iloc[0]
    weights = shown.kinds["self"][2][0, 5].numpy()
    assert row["entropy"] == pytest.approx(scipy_entropy(weights, axis=-1).mean(), rel=1e-5)
    assert row["recency"] == pytest.approx(weights[:, 45:].sum(axis=-1).mean(), rel=1e-5)
    gates = statistics.gate_statistics(shown)
    first = next(iter(shown.gates.values()))[0].numpy()
    assert list(gates) == ["layer", "mean", "std", "open_share", "saturated_share", "day_std"]
    assert gates.loc[0, "std"] == pytest.approx(first.std(), rel=1e-4)
    assert gates.loc[0, "saturated_share"] == pytest.approx(((first < 0.05) | (first > 0.95)).mean(), rel=1e-5)
    assert gates.loc[0, "mean"] == pytest.approx(first.mean(), rel=1e-5)
    assert gates.loc[0, "open_share"] == pytest.approx((first > 0.5).mean(), rel=1e-5)
    assert gates.loc[0, "day_std"] == pytest.approx(first.mean(axis=1).std(), rel=1e-4)


def test_spearman_is_scipys():
    one = torch.tensor([3.0, 1.0, 2.0, 2.0, -5.0])
    other = torch.tensor([0.5, 1.5, 1.5, 1.0, 4.0])
    assert statistics.spearman(one, other) == pytest.approx(spearmanr(one, other)[0])
    assert math.isnan(statistics.spearman(one, torch.ones(5)))
