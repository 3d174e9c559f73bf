"""Names that are part of the file format, and default hyperparameters."""

from __future__ import annotations

from typing import Any

#: Stock features in the order of a checkpoint's ``input_proj.weight`` columns.
BASE_FEATURE_COLUMNS: list[str] = [
    "volume_pct",
    "close_1d_roc",
    "close_3d_roc",
    "close_10d_roc",
    "close_5d_vol",
    "vol_3d_mean",
    "vol_10d_mean",
    "sma_20_pct",
    "sma_50_pct",
    "sma_200_pct",
    "rsi_14",
    "adx_14",
    "cci_14",
    "52_week_high_pct",
    "52_week_low_pct",
    "high_pct",
    "low_pct",
    "open_pct",
    "adjusted_close_pct",
    "macd_signal",
    "rsi_signal",
    "adx_signal",
    "atr_signal",
    "cci_signal",
    "bollinger_bands_signal",
    "sma_cross_signal",
    "pe_ratio_signal",
    "bull_bear_delta",
    "pe_ratio",
    "forward_pe",
    "beta",
    "dividend_yield",
    "price_to_book_ratio",
    "surprise_percentage",
    "analyst_rating_strong_buy",
    "analyst_rating_buy",
    "analyst_rating_hold",
    "analyst_rating_sell",
    "analyst_rating_strong_sell",
    "day_of_week_num",
    "month",
]

#: Market features in the order of ``market_encoder.input_proj.weight`` columns.
MARKET_FEATURE_COLUMNS: list[str] = [
    "spy_ret_1d",
    "spy_ret_5d",
    "spy_vol_5d",
    "sector_etf_ret_1d",
    "sector_etf_ret_5d",
    "sector_etf_vol_5d",
    "sector_rel_ret_1d",
    "treasury_yield_10year",
    "treasury_yield_2year",
    "unemployment",
    "nonfarm_payroll",
]

#: Features of an encoder-only model without a market stream: all of the above, the market's in another order.
ENCODER_FEATURE_COLUMNS: list[str] = [
    *BASE_FEATURE_COLUMNS,
    "treasury_yield_10year",
    "treasury_yield_2year",
    "unemployment",
    "nonfarm_payroll",
    "sector_etf_ret_1d",
    "sector_etf_ret_5d",
    "sector_etf_vol_5d",
    "sector_rel_ret_1d",
    "spy_ret_1d",
    "spy_ret_5d",
    "spy_vol_5d",
]

#: Stock features that no price, volume or market series yields: they need
#: fundamentals, analysts or option data.
FUNDAMENTAL_FEATURE_COLUMNS: list[str] = [
    "pe_ratio_signal",
    "bull_bear_delta",
    "pe_ratio",
    "forward_pe",
    "price_to_book_ratio",
    "surprise_percentage",
    "analyst_rating_strong_buy",
    "analyst_rating_buy",
    "analyst_rating_hold",
    "analyst_rating_sell",
    "analyst_rating_strong_sell",
]

#: Trading days in one input window.
LOOKBACK = 60

#: What `create_model` assumes for keys that its ``cfg`` leaves out.
DEFAULT_MODEL_CONFIG: dict[str, Any] = {
    "d_model": 48,
    "nhead": 8,
    "num_layers": 4,
    "dim_feedforward": 96,
    "dropout": 0.1,
    "market_layers": 2,
    "market_feature_dim": len(MARKET_FEATURE_COLUMNS),
    "layer_drop": 0.0,
    "loss_name": None,
    "max_len": 200,
}
