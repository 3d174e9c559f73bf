"""Reading of sentences: a sentence is read from its start to its end, and what no pattern reads fails.

``SENTENCES=10000`` runs as many cases.
"""

from __future__ import annotations

import os
import re

import pytest

CASES = int(os.environ.get("SENTENCES", "200"))


def says(printed, value):
    """Whether a printed number is a value, rounded."""
    number = float(printed)
    if "e" in printed:
        return number == pytest.approx(value, rel=0.06)
    digits = len(printed.partition(".")[2])
    return abs(number - value) <= 0.5 * 10.0**-digits + 1e-5 * max(1.0, abs(value))


def read(verdict, patterns):
    """Each part of a sentence by the pattern that reads it, in turn: a list of (name, match)."""
    found, rest = [], verdict
    while rest:
        hits = [(name, match) for name, pattern in patterns.items() if (match := re.match(pattern, rest))]
        assert len(hits) == 1, f"{len(hits)} patterns read {rest!r}"
        found += hits
        rest = rest[hits[0][1].end() :].lstrip()
    return found


N = r"(-?[\d.]+(?:e-?\d+)?)"
