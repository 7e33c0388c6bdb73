"""Transformers."""

from __future__ import annotations

from typing import Any

from widenet.activations import gelu
from widenet.activations.activation import Activation
from widenet.layers.attention import self_attention, transformer_block
from widenet.layers.dense import dense
from widenet.layers.layer import serial
from widenet.layers.normalization import layer_norm
from widenet.layers.positions import position_mean, select
from widenet.layers.repeat import repeat
from widenet.layers.tokens import embed, position_table
from widenet.program.trace import Net
from widenet.program.var import Var
from widenet.zoo.images import patches


def vit(
    activation: Activation = gelu,
    depth: int = 12,
    *,
    patch: int = 4,
    scaling: str = "linear",
    sigma_qk: Any = 1.0,
    sigma_w: Any = 1.0,
    sigma_b: Any = 0.0,
) -> Net:
    """A vision transformer: patches and a learned position table, `depth` pre-norm blocks, a norm, a mean, a readout.

    scaling: of the scores of infinitely many heads, "linear" (closed form) or "sqrt" (the papers', integrated
    numerically), see `self_attention`; sigma_qk: of queries and keys together.
    Source: dosovitskiy2021, eq. (1)-(4), with the mean over patches in the place of the class token.
    """
    stem = patches("vit", patch, sigma_w, sigma_b)
    blocks = _blocks(activation, depth, scaling, sigma_qk, sigma_w, sigma_b)
    return serial(stem, _placed, blocks, position_mean(), dense(sigma_w=sigma_w, sigma_b=sigma_b))


def gpt(
    activation: Activation = gelu,
    depth: int = 12,
    *,
    vocabulary: int = 256,
    scaling: str = "linear",
    sigma_qk: Any = 1.0,
    sigma_w: Any = 1.0,
    sigma_b: Any = 0.0,
) -> Net:
    """GPT-2: embeddings and a learned position table, `depth` causal pre-norm blocks, a norm, the last position read.

    Data `[n, t]` are token ids below `vocabulary`; data `[n, t, d]` go through a dense layer.  scaling, sigma_qk: as
    in `vit`.
    Source: radford2019, sec. 2.3.
    """

    def stem(x: Var) -> Var:
        return dense(x, sigma_w, sigma_b) if x.positions else embed(x, vocabulary, sigma_w)

    blocks = _blocks(activation, depth, scaling, sigma_qk, sigma_w, sigma_b, causal=True)
    return serial(stem, _placed, blocks, select(position=-1), dense(sigma_w=sigma_w, sigma_b=sigma_b))


def _placed(x: Var) -> Var:
    return x + position_table(x)


def _blocks(
    activation: Activation, depth: int, scaling: str, sigma_qk: Any, sigma_w: Any, sigma_b: Any, causal: bool = False
) -> Net:
    """Pre-norm blocks of infinitely many heads, and the norm after the last one."""
    attention = self_attention(
        sigma_q=sigma_qk, sigma_v=sigma_w, sigma_o=sigma_w, sigma_b=sigma_b, scaling=scaling, causal=causal
    )
    layer = dense(sigma_w=sigma_w, sigma_b=sigma_b)
    block = transformer_block(attention, serial(layer, activation, layer))
    return serial(repeat(block, depth), layer_norm())
