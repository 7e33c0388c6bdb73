"""GlobalSelfAttention."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from widenet.compat.neural_tangents.combinators import as_wide
from widenet.compat.neural_tangents.diagonal import Bool, Diagonal
from widenet.compat.neural_tangents.enums import AttentionMechanism, PositionalEmbedding
from widenet.compat.neural_tangents.node import Axes, Context, Node, remasked
from widenet.compat.neural_tangents.triple import Triple, named, simple
from widenet.layers.attention import attend, self_attention
from widenet.layers.combine import concatenate, scale
from widenet.layers.dense import dense
from widenet.layers.tokens import position_table
from widenet.program.ops import Weight
from widenet.program.var import Var


@dataclass(frozen=True)
class Sizes:
    """The widths of the finite network."""

    out: int
    key: int
    value: int
    heads: int


@dataclass(frozen=True)
class Sigmas:
    """Standard deviations."""

    query: Any
    key: Any
    value: Any
    out: Any
    bias: Any


@dataclass(frozen=True)
class Embedding:
    """The positional embeddings of a layer."""

    kind: PositionalEmbedding
    power: float
    decay: Callable[[Any], Any] | None
    channels: int | None
    sigma: Any

    def covariance(self, positions: tuple[int, ...]) -> np.ndarray | None:
        """Of the embeddings of two positions, a function of sum_axes |p - q|^power; None for independent ones."""
        if self.decay is None:
            return None
        places = np.stack(np.meshgrid(*map(np.arange, positions), indexing="ij"), -1).reshape(-1, len(positions))
        distance = (np.abs(places[:, None] - places[None]).astype(float) ** self.power).sum(-1)
        return np.asarray(self.decay(distance), float)

    def joined(self, node: Node, context: Context) -> Node:
        """The input with its embeddings, added or beside it."""
        if self.kind == PositionalEmbedding.NONE:
            return node
        channels = node.channels if self.channels is None else self.channels
        if self.kind == PositionalEmbedding.SUM:
            if channels != node.channels:
                raise ValueError(f"embeddings of {channels} channels cannot be added to {node.channels} channels.")
            wide = node if context.finite else as_wide(node)
            var = wide.var + self._table(node, node.channels if context.finite else None)
            return remasked(wide.after(var), context)
        if context.finite:
            return self._beside(node, node.var, self._table(node, channels), channels, context)
        shares = [2 * c / (node.channels + channels) for c in (node.channels, channels)]
        parts = [
            scale(v, math.sqrt(s)) for v, s in zip((as_wide(node).var, self._table(node, None)), shares, strict=True)
        ]
        return self._beside(node, *parts, channels, context)

    def _beside(self, node: Node, x: Var, table: Var, channels: int, context: Context) -> Node:
        table = remasked(node.after(table), context).var
        return node.after(concatenate(x, table), channels=node.channels + channels)

    def _table(self, node: Node, width: int | None) -> Var:
        return position_table(node.var, self.sigma, covariance=self.covariance(node.positions), width=width)


@named
def GlobalSelfAttention(
    n_chan_out: int,
    n_chan_key: int,
    n_chan_val: int,
    n_heads: int,
    linear_scaling: bool = True,
    W_key_std: Any = 1.0,
    W_value_std: Any = 1.0,
    W_query_std: Any = 1.0,
    W_out_std: Any = 1.0,
    b_std: Any = None,
    attention_mechanism: str = AttentionMechanism.SOFTMAX.name,
    pos_emb_type: str = PositionalEmbedding.NONE.name,
    pos_emb_p_norm: float = 2,
    pos_emb_decay_fn: Callable[[Any], Any] | None = None,
    n_chan_pos_emb: int | None = None,
    W_pos_emb_std: Any = 1.0,
    val_pos_emb: bool = False,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Triple:
    """Self-attention over all positions, with its output matrix.

    linear_scaling=True: scores q . k / n with one matrix for queries and keys, deterministic in the limit.  False:
    q . k / sqrt(n), random in the limit; the peer has the IDENTITY mechanism only, here SOFTMAX, RELU and ABS are
    integrated numerically.  pos_emb_*: random embeddings of positions, with covariance pos_emb_decay_fn(|p - q|^p_norm).
    Finite networks take pos_emb_decay_fn as well; n_chan_key is ignored where linear_scaling is False.
    """
    sizes = Sizes(n_chan_out, n_chan_key, n_chan_val, n_heads)
    sigmas = Sigmas(W_query_std, W_key_std, W_value_std, W_out_std, 0.0 if b_std is None else b_std)
    weights = AttentionMechanism(attention_mechanism).name.lower()
    kind = PositionalEmbedding(pos_emb_type)
    embedding = Embedding(kind, pos_emb_p_norm, pos_emb_decay_fn, n_chan_pos_emb, W_pos_emb_std)

    def build(node: Node, context: Context) -> Node:
        if context.masked and node.grid is not None:
            raise NotImplementedError(
                "GlobalSelfAttention of masked data after a layer that changes the positions is not implemented."
            )
        source = embedding.joined(node, context)
        values = source if val_pos_emb else node
        if linear_scaling:
            var = _linear(source.var, values.var, sizes, sigmas, weights, context)
        else:
            var = _square_root(source.var, values.var, sizes, sigmas, weights, context)
        return node.after(var, channels=n_chan_out)

    axes = Axes(batch_axis, channel_axis)
    return simple("GlobalSelfAttention", build, axes=axes, diagonal=Diagonal(input=Bool.NO), remask=True)


def _linear(source: Var, values: Var, sizes: Sizes, sigmas: Sigmas, weights: str, context: Context) -> Var:
    """Deterministic scores: all heads are alike in the limit, where one is enough."""
    heads = []
    for _ in range(sizes.heads if context.finite else 1):
        tied = Weight(sizes.key if context.finite else None)
        query, key = (dense(source, sigma, weight=tied) for sigma in (sigmas.query, sigmas.key))
        value = dense(values, sigmas.value, width=sizes.value if context.finite else None)
        heads.append(attend(query, key, value, weights=weights, masked=context.masked))
    mixed = concatenate(*heads) if len(heads) > 1 else heads[0]
    return dense(mixed, sigmas.out, sigmas.bias, width=sizes.out if context.finite else None)


def _square_root(source: Var, values: Var, sizes: Sizes, sigmas: Sigmas, weights: str, context: Context) -> Var:
    if values is not source:
        raise NotImplementedError(
            "positional embeddings with linear_scaling=False are in the values as well: give val_pos_emb=True."
        )
    return self_attention(
        source,
        *(sigmas.query, sigmas.key, sigmas.value, sigmas.out, sigmas.bias),
        scaling="sqrt",
        weights=weights,
        masked=context.masked,
        heads=sizes.heads,
        width=sizes.out if context.finite else None,
    )
