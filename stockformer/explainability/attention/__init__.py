"""Attention: capture, what it carries, its statistics, and the effects of changing it."""
