"""A market of five tickers, and a model that reads it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import nn

from stockformer.dataset import StockDataset
from stockformer.model import create_model

STOCK, MARKET = ["f0", "f1", "f2"], ["m0", "m1"]
SIZES = {"d_model": 8, "nhead": 2, "num_layers": 2, "dim_feedforward": 12, "market_layers": 1, "market_feature_dim": 2}


def market(tickers: int = 5, days: int = 90, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2020-01-01", periods=days)
    shared = {name: rng.normal(size=days) for name in MARKET}
    tables = []
    for number in range(tickers):
        close = 100 * np.exp(np.cumsum(rng.normal(0, 0.02, days)))
        prices = dict.fromkeys(("open", "high", "low", "adjusted_close"), close)
        features = {name: rng.normal(size=days) for name in STOCK}
        tables.append(
            pd.DataFrame({"date": dates, "symbol": f"T{number}", **prices, "volume": 1.0, **features, **shared})
        )
    return pd.concat(tables, ignore_index=True)


def make_dataset(label_mode: str = "binary", **options) -> StockDataset:
    edges = [-1.0, 0.0, 1.0] if label_mode == "buckets" else None
    settings = {"lookback": 8, "label_mode": label_mode, "bucket_edges": edges}
    return StockDataset(market(), STOCK, MARKET, **settings | options)


def make_model(label_mode: str = "binary", seed: int = 0, **more) -> nn.Module:
    torch.manual_seed(seed)
    edges = [-1.0, 0.0, 1.0] if label_mode == "buckets" else None
    model = create_model(3, label_mode, edges, SIZES | more, "cross_attention").eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(2.0)
    return model
