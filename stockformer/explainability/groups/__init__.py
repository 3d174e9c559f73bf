"""Comparison of groups of windows."""
