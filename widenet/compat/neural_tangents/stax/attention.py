"""GlobalSelfAttention."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from widenet.compat.neural_tangents.stax.combinators import as_wide
from widenet.compat.neural_tangents.stax.diagonal import Bool, Diagonal
from widenet.compat.neural_tangents.stax.enums import AttentionMechanism, PositionalEmbedding
from widenet.compat.neural_tangents.stax.node import Axes, Context, Node, remasked
from widenet.compat.neural_tangents.stax.triple import Triple, named, simple
from widenet.layers.attention import attend, self_attention
from widenet.layers.combine import add_up, concatenate, scale
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


class Part(NamedTuple):
    """A block of channels that a matrix reads, and the root of its share of all of them."""

    var: Var
    share: float


Source = tuple[Part, ...]


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

    def joined(self, node: Node, context: Context) -> Source:
        """The input with its embeddings, added or beside it."""
        if self.kind == PositionalEmbedding.NONE:
            return (Part(node.var, 1.0),)
        channels = node.channels if self.channels is None else self.channels
        wide = node if context.finite else as_wide(node)
        if self.kind == PositionalEmbedding.SUM:
            if channels != node.channels:
                raise ValueError(f"embeddings of {channels} channels cannot be added to {node.channels} channels.")
            return (Part(wide.var + self._table(node, channels, context), 1.0),)
        total = node.channels + channels
        table = self._table(node, channels, context)
        return Part(wide.var, math.sqrt(node.channels / total)), Part(table, math.sqrt(channels / total))

    def _table(self, node: Node, channels: int, context: Context) -> Var:
        covariance, width = self.covariance(node.positions), channels if context.finite else None
        return remasked(
            node.after(position_table(node.var, self.sigma, covariance=covariance, width=width)), context
        ).var


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
    integrated numerically.  pos_emb_*: random embeddings of positions, with covariance
    pos_emb_decay_fn(|p - q|^p_norm).  Finite networks take pos_emb_decay_fn as well; where linear_scaling is False keys
    are as wide as values.
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
        values = source if val_pos_emb else (Part(node.var, 1.0),)
        if linear_scaling:
            var = _linear(source, values, sizes, sigmas, weights, context)
        elif val_pos_emb or kind == PositionalEmbedding.NONE:
            var = _square_root(source, sizes, sigmas, weights, context)
        else:
            raise NotImplementedError(
                "with linear_scaling=False positional embeddings are in the values as well: give val_pos_emb=True."
            )
        return node.after(var, channels=n_chan_out)

    return simple(
        "GlobalSelfAttention",
        build,
        axes=Axes(batch_axis, channel_axis),
        diagonal=Diagonal(input=Bool.NO),
        remask=True,
        hidden=1 if linear_scaling else n_chan_val,
    )


def _linear(source: Source, values: Source, sizes: Sizes, sigmas: Sigmas, weights: str, context: Context) -> Var:
    """Deterministic scores: all heads are alike in the limit, where one is enough."""
    heads = []
    for _ in range(sizes.heads if context.finite else 1):
        tied = [Weight(sizes.key if context.finite else None) for _ in source]
        own = [Weight(sizes.value if context.finite else None) for _ in values]
        query, key = (_dense(source, sigma, tied) for sigma in (sigmas.query, sigmas.key))
        heads.append(attend(query, key, _dense(values, sigmas.value, own), weights=weights, masked=context.masked))
    mixed = concatenate(*heads) if len(heads) > 1 else heads[0]
    return dense(mixed, sigmas.out, sigmas.bias, width=sizes.out if context.finite else None)


def _dense(source: Source, sigma: Any, weights: list[Weight]) -> Var:
    """One matrix on all blocks of channels, side by side."""
    terms = [dense(part.var, sigma * part.share, weight=w) for part, w in zip(source, weights, strict=True)]
    return add_up(*terms)


def _square_root(source: Source, sizes: Sizes, sigmas: Sigmas, weights: str, context: Context) -> Var:
    parts = [scale(part.var, part.share * math.sqrt(len(source))) for part in source]
    if len(source) == 1 or context.finite:
        parts = [part.var for part in source]
    return self_attention(
        concatenate(*parts) if len(parts) > 1 else parts[0],
        *(sigmas.query, sigmas.key, sigmas.value, sigmas.out, sigmas.bias),
        scaling="sqrt",
        weights=weights,
        masked=context.masked,
        heads=sizes.heads,
        width=sizes.out if context.finite else None,
    )
