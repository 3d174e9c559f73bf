"""Tables in Markdown."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype


def markdown_table(table: pd.DataFrame) -> str:
    """A table without its index; floats with three decimals, NaN as an empty cell."""
    lines = [
        [_text(name) for name in table.columns],
        ["---:" if is_numeric_dtype(table[one]) else "---" for one in table.columns],
    ]
    lines += [[_cell(value) for value in row] for row in table.itertuples(index=False)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return _text(value)
    return "" if np.isnan(value) else f"{value:.3f}" if value else "0"


def _text(value: object) -> str:
    return str(value).replace("|", "\\|")
