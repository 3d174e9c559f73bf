"""Train the shipped volatility model: ``python -m stockformer.sample_data.volatility``.

It takes a minute or two, and writes the figures at the end of the model's card, `volatility.md` beside this file.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from stockformer.checkpoint import save_checkpoint
from stockformer.dataset import StockDataset
from stockformer.features import PRICE_COLUMNS, add_derived_features
from stockformer.model import PooledTransformer
from stockformer.outputs import analyze_output_distribution
from stockformer.preprocessing import TRAINED_HERE
from stockformer.sample import MODELS, sample_table
from stockformer.training import fit, temporal_split
from stockformer.uncertainty.dependence import FEWEST_BLOCKS, block_length

VOLATILITIES = ("range_volatility_1d", "range_volatility_5d", "range_volatility_22d")
STOCK = ("close_1d_roc", *VOLATILITIES)
MARKET = ("spy_ret_1d", "spy_vol_5d")
LOOKBACK = 22
SIZE: dict[str, Any] = {"d_model": 16, "nhead": 4, "num_layers": 2, "dim_feedforward": 32, "market_layers": 1}
TRAINING: dict[str, Any] = {"epochs": 12, "patience": 3}


#: What linear regression forecasts volatility from: the last day, week and month.
LINEAR = {
    "HAR": ("range_volatility_1d", "past_volatility_5d", "past_volatility_22d"),
    "HAR of ranges": VOLATILITIES,
}
BASELINES = ("training mean", "persistence", *LINEAR)

CARD = Path(__file__).with_name("volatility.md")
_MARK = "<!-- written by python -m stockformer.sample_data.volatility -->"


def main() -> None:
    dataset = volatility_dataset()
    result = fit(dataset, SIZE, **TRAINING)
    save_checkpoint(CARD.with_name(MODELS["volatility"]), result.model, dataset.settings, result.metrics)
    print(result.history.to_string(index=False))
    print(report := figures(evaluated(result.model, dataset)))
    head, mark, _ = CARD.read_text(encoding="utf-8").partition(_MARK)
    CARD.write_text(f"{head}{mark}\n\n{report}", encoding="utf-8")


def volatility_dataset() -> StockDataset:
    """The windows that the model is trained on; levels of volatility are raw, as they tell one ticker from another."""
    return StockDataset(
        sample_table(),
        feature_cols=STOCK,
        market_feature_cols=MARKET,
        target_col="volatility_10d",
        lookback=LOOKBACK,
        label_mode="regression",
        preprocessing=replace(TRAINED_HERE, raw=VOLATILITIES),
    )


def baselines(dataset: StockDataset) -> pd.DataFrame:
    """Forecasts that a model of volatility has to beat: one row per window, one column for each of `BASELINES`.

    The mean of the training windows' targets; the same volatility over as many days before (persistence); and least
    squares on past volatilities, the heterogeneous autoregressive model (Corsi 2009), fitted to the training windows
    of all tickers. The first days of a table have no forecast.
    """
    rows = dataset.prices[["date", *PRICE_COLUMNS]].assign(symbol=dataset.tickers)
    same = f"past_volatility_{dataset.horizon}d"
    columns = list(dict.fromkeys([same, *(name for names in LINEAR.values() for name in names)]))
    past = add_derived_features(rows, columns).iloc[dataset.ends].reset_index(drop=True)
    truth, train = dataset.target_values[dataset.ends], temporal_split(dataset).train
    mean = truth[train].mean()
    train = train[past.notna().all(axis=1).iloc[train]]  # a month of returns needs the day before it
    forecasts = {"training mean": np.full(len(dataset), mean), "persistence": past[same].to_numpy()}
    for name, regressors in LINEAR.items():
        inputs = np.column_stack([np.ones(len(past)), past[list(regressors)]])
        forecasts[name] = inputs @ np.linalg.lstsq(inputs[train], truth[train])[0]
    return pd.DataFrame(forecasts)


def evaluated(model: PooledTransformer, dataset: StockDataset) -> pd.DataFrame:
    """One row per window of validation and test: ``part``, ``date``, ``truth``, ``model`` and `BASELINES`."""
    split = temporal_split(dataset)
    indices = np.r_[split.validation, split.test]
    outputs = analyze_output_distribution(model, dataset, indices.tolist(), progress=False)
    windows = pd.DataFrame(
        {
            "part": np.repeat(["validation", "test"], [len(split.validation), len(split.test)]),
            "date": dataset.end_dates[indices],
            "truth": dataset.target_values[dataset.ends][indices],
            "model": outputs.outputs.double().numpy(),
        }
    )
    return windows.join(baselines(dataset).loc[indices].reset_index(drop=True))


def r_squared(windows: pd.DataFrame, baseline: str, forecast: str = "model") -> float:
    """Out-of-sample R2 (Campbell and Thompson 2008): 1 - squared errors of a forecast / those of a baseline."""
    errors, of_baseline = (float(((windows[name] - windows["truth"]) ** 2).sum()) for name in (forecast, baseline))
    return 1 - errors / of_baseline


def interval(
    windows: pd.DataFrame, baseline: str, forecast: str = "model", *, horizon: int = 10, resamples: int = 4000
) -> tuple[float, float]:
    """95 % interval of `r_squared`: quantiles of a circular block bootstrap of days (Politis and Romano 1992).

    All tickers of a day stay together. A block is as long as the daily errors depend on each other, see
    `block_length`, but at least `horizon`, over which targets overlap, and at most a fifth of the days.

    Returns:
        NaN for both where the days hold fewer than `FEWEST_BLOCKS` times `horizon`.
    """
    squares = pd.DataFrame({name: (windows[name] - windows["truth"]) ** 2 for name in (forecast, baseline)})
    daily = squares.groupby(windows["date"].to_numpy()).sum().to_numpy()
    ratio = daily[:, 0].sum() / daily[:, 1].sum()
    days = len(daily)
    if days < FEWEST_BLOCKS * horizon:
        return np.nan, np.nan
    block = int(np.clip(np.ceil(block_length(daily @ [1, -ratio])), horizon, days // FEWEST_BLOCKS))
    starts = np.random.default_rng(0).integers(days, size=(resamples, -(-days // block), 1))
    drawn = ((starts + np.arange(block)) % days).reshape(resamples, -1)[:, :days]
    sums = daily[drawn].sum(axis=1)
    low, high = np.quantile(1 - sums[:, 0] / sums[:, 1], [0.025, 0.975])
    return float(low), float(high)


def figures(windows: pd.DataFrame) -> str:
    """What the card says of the model's errors, in Markdown.

    Args:
        windows: as `evaluated` makes them.
    """
    test = windows[windows["part"] == "test"]
    parts = {"validation": windows[windows["part"] == "validation"], "test": test}
    parts |= {f"test, {year}": part for year, part in test.groupby(test["date"].dt.year)}
    alone, against = ["| R2, out of sample |", "| --- |", "| windows |"], ["| R2 of the model |", "| --- |"]
    alone += [f"| {name} |" for name in ("model", *BASELINES[1:])]
    against += [f"| against {name} |" for name in BASELINES]
    for name, part in parts.items():
        numbers = [f"{r_squared(part, 'training mean', forecast):.3f}" for forecast in ("model", *BASELINES[1:])]
        alone = [f"{row} {cell} |" for row, cell in zip(alone, [name, "---:", len(part), *numbers], strict=True)]
        numbers = [_with_interval(part, baseline) for baseline in BASELINES]
        against = [f"{row} {cell} |" for row, cell in zip(against, [name, "---:", *numbers], strict=True)]
    return "\n\n".join([f"**{_verdict(test)}**", "\n".join(alone), "\n".join(against)]) + "\n"


def _verdict(test: pd.DataFrame) -> str:
    """Whether the model beats each baseline in the test period, as the intervals say."""
    clauses = []
    for name in BASELINES[1:]:
        low, high = interval(test, name)
        verb = "beats" if low > 0 else "is beaten by" if high < 0 else "is not distinguishable from"
        clauses.append(f"{verb} {name} (R2 against it {r_squared(test, name):.2f}, {low:.2f} to {high:.2f})")
    return f"In the test period the model {', '.join(clauses)}."


def _with_interval(windows: pd.DataFrame, baseline: str) -> str:
    low, high = interval(windows, baseline)
    number = f"{r_squared(windows, baseline):.3f}"
    return number if np.isnan(low) else f"{number} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main()
