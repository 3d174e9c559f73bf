"""Faithfulness as a result: areas under the curves, tests against references, and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from stockformer.explainability.faithfulness.blocks import holm, ratio_test
from stockformer.explainability.faithfulness.rankings import REFERENCES

#: Shares of the input that are moved, over which the areas under the curves are taken.
FRACTIONS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
#: Shares that comprehensiveness and sufficiency are means over (DeYoung et al. 2020).
BINS = (0.01, 0.05, 0.1, 0.2, 0.5)
#: A ranking beats a reference where its corrected p is at most this.
LEVEL = 0.05
#: The verdicts on a ranking; ``BETTER.format(...)`` with one of the values of `REFERENCES`.
BETTER, NO_BETTER, UNMEASURED = "better than {}", "no better than random", "not measurable"
#: What removed cells are replaced by, in the first and in the second measurement.
REMOVALS = ("training mean", "other windows")
#: Shares at which random orders are read, whose curves are smooth; symmetric, as an order and its reverse are read
#: together.
COARSE = (0.0, 0.2, 0.5, 0.8, 1.0)


@dataclass(frozen=True, eq=False)
class Faithfulness:
    """How rankings compare with references that do not explain the prediction.

    The target's distance from its value at the training mean is 1 for the whole
    input and 0 for the mean, over all samples together: a sum over a sum, so that
    samples whose prediction hardly moves do not blow up.

    Attributes:
        table: one row per ranking and reference, the best first: ``ranking``; ``deletion``, the area under the curve
            while what ranks first is moved to the training mean (low is good);
            ``insertion``, the area while it is put back first (high is good);
            ``gap``, insertion - deletion; ``low, high``, the 95 % interval
            of the gap's distance from random's, see `ratio_test`, each by itself, NaN with fewer than two blocks;
            ``p``, of a gap no larger than random's: the share of random orders whose gap is as large, both from
            the five points at which these are read, at least ``1 / (1 + orders)``, or the p-value of `ratio_test`
            where that is larger;
            ``p_holm``, corrected for the number of rankings, see `holm`; ``comprehensiveness`` and
            ``sufficiency``, how far the target falls without what ranks
            first, and with it alone, means over `BINS`; ``verdict``, `BETTER` than the strongest of the references
            that it beats, `NO_BETTER` than random, or `UNMEASURED` where the target is not a number or never
            differs from that of the mean. With the same orders every column but ``p_holm`` and ``verdict`` is
            the same whichever other rankings are measured.
        curves: ``ranking, kind, fraction, value, low, high``; kind is ``deletion`` or
            ``insertion``. ``low`` and ``high`` are of the random orders, the middle 90 %.
        scores: ranking -> the scores of each sample, over the cells or days that can be moved, for the side of
            the training mean that its target is on.
        samples: number of samples.
        unit: ``cell`` or ``day``.
        blocks: number of blocks that the samples are in.
        second: the same with values of other windows in place of the training mean, the mean over the windows
            drawn for each sample; None where there were none.
        note: why there is no second measurement, in a sentence; else empty.
    """

    table: pd.DataFrame
    curves: pd.DataFrame
    scores: Mapping[str, list[np.ndarray]]
    samples: int
    unit: str
    blocks: int
    second: Faithfulness | None = None
    note: str = ""

    @property
    def measured_on(self) -> str:
        """On how many samples, in words."""
        return "this sample" if self.samples == 1 else f"{self.samples} windows"

    def agreement(self) -> pd.DataFrame:
        """Spearman correlation between the rankings, 0 with one that ranks nothing; mean over the samples."""
        by_sample = [
            pd.DataFrame(dict(zip(self.scores, each, strict=True))).corr(method="spearman").fillna(0.0)
            for each in zip(*self.scores.values(), strict=True)
        ]
        mean: pd.DataFrame = sum(by_sample[1:], by_sample[0]) / len(by_sample)
        return mean

    def without(self, rankings: Sequence[str]) -> Faithfulness:
        """The same for the other rankings."""
        table, curves = (part[~part["ranking"].isin(rankings)] for part in (self.table, self.curves))
        scores = {name: each for name, each in self.scores.items() if name not in rankings}
        second = None if self.second is None else self.second.without(rankings)
        table, curves = (part.reset_index(drop=True) for part in (table, curves))
        return replace(self, table=table, curves=curves, scores=scores, second=second)


def faithfulness_verdict(table: pd.DataFrame, ranking: str, second: pd.DataFrame | None = None) -> str:
    """The faithfulness of a ranking of `Faithfulness.table`: a sentence with the areas.

    Args:
        second: the table of the second measurement, with other windows; then a further sentence says whether the two
            agree, which they do where they beat the same reference.

    Raises:
        KeyError: there is no such ranking.
    """
    rows = table.set_index("ranking")
    verdict, name = rows["verdict"][ranking], ranking.replace("_", " ")
    if verdict == UNMEASURED:
        sentence = f"{name} is {UNMEASURED}: {_NOTHING.format('the training mean')}."
    else:
        sentence = (
            f"{name} is {_placed(rows, ranking)}: "
            f"deletion {rows['deletion'][ranking]:.2f} (random {rows['deletion']['random']:.2f}), "
            f"insertion {rows['insertion'][ranking]:.2f} (random {rows['insertion']['random']:.2f}), "
            f"{_gaps(rows, ranking)}."
        )
    if second is None:
        return sentence
    others = second.set_index("ranking")
    other, words = others["verdict"][ranking], _placed(others, ranking)
    agree = "agree" if other == verdict else "disagree"
    numbers = "" if other == UNMEASURED else f", {_gaps(others, ranking)}"
    return f"{sentence} With other windows in place of the training mean it is {words}{numbers}: the two {agree}."


_NOTHING = "the target is not a number, or never differs from that of {}"


def _placed(rows: pd.DataFrame, ranking: str) -> str:
    """A verdict, and whether the gap is below that of random orders."""
    gaps = rows["gap"]
    return f"{rows['verdict'][ranking]}{', and not even as good' if gaps[ranking] < gaps['random'] else ''}"


def _gaps(rows: pd.DataFrame, ranking: str) -> str:
    """The gap of a ranking, and those of the references."""
    gaps = rows["gap"]
    names = [other for other in REFERENCES if other in rows.index and other != ranking]
    others = ", ".join(f"{other} {round(gaps[other], 2) + 0.0:.2f}" for other in names)  # + 0.0: no -0.00
    return f"gap {gaps[ranking]:.2f} ({others})"


def faithfulness_table(
    curves: Mapping[str, np.ndarray], random: np.ndarray, scale: np.ndarray, blocks: np.ndarray
) -> pd.DataFrame:
    """`Faithfulness.table` of curves as the target's distance from its value at the mean.

    Args:
        curves: name -> [samples, 2, fractions].
        random: of random orders, at fewer fractions, [samples, orders, 2, coarse fractions].
        scale: the distance of the whole input, [samples].
        blocks: of the samples, [samples].
    """
    orders = _gap(_over(random, scale), COARSE)  # [orders]
    coarse, bins = ([FRACTIONS.index(one) for one in some] for some in (COARSE, BINS))
    rows = []
    for name, each in {**curves, "random": _on_fractions(random.mean(axis=1))}.items():
        together = _over(each, scale)  # [2, fractions]
        deletion, insertion = _areas(together, FRACTIONS)
        low = high = p = np.nan
        if name != "random" and np.isfinite(together).all():
            low, high, by_block = ratio_test(_gap(each, FRACTIONS), scale, blocks)
            # An order that is the ranking's own is as good, whatever the last bits say.
            by_order = (1 + (orders > _gap(together[:, coarse], COARSE) - 1e-6).sum()) / (1 + len(orders))
            p = np.fmax(by_order, by_block)
        comprehensiveness, sufficiency = 1 - together[:, bins].mean(axis=-1)
        gap = insertion - deletion
        if name == "random" and np.isfinite(gap):
            gap = 0.0  # of orders and their reverses: only rounding is left
        rows.append((name, deletion, insertion, gap, low, high, p, comprehensiveness, sufficiency))
    columns = ["ranking", "deletion", "insertion", "gap", "low", "high", "p", "comprehensiveness", "sufficiency"]
    table = pd.DataFrame(rows, columns=columns)
    table.insert(columns.index("p") + 1, "p_holm", holm(table["p"].to_numpy()))
    gaps = {name: _gap(each, FRACTIONS) for name, each in curves.items()}
    table["verdict"] = table["ranking"].map(_verdicts(table.set_index("ranking"), gaps, scale, blocks))
    return table.sort_values("gap", ascending=False, ignore_index=True)


def _verdicts(
    rows: pd.DataFrame, gaps: Mapping[str, np.ndarray], scale: np.ndarray, blocks: np.ndarray
) -> dict[str, str]:
    """The verdict of every row. References are compared with from the weakest, for as long as they are beaten."""
    verdicts = {str(name): UNMEASURED if np.isnan(p) else NO_BETTER for name, p in rows["p"].items()}
    corrected = rows["p_holm"].to_dict()
    better = [name for name in gaps if corrected[name] <= LEVEL]
    verdicts |= {name: BETTER.format("random") for name in better} | {"random": ""}
    references = rows.loc[rows.index.isin(REFERENCES), "gap"].sort_values()
    for reference in references.index[references > references["random"]]:
        p = [
            np.nan if name == reference else ratio_test(gap - gaps[reference], scale, blocks).p
            for name, gap in gaps.items()
        ]
        corrected = dict(zip(gaps, holm(np.array(p)), strict=True))
        better = [name for name in better if corrected[name] <= LEVEL]
        verdicts |= {name: BETTER.format(REFERENCES[reference]) for name in better}
    return verdicts


def _over(curves: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Curves [samples, ...] of all samples together, as a share; NaN or infinite where there is nothing to share."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean: np.ndarray = curves.sum(axis=0) / scale.sum()
    return mean


def _gap(curves: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """Area of the insertion minus that of the deletion, [..., 2, fractions] -> [...]."""
    areas = _areas(curves, fractions)
    gap: np.ndarray = areas[..., 1] - areas[..., 0]
    return gap


def curve_table(curves: Mapping[str, np.ndarray], random: np.ndarray, scale: np.ndarray) -> pd.DataFrame:
    """`Faithfulness.curves`; arguments as in `faithfulness_table`."""
    orders = _over(random, scale)  # [orders, 2, coarse fractions]
    low, high = _on_fractions(np.quantile(orders, (0.05, 0.95), axis=0))
    tables = []
    for name, each in {**curves, "random": _on_fractions(random.mean(axis=1))}.items():
        together = _over(each, scale)
        for number, kind in enumerate(("deletion", "insertion")):
            band = {"low": low[number], "high": high[number]} if name == "random" else {"low": np.nan, "high": np.nan}
            tables.append(
                pd.DataFrame({"ranking": name, "kind": kind, "fraction": FRACTIONS, "value": together[number], **band})
            )
    return pd.concat(tables, ignore_index=True)


def _areas(curves: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """Areas under curves [..., fractions]."""
    areas: np.ndarray = np.trapezoid(curves, fractions, axis=-1)
    return areas


def _on_fractions(coarse: np.ndarray) -> np.ndarray:
    """Curves [..., coarse fractions] in straight lines between their points: [..., fractions]."""
    linear = np.stack([np.interp(FRACTIONS, COARSE, one) for one in np.eye(len(COARSE))])
    curves: np.ndarray = coarse @ linear
    return curves
