"""Sentences about one thing are in the singular, about more in the plural."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pandas as pd
import pytest
import torch

from stockformer.explainability import (
    OutputDistribution,
    head_statistics,
    summarize_days,
    summarize_effects,
    summarize_entry,
    summarize_gate,
    summarize_head_grid,
    summarize_head_importance,
    summarize_heads,
    summarize_layers,
    summarize_map,
    summarize_outputs,
    summarize_pooling,
    summarize_prices,
    summarize_row,
    summarize_saliency,
)

pytestmark = pytest.mark.filterwarnings("error")


ONE_OF_THEM = re.compile(
    r"(?<![\d.,])1 (?:other )?(?!classes|less|samples of)[a-z]+s\b(?<!has)(?<!is)(?<!gets)"  # 1 days
    r"|\bof 1 [a-z]+s\b"  # of 1 days
    r"|\blast 1\b"
    r"|(?<!layer )\b(?:[2-9]|\d\d+) (?:day|step|head|layer|feature|sample)\b"  # 2 day
    r"|(?<![\d.,])1 [a-z]+ (?:have|get|are|do)\b|\b1 of \d+ \w+ (?:have|get|hold|are|do|change)\b"
    r"|(\d\.\d\d) to \1\b(?! of 1, with)"  # 0.50 to 0.50
)


def small_verdicts(rng):
    """Sentences about 1, 2, 3 and 9 of everything."""

    def soft(*shape):
        return torch.softmax(3 * torch.from_numpy(rng.normal(size=shape)).float(), dim=-1)

    for days, some in itertools.product((1, 2, 3, 9), (1, 2, 3)):
        names = [f"2020-01-{day + 1:02d}" for day in range(days)]
        causal = torch.ones(days, days, dtype=torch.bool).triu(1)
        heads, off = soft(some, days, days), soft(some, days, days)
        off[0] = 0.0
        yield summarize_map(soft(some, days), None, names)
        yield summarize_map(soft(days, days).masked_fill(causal, 0.0), causal)
        yield summarize_row(soft(days))
        yield summarize_pooling(soft(days), names)
        yield summarize_gate(torch.from_numpy(rng.random((days, some))))
        for maps in (heads, off):
            yield summarize_heads(maps)
            for layers in ([maps], [maps, soft(some, days, days)], [maps] * some):
                yield summarize_layers(layers)
                if days > 1:
                    yield summarize_head_grid(head_statistics(layers, [None] * len(layers)))
        gates = list(torch.from_numpy(rng.random((some, days, 2))))
        yield summarize_entry([gate.mean(dim=1) for gate in gates], gates)
        yield summarize_entry([gates[0].mean(dim=1)] * some, gates)
        parts = [torch.from_numpy(rng.normal(size=(days, features))) for features in (some, 1)]
        yield summarize_saliency(parts[:1])
        yield summarize_saliency(parts)
        yield summarize_days([part.abs().sum(dim=1) for part in parts])
        table = pd.DataFrame({"kind": "self", "layer": range(some), "head": 0})
        yield summarize_head_importance(table.assign(gradient=1.0, ablation=rng.choice([1.0, 2.0], some)))
        yield summarize_effects(table.assign(flat=rng.choice([1.0, 0.01], some), permuted=0.0), 0.5)
        shares = soft(days, some + 1)
        for labels, dates in ((None, None), (shares.argmin(dim=1), pd.date_range("2020-01-01", periods=days))):
            yield summarize_outputs(OutputDistribution(shares, shares, labels=labels, dates=dates))
        yield summarize_prices(pd.DataFrame({"date": names, "adjusted_close": rng.random(days)}))


def test_one_is_singular_and_more_are_plural():
    rng = np.random.default_rng(60)
    for _ in range(5):
        for summary in small_verdicts(rng):
            assert summary.verdict
            assert not ONE_OF_THEM.search(summary.verdict), summary.verdict
