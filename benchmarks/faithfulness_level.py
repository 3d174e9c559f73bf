"""How often a verdict on a ranking is wrong, and how often an interval holds the truth, on simulated panels.

The windows of a panel share days, its tickers share a market, and both have persistent volatility. The model is linear
with random weights, so that curves are sums of its parts. `docs/faithfulness.md` has the figures.

    python benchmarks/faithfulness_level.py [panels]
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from stockformer.explainability.faithfulness.blocks import RatioTest, ratio_test
from stockformer.explainability.faithfulness.result import FRACTIONS, faithfulness_table

LOOKBACK, TICKERS, FEATURES, WINDOWS, PAIRS = 20, 4, 5, 64, 100
COARSE = (0.0, 0.2, 0.5, 0.8, 1.0)
DRAWS, TOGETHER = 4, 10  # other windows per window, and pairs of random orders that are read with one of them


def windows(days: int, number: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Windows spread over a panel, [number, cells], others of the same tickers, [draws, number, cells], and the day
    that each ends on."""
    market, own = (persistent(rng.normal(size=(days, *shape, FEATURES))) for shape in ((1,), (TICKERS,)))
    volatility = np.exp(persistent(rng.normal(size=(days, 1, 1)), 0.97))
    panel = volatility * (market + own)
    length = days - LOOKBACK + 1
    places = np.linspace(0, TICKERS * length - 1, number).round().astype(int)
    tickers, starts = places // length, places % length
    drawn = (starts + rng.integers(1, length, size=(DRAWS, number))) % length  # never the window itself
    cells = panel[starts[:, None] + np.arange(LOOKBACK), tickers[:, None]].reshape(number, -1)
    others = panel[drawn[..., None] + np.arange(LOOKBACK), tickers[:, None]].reshape(DRAWS, number, -1)
    return cells, others, starts


def persistent(noise: np.ndarray, by: float = 0.9) -> np.ndarray:
    """Autoregression over days, of variance 1."""
    values = noise.copy()
    for day in range(1, len(noise)):
        values[day] = by * values[day - 1] + np.sqrt(1 - by**2) * noise[day]
    return values


def blocks(starts: np.ndarray, days: int) -> np.ndarray:
    """As `calendar_blocks`."""
    length = days - LOOKBACK + 1
    return starts * int(np.clip(length // (2 * LOOKBACK), 1, 16)) // length


def curves(parts: np.ndarray, orders: np.ndarray, fractions: tuple[float, ...]) -> np.ndarray:
    """Deletion and insertion of a linear model, parts and orders [..., cells] -> [..., 2, fractions]."""
    ranked = np.take_along_axis(np.broadcast_to(parts, orders.shape), orders, axis=-1)
    sums = np.concatenate([np.zeros((*ranked.shape[:-1], 1)), ranked.cumsum(axis=-1)], axis=-1)
    inserted = sums[..., [round(fraction * parts.shape[-1]) for fraction in fractions]]
    return np.stack([sums[..., -1:] - inserted, inserted], axis=-2)


def by(scores: np.ndarray) -> np.ndarray:
    """Orders of scores, the largest first."""
    return np.argsort(-scores, axis=-1)


def measured(
    parts: np.ndarray, rankings: dict[str, np.ndarray], groups: np.ndarray, rng: np.random.Generator
) -> pd.DataFrame:
    """The table of rankings, name -> scores [windows, cells], with the verdicts of each alone.

    Args:
        parts: what each cell adds to the target, by what is put in its place, [draws, windows, cells].
    """
    orders = by(rng.random((PAIRS, 1, parts.shape[2])))
    draw = np.arange(PAIRS) // TOGETHER % len(parts)
    forwards = curves(parts[draw], orders.repeat(parts.shape[1], 1), COARSE).swapaxes(0, 1)  # [windows, pairs, ...]
    random = np.concatenate([forwards, forwards[:, :, ::-1, ::-1]], axis=1)
    mean, reference = parts.mean(axis=0), rankings["|input|"]
    tables = [
        faithfulness_table(
            {
                one: curves(mean, by(scores), FRACTIONS)
                for one, scores in ((name, rankings[name]), ("|input|", reference))
            },
            random,
            mean.sum(axis=1),
            groups,
        )
        for name in rankings
        if name != "|input|"
    ]
    return pd.concat(tables).set_index("ranking").drop("|input|").drop("random")


def nulls(days: int, rng: np.random.Generator) -> dict[str, pd.DataFrame]:
    """Verdicts on rankings that are no better than a reference, by what is put in the place of what is taken out."""
    cells, others, starts = windows(days, WINDOWS, rng)
    weights = rng.normal(size=(2, cells.shape[1]))
    noise = np.exp(rng.normal(size=(2, *cells.shape)))
    tables = {}
    for removal, values in (("training mean", np.zeros((1, *cells.shape))), ("other windows", others)):
        parts = (cells - values) * weights[0]
        signs = np.sign(parts.mean(axis=0).sum(axis=1, keepdims=True))
        rankings = {
            "random in every window": rng.random(cells.shape),
            "one random order": rng.random((1, cells.shape[1])).repeat(len(cells), 0),
            "gradient x input of another random model": signs * cells * weights[1],
            "as good as |input|": np.abs(cells) * noise[0],
            "|input|": np.abs(cells) * noise[1],
        }
        tables[removal] = measured(signs * parts, rankings, blocks(starts, days), rng)
    return tables


def interval(
    days: int, weights: np.ndarray, number: int, rng: np.random.Generator, removal: str
) -> tuple[float, RatioTest]:
    """The gap of a noisy version of the truth, and its interval."""
    cells, others, starts = windows(days, number, rng)
    parts = cells * weights if removal == "training mean" else ((cells - others) * weights).mean(axis=0)
    parts *= np.sign(parts.sum(axis=1, keepdims=True))
    each = curves(parts, by(parts + 2 * parts.std() * rng.normal(size=parts.shape)), FRACTIONS)
    areas = np.trapezoid(each, FRACTIONS, axis=-1)
    gap, scale = areas[:, 1] - areas[:, 0], parts.sum(axis=1)
    return gap.sum() / scale.sum(), ratio_test(gap, scale, blocks(starts, days))


def main(panels: int) -> None:
    for lookbacks in (8, 30):
        days, rng = lookbacks * LOOKBACK, np.random.default_rng(lookbacks)
        tables = [nulls(days, rng) for _ in range(panels)]
        for removal in tables[0]:
            verdicts = pd.concat([each[removal] for each in tables])["verdict"].groupby(level=0, sort=False)
            shares = pd.DataFrame(
                {
                    "better than anything": verdicts.agg(lambda each: each.str.startswith("better").mean()),
                    "better than input size": verdicts.agg(lambda each: (each == "better than input size").mean()),
                }
            )
            print(f"{lookbacks} lookbacks, {panels} panels, {removal}: share of panels by verdict on a ranking")
            print(shares.to_string(float_format="{:.1%}".format), flush=True)
            weights = rng.normal(size=LOOKBACK * FEATURES)
            truth = interval(1000 * LOOKBACK, weights, 20000, rng, removal)[0]
            tests = [interval(days, weights, WINDOWS, rng, removal)[1] for _ in range(panels)]
            covered = np.mean([test.low <= truth <= test.high for test in tests])
            print(f"intervals that hold the truth, {truth:.2f}: {covered:.1%}\n", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
