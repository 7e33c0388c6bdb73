"""Layers that pool, resize and flatten positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from widenet.compat.neural_tangents.stax.diagonal import Bool, Diagonal
from widenet.compat.neural_tangents.stax.enums import Padding
from widenet.compat.neural_tangents.stax.linear import pooled_grid
from widenet.compat.neural_tangents.stax.node import Axes, Context, Node, position_axes, settled
from widenet.compat.neural_tangents.stax.triple import Triple, named, simple
from widenet.layers import pooling
from widenet.layers.graph import masked_mean
from widenet.layers.positions import flatten, position_mean, position_sum


@named
def AvgPool(
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = Padding.VALID.name,
    normalize_edges: bool = False,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Triple:
    """The mean over windows; strides=None is a stride of 1, unlike widenet's own layer.

    normalize_edges: divide by the positions in the window, not by its size, where it reaches over the edge.
    """
    return _pool(
        "AvgPool", window_shape, strides, padding, Axes(batch_axis, channel_axis), normalize_edges=normalize_edges
    )


@named
def SumPool(
    window_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = Padding.VALID.name,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Triple:
    """The sum over windows; strides=None is a stride of 1."""
    return _pool("SumPool", window_shape, strides, padding, Axes(batch_axis, channel_axis))


def _pool(
    name: str, window_shape: Sequence[int], strides: Sequence[int] | None, padding: str, axes: Axes, **options: Any
) -> Triple:
    window = tuple(map(int, window_shape))
    stride = tuple(map(int, strides or (1,) * len(window)))
    pads = Padding(padding).name
    layer = pooling.average_pool if name == "AvgPool" else pooling.sum_pool

    def build(node: Node, context: Context) -> Node:
        var = layer(node.var, window, stride=stride, padding=pads, **options)
        grid = pooled_grid(node, var.positions, window, stride, pads) if context.masked else None
        return node.after(var, grid=grid)

    return simple(name, build, axes=axes, diagonal=Diagonal(input=Bool.MAYBE), remask=True)


@named
def GlobalAvgPool(batch_axis: int = 0, channel_axis: int = -1) -> Triple:
    """The mean over all positions; with masks, over those that exist."""

    def build(node: Node, context: Context) -> Node:
        if not context.masked or not node.positions:
            return _after(node, position_mean(node.var) if node.positions else node.var)
        if node.grid is not None:
            raise NotImplementedError(
                "GlobalAvgPool of masked data after a layer that changes the number of positions (VALID or strided) is "
                "not implemented: use padding='SAME' and stride 1 before it, or GlobalSumPool."
            )
        return _after(node, masked_mean(node.var))

    return _global("GlobalAvgPool", build, Axes(batch_axis, channel_axis))


@named
def GlobalSumPool(batch_axis: int = 0, channel_axis: int = -1) -> Triple:
    """The sum over all positions."""

    def build(node: Node, context: Context) -> Node:
        return _after(node, position_sum(node.var) if node.positions else node.var)

    return _global("GlobalSumPool", build, Axes(batch_axis, channel_axis))


def _global(name: str, build: Any, axes: Axes) -> Triple:
    return simple(name, build, axes=axes, diagonal=Diagonal(input=Bool.MAYBE, output=Bool.YES))


def _after(node: Node, var: Any) -> Node:
    batch_first = node.axes.batch < node.axes.channel
    return node.after(var, axes=Axes(0, 1) if batch_first else Axes(1, 0), pooled=True, grid=None)


@named
def Flatten(batch_axis: int = 0, batch_axis_out: int = 0) -> Triple:
    """Positions become channels.

    An activation may follow: it acts on Gaussian coordinates if those before were (the peer raises an error).
    Features come in the order positions, channels, whatever the axes of the arrays.
    """
    if batch_axis_out not in (0, 1, -1, -2):
        raise ValueError(f"batch_axis_out must be 0 or 1; got {batch_axis_out}.")
    batch = batch_axis_out % 2

    def build(node: Node, context: Context) -> Node:
        channels = node.channels * math.prod(node.positions)
        return node.after(flatten(node.var), channels=channels, axes=Axes(batch, 1 - batch), pooled=True, grid=None)

    return simple("Flatten", build, axes=Axes(batch_axis), diagonal=Diagonal(output=Bool.YES), any_channel=True)


@named
def ImageResize(
    shape: Sequence[int],
    method: Any,
    antialias: bool = True,
    precision: Any = jax.lax.Precision.HIGHEST,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Triple:
    """Resize positions as `jax.image.resize` does; -1 keeps an axis.

    method: a name or a `jax.image.ResizeMethod`, which the peer's kernel does not take.  It is a linear map, so cubic
    and Lanczos have kernels as well.  precision is ignored: products are exact to rounding.
    Raises: ValueError if channels or samples are to be resized.
    """
    kind = method if isinstance(method, jax.image.ResizeMethod) else jax.image.ResizeMethod.from_string(method)
    axes = Axes(batch_axis, channel_axis)
    places = set(settled(axes, len(shape)))

    def build(node: Node, context: Context) -> Node:
        if any(shape[i] != -1 for i in places):
            raise ValueError(f"ImageResize{tuple(shape)}: set batch and channel to -1, only positions can be resized.")
        sizes = [shape[i] for i in position_axes(node)]
        new = tuple(old if s == -1 else int(s) for s, old in zip(sizes, node.positions, strict=True))
        if context.masked and new != node.positions:
            raise NotImplementedError("masks through ImageResize are not implemented: leave out mask_constant.")
        return node.after(pooling.resize(node.var, new, kind.name.lower(), antialias=antialias))

    resized = any(np.asarray(shape) != -1)
    diagonal = Diagonal(input=Bool.NO if resized else Bool.YES)
    return simple("ImageResize", build, axes=axes, diagonal=diagonal, remask=True)
