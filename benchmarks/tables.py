"""What the reports are made of."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as a Markdown table; the first column is words, the others are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def ms(seconds: Sequence[float]) -> str:
    """The median of durations in milliseconds."""
    value = 1000 * median(seconds)
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def against_aim(what: str, ratio: float, aim: float) -> str:
    """A list item that says whether a ratio is within its aim, and by how much not."""
    verdict = "met" if ratio <= aim else f"missed, {ratio / aim:.1f} times the aim"
    return f"- {what}: {ratio:.2f}, aim {aim:.2f}: {verdict}."
