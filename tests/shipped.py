"""The shipped data with each shipped model, loaded once per process; tests leave both as they are."""

from functools import cache

from stockformer.sample import load_sample

shipped_sample = cache(load_sample)
