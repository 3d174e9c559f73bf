"""What a model's raw output says."""

from __future__ import annotations

import torch
from torch import Tensor


def class_probabilities(logits: Tensor, *, coral: bool = False) -> Tensor:
    """Class probabilities [B, K] from logits.

    Args:
        logits: [B, K], or with `coral` the K-1 logits of P(class > k) [B, K-1].
        coral: P(class = k) = P(class > k-1) - P(class > k) (Cao et al. 2020);
            differences below 0, which unordered thresholds give, count as 0.
    """
    if not coral:
        return logits.softmax(dim=-1)
    above = logits.sigmoid()
    ones, zeros = above.new_ones(len(above), 1), above.new_zeros(len(above), 1)
    cumulative = torch.cat([ones, above, zeros], dim=1)
    return (cumulative[:, :-1] - cumulative[:, 1:]).clamp(min=0)
