"""How often the intervals of the volatility model's card hold the truth: ``python benchmarks/volatility_intervals.py``.

Simulated errors of two forecasts over ten days, of four tickers that share half of their shocks, on as many days as
the test period has. It takes a minute on an idle core.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from stockformer.sample_data.volatility import interval, r_squared

DAYS, HORIZON, TICKERS, DRAWS = 257, 10, 4, 200
_WARM_UP = 300


def main() -> None:
    rng = np.random.default_rng(1)
    print("| persistence of the shocks | intervals that hold the truth |\n| --- | ---: |")
    for persistence in (0.0, 0.5, 0.9):
        truth = r_squared(draw(rng, 60_000, persistence), "base")
        intervals = (interval(draw(rng, DAYS, persistence), "base", resamples=500) for _ in range(DRAWS))
        held = np.mean([low <= truth <= high for low, high in intervals])
        print(f"| {persistence} | {held:.1%} |", flush=True)


def draw(rng: np.random.Generator, days: int, persistence: float) -> pd.DataFrame:
    """Windows as `r_squared` takes them; half of the base's errors are the model's."""
    model, other = _errors(rng, days, persistence), _errors(rng, days, persistence)
    errors = {"model": model.ravel(), "base": (0.7 * model + 0.9 * other).ravel()}
    return pd.DataFrame({"date": np.tile(np.arange(days), TICKERS), "truth": 0.0} | errors)


def _errors(rng: np.random.Generator, days: int, persistence: float) -> np.ndarray:
    """Sums over ten days of autoregressive shocks: [tickers, days]."""
    shocks = rng.normal(size=(TICKERS + 1, days + _WARM_UP))
    for day in range(1, days + _WARM_UP):
        shocks[:, day] += persistence * shocks[:, day - 1]
    sums = np.cumsum(shocks[1:] + shocks[0], axis=1)
    return (sums[:, HORIZON:] - sums[:, :-HORIZON])[:, -days:]


if __name__ == "__main__":
    main()
