"""Whether a model is right as often as its confidence says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from torch import Tensor
from torch.nn import functional as F

from stockformer.uncertainty.dependence import block_length, cosine_sums

BINNINGS = ("equal_width", "equal_mass")


@dataclass(frozen=True)
class Calibration:
    """How far confidence and accuracy are apart.

    Attributes:
        bins: one row per bin that holds samples: ``lower, upper`` edge, mean
            ``confidence``, ``accuracy``, ``count``.
        ece: expected calibration error (Naeini et al. 2015), the count-weighted
            mean of |accuracy - confidence|. Chance makes it larger than the true one.
        ece_corrected: `ece` less what chance adds, estimated by how much further added noise raises it
            (bootstrap bias, Kumar, Liang and Ma 2019), at least 0; for a calibrated model
            about half of what chance adds remains.
        ece_interval: 95 % interval of the true error; NaN if there are too few days.
        brier: mean over samples of ``sum_k (p_k - [label = k])^2`` (Brier 1950), 0..2.
    """

    bins: pd.DataFrame
    ece: float
    ece_corrected: float
    ece_interval: tuple[float, float]
    brier: float

    def to_frame(self) -> pd.DataFrame:
        """The reliability curve, one row per bin."""
        return self.bins


def calibrate(
    probabilities: Tensor,
    labels: Tensor,
    *,
    predictions: Tensor | None = None,
    days: Sequence[object] | np.ndarray | pd.Index | None = None,
    bins: int = 10,
    binning: str = "equal_width",
    resamples: int = 1000,
    seed: int = 0,
) -> Calibration:
    """Compare the confidence in the predicted class with how often it is right.

    Samples of the same day and of nearby days are not independent, so the noise of
    the bins comes from daily sums over all samples, see `cosine_sums`. The sum of its
    magnitudes over the bins bounds how far the measured error can be from the true one, whatever that is:
    the interval is the error -/+ the 95 % quantile of that sum. It held the
    true error in 94 to 100 % of simulated data sets, see docs/statistics.md.

    Args:
        probabilities: [n, K].
        labels: [n], class numbers.
        predictions: [n], class numbers, such as `OutputDistribution.predictions`; by default the most probable
            class, which a CORAL model need not predict.
        days: days of the samples, [n], such as `OutputDistribution.dates`; by default each sample has a day of
            its own, in their order.
        binning: ``equal_width`` bins of 0..1, or ``equal_mass`` bins with equal numbers of samples.
        resamples: number of draws of the noise.
        seed: seed of these draws.

    Raises:
        ValueError: an unknown binning, or not one label and day per sample.
    """
    if binning not in BINNINGS:
        raise ValueError(f"binning is {binning!r}, expected one of {', '.join(BINNINGS)}")
    if probabilities.dim() != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(
            f"expected probabilities [n, K] and labels [n], found {list(probabilities.shape)} and {list(labels.shape)}"
        )
    day = np.arange(len(labels)) if days is None else np.unique(np.asarray(days), return_inverse=True)[1]
    if day.shape != (len(labels),):
        raise ValueError(f"expected one day for each of {len(labels)} samples, found {list(day.shape)}")
    predicted = probabilities.argmax(dim=-1) if predictions is None else predictions.long()
    confidence = probabilities.double().gather(1, predicted.unsqueeze(1)).squeeze(1).numpy()
    correct = (predicted == labels).numpy()
    edges = _edges(confidence, bins, binning)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, len(edges) - 2)
    grouped = pd.DataFrame({"bin": place, "confidence": confidence, "accuracy": correct.astype(float)}).groupby("bin")
    curve = grouped.mean().assign(count=grouped.size()).reset_index(names="bin")
    curve.insert(0, "lower", edges[curve["bin"]])
    curve.insert(1, "upper", edges[curve["bin"] + 1])
    daily = np.zeros((day.max() + 1, len(edges) - 1))  # contribution of each day to the gap of each bin
    np.add.at(daily, (day, place), (correct - confidence) / len(correct))
    gaps = daily.sum(axis=0)
    error = float(np.abs(gaps).sum())
    noise = _noise(daily, resamples, np.random.default_rng(seed))
    corrected, low, high = np.nan, np.nan, np.nan
    if len(noise):
        corrected = max(0.0, 2 * error - float(np.abs(gaps + noise).sum(axis=1).mean()))
        bound = float(np.quantile(np.abs(noise).sum(axis=1), 0.95))
        low, high = max(0.0, error - bound), error + bound
    truth = F.one_hot(labels.long(), probabilities.size(1))
    return Calibration(
        bins=curve.drop(columns="bin"),
        ece=error,
        ece_corrected=corrected,
        ece_interval=(low, high),
        brier=float((probabilities - truth).square().sum(dim=-1).mean()),
    )


def _edges(confidence: np.ndarray, bins: int, binning: str) -> np.ndarray:
    if binning == "equal_width":
        return np.linspace(0, 1, bins + 1)
    edges = np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)))
    return edges if len(edges) > 1 else np.repeat(edges, 2)


def _noise(daily: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Draws of the error of the sums over days, a multivariate t: [draws, bins]; none if there are too few days."""
    spread = daily.var(axis=0)
    if not spread.any():
        return np.zeros((draws, daily.shape[1]))
    block = float(np.average([block_length(column) for column in daily.T], weights=spread))
    sums = cosine_sums(daily, block)
    cosines = len(sums)
    if not cosines:
        return np.empty((0, daily.shape[1]))
    normal = rng.normal(size=(draws, cosines)) @ sums / np.sqrt(cosines)
    noise: np.ndarray = normal * np.sqrt(cosines / rng.chisquare(cosines, size=(draws, 1)))
    return noise
