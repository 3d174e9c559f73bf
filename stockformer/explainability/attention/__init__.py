"""Attention: capture, what it carries, its statistics, and what changing it does."""
