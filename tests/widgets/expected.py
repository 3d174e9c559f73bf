"""What views display, computed from a session in plain numpy."""

from __future__ import annotations

import numpy as np
import torch
from cases import explained, make_session

from stockformer.explainability import choose_target, trace_attention
from stockformer_widgets import ExtractorSession


def cross(session: ExtractorSession, layer: int) -> np.ndarray:
    """[heads, query, key]."""
    return session.reading.capture.attention[f"cross_attn_layers.{layer}.cross_attn"][0].numpy()


def maps_by_kind(session: ExtractorSession) -> dict[str, list[np.ndarray]]:
    paths = {
        "cross": ["cross_attn_layers.0.cross_attn", "cross_attn_layers.1.cross_attn"],
        "self": ["stock_layers.0.self_attn", "stock_layers.1.self_attn"],
        "market": ["market_encoder.encoder.layers.0.self_attn"],
    }
    weights = session.reading.capture.attention
    return {kind: [weights[path][0].numpy() for path in of_kind] for kind, of_kind in paths.items()}


def entropy(maps: np.ndarray) -> np.ndarray:
    return -(maps * np.log(maps)).sum(axis=-1).mean(axis=-1)


def margin(session, **change) -> float:
    """What is explained of the session's sample, with a change of the model."""
    column = session.explanations.explained_column
    with make_session() as other:
        other.what_if(**change)
        output = other.reading.capture.output[0]
    return float(explained(session, output, column))


def traced(session):
    """Of the model itself, not by the session."""
    inputs = session.reading.inputs
    target = choose_target(session.model, session.model(*inputs))
    return trace_attention(session.model, *inputs, target=target)


def gate_of(session, layer: int) -> np.ndarray:
    """[T, d]."""
    return session.reading.capture.gates[f"cross_attn_layers.{layer}.gate"][0].numpy()


def output_of(session) -> np.ndarray:
    with torch.no_grad():
        return session.model(*session.reading.inputs)[0].double().numpy()


def strongest(by_feature: np.ndarray, number: int) -> list[int]:
    return sorted(range(len(by_feature)), key=lambda feature: -abs(by_feature[feature]))[:number]
