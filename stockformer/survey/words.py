"""Columns of a survey and their numbers as people write them."""

from __future__ import annotations

from stockformer.explainability.sentences.summary import share_words

#: Columns that hold values of a regression's target.
VALUES = ("outcome", "label", "prediction", "score", "value")


def named(column: str) -> str:
    """A column in words."""
    # Predicted volatilities are per year.
    return "volatility per day" if column == "volatility" else column.replace("_", " ")


def in_percent(column: str) -> bool:
    """Whether the numbers of a column are written in percent: shares, returns and volatilities.

    The others are in the unit of what is predicted.
    """
    return column not in (*VALUES, "error")


def number_words(column: str, value: float) -> str:
    """A number of a column with three digits."""
    return share_words(value) if in_percent(column) else f"{value:#.3g}".removesuffix(".")
