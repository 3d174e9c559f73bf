"""Numbers of a survey as people write them."""

from __future__ import annotations

#: Columns in the unit of what is predicted. Every other number of a window is a share, a return or a volatility.
_OF_THE_TARGET = frozenset({"outcome", "label", "prediction", "score", "error", "value"})


def in_percent(column: str) -> bool:
    """Whether the numbers of a column are written in percent."""
    return column not in _OF_THE_TARGET


def number_words(column: str, value: float) -> str:
    """A number of a column with three digits."""
    number = f"{100 * value if in_percent(column) else value:#.3g}".removesuffix(".")
    return f"{number} %" if in_percent(column) else number
