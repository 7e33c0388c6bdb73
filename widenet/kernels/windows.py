"""Sums over the windows of convolutions, of arrays over pairs of positions (C1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.kernels.layout import Layout, equal, every, grid, of_codes
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
        axes = axes_of(layout, slide.left.output(slide.from_left), slide.right.output(slide.from_right))
        if axes:
            return grid(tuple(_axis_needed(slide, i, axis) for i, axis in enumerate(axes)))
        inside, codes = _codes(slide, layout)
        return of_codes(np.unique(codes[inside]), sizes)

    return needed


def axes_of(layout: Layout, left: Sequence[int], right: Sequence[int]) -> tuple[Layout, ...]:
    """The pairs along each axis of the positions, of a grid or of all pairs; empty if there is no such thing."""
    if layout.axes and [axis.sizes for axis in layout.axes] == list(zip(left, right, strict=True)):
        return layout.axes
    return tuple(every(p, q) for p, q in zip(left, right, strict=True)) if layout.is_all and len(layout) > 1 else ()


def _axis_taps(slide: Slide, axis: int, layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """`[L, taps]` along one axis: is a tap inside on both sides, and the pair that it reads."""
    left = slide.left.axis_taps(axis, slide.from_left[axis])[layout.left]
    right = slide.right.axis_taps(axis, slide.from_right[axis])[layout.right]
    return (left >= 0) & (right >= 0), left * slide.from_right[axis] + right


def _axis_needed(slide: Slide, axis: int, layout: Layout) -> Layout:
    inside, codes = _axis_taps(slide, axis, layout)
    return of_codes(np.unique(codes[inside]), (slide.from_left[axis], slide.from_right[axis]))


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
    made = axes_of(layout, slide.left.output(slide.from_left), slide.right.output(slide.from_right))
    given = axes_of(have, slide.from_left, slide.from_right)
    if made and given:
        part = _by_axes(given, part) if have.is_all else part.reshape(*map(len, given), *part.shape[1:])
        for i, (to, at) in enumerate(zip(made, given, strict=True)):
            inside, codes = _axis_taps(slide, i, to)
            part = jnp.moveaxis(_gather(inside, at.find(codes), jnp.moveaxis(part, i, 0)), 0, i)
        return _by_positions(made, part) if layout.is_all else part.reshape(len(layout), *part.shape[len(made) :])
    inside, codes = _codes(slide, layout)
    return _gather(inside, have.find(codes), part)


def _by_axes(axes: tuple[Layout, ...], part: Array) -> Array:
    """From all pairs of positions, `[P Q, ...]`, to those along each axis, `[P_1 Q_1, P_2 Q_2, ...]`."""
    d, rest = len(axes), part.shape[1:]
    split = part.reshape(*(axis.sizes[0] for axis in axes), *(axis.sizes[1] for axis in axes), *rest)
    order = [i for axis in range(d) for i in (axis, d + axis)]
    return split.transpose(*order, *range(2 * d, split.ndim)).reshape(*map(len, axes), *rest)


def _by_positions(axes: tuple[Layout, ...], part: Array) -> Array:
    """The inverse of `_by_axes`."""
    d, rest = len(axes), part.shape[len(axes) :]
    split = part.reshape(*(size for axis in axes for size in axis.sizes), *rest)
    order = [*range(0, 2 * d, 2), *range(1, 2 * d, 2)]
    return split.transpose(*order, *range(2 * d, split.ndim)).reshape(-1, *rest)


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
    out = [len(window.axis_taps(i, x.shape[axis])) for axis, (window, i) in zip(axes, windows, strict=True)]
    for axis, (window, i) in zip(axes, windows, strict=True):
        x = padded(window, i, x, axis)
    x = jax.lax.optimization_barrier(x)  # what pads and taps read is computed once, not once for each tap
    if taps == 1 and all(x.shape[a] == size for a, size in zip(axes, out, strict=True)):
        return x
    terms = []
    for t in range(taps):
        term = x
        for axis, size, (window, i) in zip(axes, out, windows, strict=True):
            term = tap(window, i, term, axis, t, size)
        terms.append(term)
    return sum(terms[1:], terms[0])


def padded(window: Window, i: int, x: Array, axis: int) -> Array:
    """x with the padding of axis i of a window along one of its axes."""
    size, (low, high) = x.shape[axis], window.pads[i]
    if window.wrap:
        return jnp.take(x, np.arange(-low, size + high) % size, axis=axis)
    if not (low or high or window.spreads[i] > 1):
        return x
    config = [(0, 0, 0)] * x.ndim
    config[axis] = (low, high, window.spreads[i] - 1)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), config)


def tap(window: Window, i: int, x: Array, axis: int, t: int, out: int) -> Array:
    """What tap t of axis i reads of a padded x along one of its axes, for so many results."""
    start, stride = t * window.dilations[i], window.strides[i]
    return jax.lax.slice_in_dim(x, start, start + (out - 1) * stride + 1, stride, axis)
