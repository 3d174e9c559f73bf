"""A stock transformer whose weights are set by hand, so that its truth is known."""

from __future__ import annotations

import torch
from torch import Tensor

from stockformer.model import CrossAttentionStockTransformer, create_model

#: Where the truth is: the market's feature, and the day on which `planted_inputs` has it.
FEATURE, DAY = 1, 3
SIZES = {"d_model": 8, "nhead": 2, "num_layers": 1, "dim_feedforward": 8, "market_layers": 1, "market_feature_dim": 3}


@torch.no_grad()
def planted_model() -> CrossAttentionStockTransformer:
    """Stock 4, market 3 features: the value rises with the market's feature 1, which head 0 of the cross-attention
    looks for and brings in through a gate of 0.5. Nothing else matters: no stock feature, no other head.
    """
    model = create_model(4, "regression", None, SIZES).eval()
    for weights in model.parameters():
        weights.zero_()
    for norm in (module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)):
        norm.weight.fill_(1.0)
    model.pos_encoder.pe.zero_()
    model.market_encoder.pos_encoder.pe.zero_()
    # A large constant keeps the norms nearly linear in the first two dimensions, which carry the signal.
    model.input_proj.bias[2:] = torch.tensor([3.0, -3.0] * 3)
    model.market_encoder.input_proj.weight[:2, FEATURE] = torch.tensor([1.0, -1.0])
    attention = model.cross_attn_layers[0].cross_attn
    attention.in_proj_bias[0] = 1.0  # every query asks for the same
    attention.in_proj_weight[8, 0] = 8.0  # and finds it where the signal is large
    attention.in_proj_weight[16, 0] = 1.0
    attention.out_proj.weight[:2, 0] = torch.tensor([1.0, -1.0])
    model.reg_head[0].weight[0, 0] = 1.0
    model.reg_head[0].bias[0] = 2.0
    model.reg_head[3].weight[0, 0] = 1.0
    return model


def planted_inputs() -> tuple[Tensor, Tensor]:
    """Noise on 6 stock and 5 market days; the market's feature 1 is 2 on day 3 and 0 on the others."""
    generator = torch.Generator().manual_seed(0)
    stock, market = torch.randn(1, 6, 4, generator=generator), torch.randn(1, 5, 3, generator=generator)
    market[..., FEATURE] = 0.0
    market[0, DAY, FEATURE] = 2.0
    return stock, market
