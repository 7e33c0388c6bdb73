"""Sums over the windows of convolutions, of arrays over pairs of positions (C1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.kernels.layout import Layout, equal, every, of_codes
from widenet.program.ops import Conv
from widenet.program.var import Var
from widenet.program.window import Window


class Slide(NamedTuple):
    """The windows by which two variables read the positions of their arguments; they have equally many taps."""

    left: Window
    right: Window
    from_left: tuple[int, ...]  # positions of the arguments
    from_right: tuple[int, ...]

    @property
    def alike(self) -> bool:
        """Do both read in the same way?"""
        return self.left == self.right and self.from_left == self.from_right

    @property
    def pads(self) -> bool:
        """Does a window read outside?"""
        return bool((self.left.table(self.from_left) < 0).any() or (self.right.table(self.from_right) < 0).any())


def slide_of(u: Var, v: Var) -> Slide:
    """The windows of two convolutions."""
    assert isinstance(u.op, Conv)
    assert isinstance(v.op, Conv)
    return Slide(u.op.window, v.op.window, u.args[0].positions, v.args[0].positions)


def taps_needed(slide: Slide) -> Callable[[Layout], Layout]:
    """The pairs of positions that each layout of the result reads: tap t of p with tap t of q."""
    sizes = int(np.prod(slide.from_left)), int(np.prod(slide.from_right))

    def needed(layout: Layout) -> Layout:
        if layout.is_equal and slide.alike:
            return equal(sizes[0])
        if layout.is_all and len(layout) > 1:
            return every(*sizes)
        inside, codes = _codes(slide, layout)
        return of_codes(np.unique(codes[inside]), sizes)

    return needed


def _codes(slide: Slide, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """`[L, taps]`: is a tap inside on both sides, and the pair that it reads."""
    left = slide.left.table(slide.from_left)[layout.left]
    right = slide.right.table(slide.from_right)[layout.right]
    return (left >= 0) & (right >= 0), left * int(np.prod(slide.from_right)) + right


def window_sum(slide: Slide, layout: Layout, have: Layout, part: Array) -> Array:
    """sum_t part[tap t of p, tap t of q] for the pairs of `layout`; padding reads zero.  `[L', ...]` to `[L, ...]`."""
    if layout.is_equal and slide.alike:
        return _slide_axes(slide.left, part, slide.from_left)
    if layout.is_all and have.is_all:
        both = part.reshape(*slide.from_left, *slide.from_right, *part.shape[1:])
        return _slide_pairs(slide, both).reshape(len(layout), *part.shape[1:])
    inside, codes = _codes(slide, layout)
    return _gather(inside, np.searchsorted(have.codes, codes), part)


def position_sum(window: Window, positions: Sequence[int], values: Array) -> Array:
    """sum_t values[tap t of p], of values `[P, ...]` of single positions."""
    return _slide_axes(window, values, tuple(positions))


def outside_sums(slide: Slide, layout: Layout, q1: Array, q2: Array) -> tuple[Array, Array] | None:
    """Sums over the taps that are inside on one side only: of q1 `[P, n1]` there, of q2 `[Q, n2]` there.

    Gives `[L, n1]` and `[L, n2]`, or None if no tap is alone.
    """
    if (layout.is_equal and slide.alike) or not slide.pads:
        return None
    left, right = slide.left.table(slide.from_left), slide.right.table(slide.from_right)
    one = _alone(left, right, layout.left, layout.right, q1)
    return one, _alone(right, left, layout.right, layout.left, q2)


def _alone(mine: np.ndarray, other: np.ndarray, p: np.ndarray, q: np.ndarray, values: Array) -> Array:
    taps = mine.shape[1]

    def add(total: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        index, alone = at
        return total + jnp.where(alone[:, None], values[index], 0.0), None

    index, alone = mine[p].T, ((mine[p] >= 0) & (other[q] < 0)).T
    used = [t for t in range(taps) if alone[t].any()]
    start = jnp.zeros((len(p), values.shape[1]), values.dtype)
    return jax.lax.scan(add, start, (jnp.asarray(index[used]), jnp.asarray(alone[used])))[0]


def _gather(inside: np.ndarray, index: np.ndarray, part: Array) -> Array:
    def add(total: Array, at: tuple[Array, Array]) -> tuple[Array, None]:
        index, inside = at
        return total + jnp.where(inside.reshape(-1, *[1] * (part.ndim - 1)), part[index], 0.0), None

    start = jnp.zeros((len(index), *part.shape[1:]), part.dtype)
    index = np.where(inside, index, 0)
    return jax.lax.scan(add, start, (jnp.asarray(index.T), jnp.asarray(inside.T)))[0]


def _slide_axes(window: Window, part: Array, positions: tuple[int, ...]) -> Array:
    x = part.reshape(*positions, *part.shape[1:])
    for axis in range(len(positions)):
        x = _slide_axis(x, [axis], [(window, axis)])
    return x.reshape(-1, *part.shape[1:])


def _slide_pairs(slide: Slide, x: Array) -> Array:
    d = len(slide.from_left)
    for axis in range(d):
        x = _slide_axis(x, [axis, d + axis], [(slide.left, axis), (slide.right, axis)])
    return x


def _slide_axis(x: Array, axes: list[int], windows: list[tuple[Window, int]]) -> Array:
    """Pad these axes of x, then add what one tap after the other reads along all of them at once."""
    taps = windows[0][0].sizes[windows[0][1]]
    zero = jnp.zeros((), x.dtype)
    out = []
    for axis, (window, i) in zip(axes, windows, strict=True):
        size, (low, high) = x.shape[axis], window.pads[i]
        out.append(len(window.axis_taps(i, size)))
        if window.wrap:
            x = jnp.take(x, np.arange(-low, size + high) % size, axis=axis)
        elif low or high or window.spreads[i] > 1:
            config = [(0, 0, 0)] * x.ndim
            config[axis] = (low, high, window.spreads[i] - 1)
            x = jax.lax.pad(x, zero, config)
    x = jax.lax.optimization_barrier(x)  # what pads and taps read is computed once, not once for each tap
    if taps == 1 and all(x.shape[a] == size for a, size in zip(axes, out, strict=True)):
        return x
    total = None
    for t in range(taps):
        shifted = x
        for axis, size, (window, i) in zip(axes, out, windows, strict=True):
            start, stride = t * window.dilations[i], window.strides[i]
            shifted = jax.lax.slice_in_dim(shifted, start, start + (size - 1) * stride + 1, stride, axis)
        total = shifted if total is None else total + shifted
    assert total is not None
    return total
