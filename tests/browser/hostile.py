"""A session whose names would run as a script if they were taken for HTML; kernels of the tests import it too."""

from __future__ import annotations

from stockformer.dataset import StockDataset
from stockformer.sample import load_sample, sample_table
from stockformer_widgets import ExtractorSession

EVIL = "</script><img src=x onerror=document.title='hacked'>"
#: Days of a window: half of what the model was trained on, since an exported page has charts for each.
DAYS = 12


def hostile_session() -> ExtractorSession:
    """A shipped model on short windows of the sample, with hostile names for its ticker and features."""
    dataset, model = load_sample("volatility")
    table = sample_table()
    table = table[table["symbol"] == "AAPL"].assign(symbol=EVIL)
    dataset = StockDataset(table, **dataset.settings | {"normalization": None, "lookback": DAYS})
    columns = (dataset.feature_cols, dataset.market_feature_cols)
    names = [[f"{EVIL}{name}" for name in inputs] for inputs in columns]
    return ExtractorSession(model, dataset=dataset, index=dataset.index_of("2008-10-15", EVIL), feature_names=names)
