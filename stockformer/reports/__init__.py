"""Explanations written as files."""
