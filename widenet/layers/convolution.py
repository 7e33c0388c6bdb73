"""Convolutions over any number of position axes."""

from __future__ import annotations

from typing import Any

from widenet.layers.dense import weight_of
from widenet.layers.layer import layer
from widenet.program.ops import Conv, DepthwiseConv, LocalConv, Weight
from widenet.program.var import Channels, Var, describe
from widenet.program.window import Window, make_transposed, make_window


@layer
def conv(
    x: Var,
    window: Any,
    sigma_w: Any = 1.0,
    sigma_b: Any = 0.0,
    *,
    stride: Any = 1,
    dilation: Any = 1,
    padding: Any = "SAME",
    groups: int = 1,
    width: int | None = None,
    weight: Weight | None = None,
) -> Var:
    """A convolution over all position axes, in the NTK parametrization.

    h[p] = sigma_w / sqrt(T fan_in) sum_t W_t x[p stride + t dilation] + sigma_b b        (C1)

    T is the number of taps, padding included.  window, stride, dilation: a number, or one for each axis.  padding:
    "SAME", "VALID", "CIRCULAR", a number of zeros, or pairs (before, after).  groups: output channels of a group read
    the input channels of that group; with a fixed number of groups the limit is that of one (C3).
    Raises: ValueError for data without positions, a window larger than the padded positions, channels that `groups`
    does not divide.
    Source: novak2019, sec. 2; arora2019, sec. 4.
    """
    geometry = make_window(_name("conv", x), x.positions, window, stride=stride, dilation=dilation, padding=padding)
    return _convolve(Conv, x, geometry, sigma_w, sigma_b, groups, width, weight)


@layer
def conv_local(
    x: Var,
    window: Any,
    sigma_w: Any = 1.0,
    sigma_b: Any = 0.0,
    *,
    stride: Any = 1,
    padding: Any = "SAME",
    width: int | None = None,
    weight: Weight | None = None,
) -> Var:
    """A locally connected layer: a convolution whose weights and biases differ at every position (C2).

    Arguments as for `conv`.  Source: novak2019, sec. 3.
    """
    geometry = make_window(_name("local conv", x), x.positions, window, stride=stride, padding=padding)
    return _convolve(LocalConv, x, geometry, sigma_w, sigma_b, 1, width, weight)


@layer
def conv_transpose(
    x: Var,
    window: Any,
    sigma_w: Any = 1.0,
    sigma_b: Any = 0.0,
    *,
    stride: Any = 1,
    padding: Any = "SAME",
    width: int | None = None,
    weight: Weight | None = None,
) -> Var:
    """A transposed convolution: `stride` output positions for each input position (C1).

    padding: "SAME" gives stride * size positions, "VALID" stride * size + max(window - stride, 0).  The factor is that
    of `conv`, 1 / sqrt(T fan_in) with all T taps of the window, though each position reads about T / stride of them.
    """
    name = _name("transposed conv", x)
    geometry = make_transposed(name, x.positions, window, stride=stride, padding=padding)
    return _convolve(Conv, x, geometry, sigma_w, sigma_b, 1, width, weight)


@layer
def conv_depthwise(
    x: Var,
    window: Any,
    sigma_w: Any = 1.0,
    sigma_b: Any = 0.0,
    *,
    stride: Any = 1,
    dilation: Any = 1,
    padding: Any = "SAME",
    weight: Weight | None = None,
) -> Var:
    """A depthwise convolution: every channel with taps of its own (C3).

    h_i[p] = sigma_w / sqrt(T) sum_t w_ti x_i[p stride + t dilation] + sigma_b b_i

    Given x its coordinates are Gaussian with covariances that differ between channels, so they are not Gaussian: a
    dense layer must come before the next activation (as in a separable convolution, or ConvNeXt).
    Raises: ValueError for data, whose channels are too few to average over.
    """
    name = _name("depthwise conv", x)
    if not x.channels.wide:
        raise ValueError(f"{name} needs infinitely many channels to average over: put a dense or conv layer before it.")
    geometry = make_window(name, x.positions, window, stride=stride, dilation=dilation, padding=padding)
    weight, _ = weight_of(name, x, sigma_w, sigma_b, None, weight)
    op = DepthwiseConv(weight, sigma_w, sigma_b, geometry)
    return Var(op, (x,), geometry.output(x.positions), x.channels)


def _name(what: str, x: Var) -> str:
    if not x.positions:
        raise ValueError(f"a {what} layer needs positions to slide over, but was given {x}: use dense, or give images.")
    return f"{what} after {x}"


def _convolve(
    kind: type[Conv],
    x: Var,
    window: Window,
    sigma_w: Any,
    sigma_b: Any,
    groups: int,
    width: int | None,
    weight: Weight | None,
) -> Var:
    weight, channels = weight_of(f"a conv layer after {x}", x, sigma_w, sigma_b, width, weight)
    _check_groups(x, groups, channels)
    return Var(kind(weight, sigma_w, sigma_b, window, groups), (x,), window.output(x.positions), channels)


def _check_groups(x: Var, groups: int, made: Channels) -> None:
    if groups < 1:
        raise ValueError(f"conv after {x}: groups must be a whole number >= 1; got {groups}.")
    if groups > 1 and not x.channels.wide:
        raise ValueError(
            f"conv with {groups} groups after {describe(x)}: a group of fixed channels ({x.channels}) is not the "
            "average of all of them, so the limit is not that of one group; put a conv layer with groups=1 before it."
        )
    for channels in (x.channels, made):
        if channels.fixed % groups:
            raise ValueError(f"conv after {x}: {groups} groups do not divide {channels} channels.")
