"""Layers that normalize, and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from widenet.compat.neural_tangents.stax.node import Axes, Context, Layer, Node, on_nodes
from widenet.compat.neural_tangents.stax.triple import Triple, named, simple, triple
from widenet.layers.combine import dropout
from widenet.layers.normalization import layer_norm


@named
def LayerNorm(axis: Any = -1, eps: float = 1e-12, batch_axis: int = 0, channel_axis: int = -1) -> Triple:
    """Layer normalization over channels, or over channels and all positions; an activation may come before it.

    Raises: ValueError if channels are not among the axes; NotImplementedError for other choices of axes.
    """

    def build(node: Node, context: Context) -> Node:
        rank = len(node.positions) + 2
        over = {int(a) % rank for a in np.atleast_1d(axis)}
        if node.axes.channel not in over:
            raise ValueError(f"LayerNorm over {axis} leaves out the channels, over which alone there is a limit.")
        rest = over - {node.axes.channel}
        places = set(range(rank)) - set(node.axes)
        if rest and (rest != places or context.masked):
            raise NotImplementedError(
                f"LayerNorm over {axis} is not implemented: normalize over channels, or over channels and all "
                "positions (of unmasked data)."
            )
        return node.after(layer_norm(node.var, positions=bool(rest), eps=eps))

    return simple("LayerNorm", build, axes=Axes(batch_axis, channel_axis))


def Dropout(rate: float, mode: str = "train") -> Triple:
    """Keep each coordinate with probability `rate`, and divide by it; nothing for mode="test".

    rate is the probability of keeping, as in the peer: widenet's own `dropout` takes that of dropping.
    """
    if mode not in ("train", "test"):
        raise ValueError(f"mode must be 'train' or 'test'; got {mode!r}.")
    if not 0 < rate <= 1:
        raise ValueError(f"rate is the probability of keeping and must be in (0, 1]; got {rate}.")
    train = mode == "train"

    def build(node: Node, context: Context) -> Node:
        return node.after(dropout(node.var, 1.0 - rate)) if train else node

    return triple(Layer("Dropout", on_nodes(build), dropout=train))
