"""Intervals and tests for days that depend on each other."""
