"""The shipped data and direction model, loaded once."""

from __future__ import annotations

from stockformer.sample import load_sample

DATASET, MODEL = load_sample()
