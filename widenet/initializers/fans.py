"""Which axes of a weight are summed over, which are channels, and which count copies.

As in `jax.nn.initializers`: axes that are none of in, out and batch are the window of a convolution.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array

Axis = int | Sequence[int]

MODES = ("fan_in", "fan_out", "fan_avg", "fan_geo_avg")


@dataclass(frozen=True)
class Axes:
    """The axes of inputs, outputs and copies; what is left is the window."""

    in_axis: tuple[int, ...] = (-2,)
    out_axis: tuple[int, ...] = (-1,)
    batch_axis: tuple[int, ...] = ()

    @classmethod
    def of(cls, in_axis: Axis = -2, out_axis: Axis = -1, batch_axis: Axis = ()) -> Axes:
        """Axes given as numbers or as sequences of numbers."""
        return cls(*(_as_tuple(axis) for axis in (in_axis, out_axis, batch_axis)))


@dataclass(frozen=True)
class Fans:
    """A weight as `batch` matrices `[window * n_in, n_out]`."""

    shape: tuple[int, ...]
    order: tuple[int, ...]  # the axes of the weight as copies, window, inputs, outputs
    batch: int
    window: tuple[int, ...]
    n_in: int
    n_out: int

    @property
    def fan_in(self) -> int:
        """Terms in the sum of one output."""
        return math.prod(self.window) * self.n_in

    @property
    def fan_out(self) -> int:
        """Outputs that one input enters."""
        return math.prod(self.window) * self.n_out

    @property
    def modes(self) -> dict[str, float]:
        """What the variance gain^2 / fan of a weight is divided by, by the name of the mode."""
        into, out = self.fan_in, self.fan_out
        return {"fan_in": into, "fan_out": out, "fan_avg": (into + out) / 2, "fan_geo_avg": math.sqrt(into * out)}

    def weight(self, matrices: Array) -> Array:
        """The weight of matrices `[batch, fan_in, n_out]`."""
        moved = jnp.reshape(matrices, [self.shape[axis] for axis in self.order])
        return jnp.transpose(moved, np.argsort(self.order).tolist())

    def matrices(self, weight: Array) -> Array:
        """The inverse of `weight`."""
        return jnp.transpose(weight, self.order).reshape(self.batch, self.fan_in, self.n_out)


JAX = Axes()  # [*window, in, out]


def fans(shape: Sequence[int], axes: Axes = JAX) -> Fans:
    """How a weight of `shape` multiplies its input.

    Raises: ValueError for a shape without the axes, an axis that is named twice, or a fan of 0.
    """
    shape = tuple(int(size) for size in shape)
    named = [_positive(axis, shape) for axis in (axes.batch_axis, axes.in_axis, axes.out_axis)]
    flat = [axis for group in named for axis in group]
    if len(set(flat)) < len(flat):
        raise ValueError(f"one axis of {shape} is named twice in {axes}: in, out and batch axes must be different.")
    window = tuple(axis for axis in range(len(shape)) if axis not in flat)
    batch, n_in, n_out = (math.prod(shape[axis] for axis in group) for group in named)
    if not math.prod(shape):
        raise ValueError(f"the shape {shape} has an axis of length 0, so no fan: give at least one input and output.")
    order = (*named[0], *window, *named[1], *named[2])
    return Fans(shape, order, batch, tuple(shape[axis] for axis in window), n_in, n_out)


def _as_tuple(axis: Axis) -> tuple[int, ...]:
    return (axis,) if isinstance(axis, int) else tuple(axis)


def _positive(axes: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    beyond = [axis for axis in axes if not -len(shape) <= axis < len(shape)]
    if beyond:
        raise ValueError(
            f"the shape {shape} has no axis {beyond[0]}: a weight needs an input and an output axis; for a vector "
            "(a bias, a scale) use initializers.constant or initializers.bias."
        )
    return tuple(axis % len(shape) for axis in axes)
