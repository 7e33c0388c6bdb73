"""Layers with weights: Dense, Conv, ConvTranspose, ConvLocal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from widenet.compat.neural_tangents.stax.diagonal import Bool, Diagonal
from widenet.compat.neural_tangents.stax.enums import Padding
from widenet.compat.neural_tangents.stax.node import Axes, Context, Grid, Node, grid_of
from widenet.compat.neural_tangents.stax.standard import Rates, StandardWeight, in_standard
from widenet.compat.neural_tangents.stax.triple import Triple, named, simple
from widenet.layers.convolution import conv, conv_local, conv_transpose
from widenet.layers.dense import dense
from widenet.program.var import Var
from widenet.program.window import make_window

LETTERS = "ABDEFGHJKLMPQRSTUVWXYZ"  # names of position axes in `dimension_numbers`


@dataclass(frozen=True)
class Scales:
    """The standard deviations of a layer, and how it is parametrized."""

    width: int
    sigma_w: Any
    sigma_b: Any  # None: no bias
    standard: bool
    s: tuple[int, int]

    @property
    def channels(self) -> int:
        """How many the finite layer makes."""
        return self.width * self.s[1] if self.standard else self.width

    def apply(self, layer: Callable[..., Var], node: Node, taps: int, context: Context) -> Var:
        """`layer` of the variable of `node`, with the weights of the network that it is built for."""
        plain = {"sigma_w": self.sigma_w, "sigma_b": 0.0 if self.sigma_b is None else self.sigma_b}
        if not self.standard:
            return layer(node.var, **plain, width=self.channels if context.finite else None)
        fan_in = node.channels * taps / self.s[0]
        bias = 0.0 if self.sigma_b is None else 1.0
        if not context.finite:
            return in_standard(layer(node.var, **plain), Rates(fan_in / self.sigma_w**2, bias))
        # the variances are in the weights, and what is left is 1 / sqrt(s_in), and 1
        weight = StandardWeight(self.channels, None, **plain, fan_in=fan_in)
        return layer(node.var, sigma_w=math.sqrt(fan_in), sigma_b=bias, weight=weight)


def scales(width: int, w_std: Any, b_std: Any, parameterization: str, s: tuple[int, int]) -> Scales:
    """The standard deviations as widenet wants them: not negative.

    Raises: ValueError for an unknown parametrization, or weights of variance zero in the standard one.
    """
    kind = parameterization.lower()
    if kind not in ("ntk", "standard"):
        raise ValueError(f"parameterization must be 'ntk' or 'standard'; got {parameterization!r}.")
    if kind == "standard" and isinstance(w_std, (int, float)) and w_std == 0:
        raise ValueError("W_std = 0 has no standard parametrization here: leave out the layer.")
    s_in, s_out = s
    return Scales(width, _size(w_std), None if b_std is None else _size(b_std), kind == "standard", (s_in, s_out))


def _size(std: Any) -> Any:
    return abs(float(std)) if isinstance(std, (int, float, np.number)) else std


@named
def Dense(
    out_dim: int,
    W_std: Any = 1.0,
    b_std: Any = None,
    batch_axis: int = 0,
    channel_axis: int = -1,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
) -> Triple:
    """A dense layer at every position: h = W_std / sqrt(fan_in) W x + b_std b.

    out_dim: the width of the finite network; the kernel does not see it (in the standard parametrization it does).
    b_std: None for no bias.  parameterization="standard": `standard.py`; s: the width factors of input and output.
    """
    given = scales(out_dim, W_std, b_std, parameterization, s)

    def build(node: Node, context: Context) -> Node:
        return node.after(given.apply(dense, node, 1, context), channels=given.channels)

    return simple("Dense", build, axes=Axes(batch_axis, channel_axis), diagonal=Diagonal(), remask=True)


@named
def Conv(
    out_chan: int,
    filter_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = Padding.VALID.name,
    W_std: Any = 1.0,
    b_std: Any = None,
    dimension_numbers: tuple[str, str, str] | None = None,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
) -> Triple:
    """A convolution over all position axes; arguments as for `Dense`, padding "VALID", "SAME" or "CIRCULAR"."""
    given = scales(out_chan, W_std, b_std, parameterization, s)
    return _convolution("Conv", conv, given, filter_shape, strides, padding, dimension_numbers)


@named
def ConvTranspose(
    out_chan: int,
    filter_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = Padding.VALID.name,
    W_std: Any = 1.0,
    b_std: Any = None,
    dimension_numbers: tuple[str, str, str] | None = None,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
) -> Triple:
    """A transposed convolution, padding "VALID" or "SAME"; "CIRCULAR" is not implemented."""
    if Padding(padding) == Padding.CIRCULAR:
        raise NotImplementedError("ConvTranspose with CIRCULAR padding is not implemented: use SAME or VALID.")
    given = scales(out_chan, W_std, b_std, parameterization, s)
    return _convolution("ConvTranspose", conv_transpose, given, filter_shape, strides, padding, dimension_numbers)


@named
def ConvLocal(
    out_chan: int,
    filter_shape: Sequence[int],
    strides: Sequence[int] | None = None,
    padding: str = Padding.VALID.name,
    W_std: Any = 1.0,
    b_std: Any = None,
    dimension_numbers: tuple[str, str, str] | None = None,
    parameterization: str = "ntk",
    s: tuple[int, int] = (1, 1),
) -> Triple:
    """A convolution with weights and biases of its own at every position."""
    given = scales(out_chan, W_std, b_std, parameterization, s)
    return _convolution("ConvLocal", conv_local, given, filter_shape, strides, padding, dimension_numbers)


def _convolution(
    name: str,
    layer: Callable[..., Var],
    given: Scales,
    filter_shape: Sequence[int],
    strides: Sequence[int] | None,
    padding: str,
    dimension_numbers: tuple[str, str, str] | None,
) -> Triple:
    lhs, rhs, out = dimension_numbers or _channels_last(len(filter_shape))
    order = _order(name, lhs, rhs, out)
    window = tuple(int(filter_shape[i]) for i in order)
    stride = tuple(int((strides or (1,) * len(window))[i]) for i in order)
    pads = Padding(padding).name
    after = Axes(out.index("N"), out.index("C"))

    def build(node: Node, context: Context) -> Node:
        if len(node.positions) != len(window):
            raise ValueError(f"{name} with filter_shape {tuple(filter_shape)} was given positions {node.positions}.")
        convolve = partial(layer, window=window, stride=stride, padding=pads)
        var = given.apply(convolve, node, math.prod(window), context)
        grid = _grid(name, node, var, window, stride, pads) if context.masked else None
        return node.after(var, channels=given.channels, axes=after, grid=grid)

    wants = Diagonal(output=Bool.MAYBE if name == "ConvLocal" else Bool.NO)
    return simple(name, build, axes=Axes(lhs.index("N"), lhs.index("C")), diagonal=wants, remask=True)


def _channels_last(count: int) -> tuple[str, str, str]:
    places = "".join(c for c in LETTERS)[:count]
    return f"N{places}C", f"{places}IO", f"N{places}C"


def _order(name: str, lhs: str, rhs: str, out: str) -> list[int]:
    """Which axis of the filter belongs to each position axis of the input."""
    places, of_filter, made = ([c for c in spec if c not in "NCIO"] for spec in (lhs, rhs, out))
    if made != places:
        raise NotImplementedError(
            f"{name} whose outputs have their position axes in another order ({lhs} to {out}) is not implemented: keep "
            "their order."
        )
    return [of_filter.index(c) for c in places]


def _grid(name: str, node: Node, var: Var, window: Any, stride: Any, padding: str) -> Grid | None:
    """Where the masks of the outputs come from: the middle of the window, or nowhere else if positions are equal."""
    if name == "ConvTranspose":
        raise NotImplementedError("masks through ConvTranspose are not implemented: leave out mask_constant.")
    return pooled_grid(node, var.positions, window, stride, padding)


def pooled_grid(node: Node, positions: tuple[int, ...], window: Any, stride: Any, padding: str) -> Grid | None:
    """The same for any window, as the peer does it."""
    if positions == node.positions:
        return node.grid
    pads = make_window("mask", node.positions, window, stride=stride, padding=padding).pads
    grid = grid_of(node)
    index = grid.index
    for axis, (low, _) in enumerate(pads):
        start = (window[axis] - 1) // 2 - low
        taken = start + np.arange(positions[axis]) * stride[axis]
        index = np.take(index, taken, axis=axis)
    return Grid(grid.root, index)
