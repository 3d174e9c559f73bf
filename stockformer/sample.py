"""Real market data and two models trained on it, shipped with the package."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from pathlib import Path

import pandas as pd
from torch import nn

from stockformer.checkpoint import load_checkpoint
from stockformer.dataset import StockDataset
from stockformer.files import check_writable, write_whole
from stockformer.fingerprint import fingerprint
from stockformer.model import PooledTransformer

_DATA = files("stockformer") / "sample_data"
#: File of each shipped model.
MODELS = {"direction": "binary_3d_best.pt", "volatility": "volatility_10d_best.pt"}
#: How many numbers the weights of each model are that `sample_faithfulness` is about, and their fingerprint.
_MEASURED = {
    195_990: ("direction", "7a6e7b6da0da5f6d4d6cb8c536540d587d1848c26ee6a33b9c4db1b92a85017d"),
    16_989: ("volatility", "69934bc3abfbec861c036ffe28a92b2898fb1982477e5314c251564c2ef98394"),
}


def load_sample(name: str = "direction") -> tuple[StockDataset, PooledTransformer]:
    """The shipped windows and one of the shipped models, ready for an explorer.

    Four technology stocks, 2006-02 to 2013-03, windows of 60 days. `stockformer/sample_data/README.md`
    has sources, stand-ins and scores.

    Args:
        name: ``direction`` predicts whether the close is higher three days later, and has no skill; ``volatility``
            predicts how volatile the next ten days are, and has some.

    Raises:
        ValueError: there is no such model.

    Example:
        >>> dataset, model = load_sample("volatility")
        >>> x, y, market_x = dataset[dataset.index_of("2008-10-15", "AAPL")]
    """
    if name not in MODELS:
        raise ValueError(f"there is no shipped model {name!r}, expected {' or '.join(map(repr, MODELS))}")
    with as_file(_DATA / MODELS[name]) as path:
        model, info = load_checkpoint(path)
    return StockDataset(sample_table(), **info.dataset_settings), model


def sample_table() -> pd.DataFrame:
    """The shipped rows, in the form of a user's CSV: one row per ticker and day."""
    with as_file(_DATA / "stocks.csv.xz") as path:
        return pd.read_csv(path)


def sample_faithfulness(unit: str, name: str = "direction", removal: str = "training mean") -> pd.DataFrame:
    """Faithfulness of explanations of a shipped model, in the form of `Faithfulness.table`.

    Measured on 64 windows by ``make faithfulness``; `docs/faithfulness.md` says how.

    Args:
        unit: ``cell`` for features by day, or ``day``.
        name: of the model, as in `load_sample`.
        removal: what replaces the cells that are taken out, ``training mean`` or ``other windows``.
    """
    table = _faithfulness()
    rows = (table["unit"] == unit) & (table["model"] == name) & (table["removal"] == removal)
    return table[rows].drop(columns=["unit", "model", "removal"]).reset_index(drop=True)


@cache
def _faithfulness() -> pd.DataFrame:
    with as_file(_DATA / "faithfulness.csv") as path:
        return pd.read_csv(path).fillna({"verdict": ""})


def shipped_name(model: nn.Module) -> str | None:
    """The shipped model whose weights a model has, which `sample_faithfulness` is about; None for others."""
    size = sum(values.numel() for values in model.state_dict().values())
    if size not in _MEASURED:  # a fingerprint reads every weight, which takes seconds for a large model
        return None
    name, expected = _MEASURED[size]
    return name if fingerprint(model) == expected else None


def write_sample(root: str | Path = ".", *, overwrite: bool = True) -> list[Path]:
    """Write the sample as files that a user would have, under `root`.

    ``data/all_data_{TICKER}.csv``, and ``binary_3d_best.pt`` and ``volatility_10d_best.pt`` with their ``.meta`` in
    ``stockformer/output/models``.

    Raises:
        FileExistsError: a file would be replaced, and `overwrite` is False.
    """
    data, models = Path(root) / "data", Path(root) / "stockformer" / "output" / "models"
    files = {
        data / f"all_data_{ticker}.csv": rows.to_csv(index=False).encode()
        for ticker, rows in sample_table().groupby("symbol")
    }
    names = [file for checkpoint in MODELS.values() for file in (checkpoint, f"{checkpoint}.meta")]
    files |= {models / name: (_DATA / name).read_bytes() for name in names}
    check_writable(files, make_folders=True, overwrite=overwrite)
    for folder in (data, models):
        folder.mkdir(parents=True, exist_ok=True)
    write_whole(files)
    return list(files)
