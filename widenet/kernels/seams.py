"""Convolutions between an image and shifted copies of others (C9).

The copies go around: position p of x1 is paired with position p + shift, modulo the size, of x2.  Where the numbering
of a copy starts again there is a seam: the border of the image, across which no window reads.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.kernels.windows import Slide, padded, tap
from widenet.program.window import Window

Masks = tuple[tuple[Array | None, ...], ...]  # by axis and tap: `[out, n2]`, is it inside x2?  None where it always is


class Shifts(NamedTuple):
    """How far each sample of x2 is shifted."""

    by: Array  # [axes, n2], in units of these positions
    sizes: tuple[int, ...]

    def at(self, sizes: tuple[int, ...]) -> Array:
        """The same in units of finer positions, of which these are every so many."""
        steps = np.asarray(sizes) // np.asarray(self.sizes)
        return self.by * steps[:, None]

    def source(self, sizes: tuple[int, ...]) -> Array:
        """`[n2, P]`: the position of x2 that is found at each flattened position of its shifted copy."""
        out = jnp.zeros((self.by.shape[1], 1), int)
        for by, size in zip(self.at(sizes), sizes, strict=True):
            axis = (jnp.arange(size) + by[:, None]) % size
            out = (out[:, :, None] * size + axis[:, None, :]).reshape(len(out), -1)
        return out


def fits(slide: Slide) -> bool:
    """Does the convolution map shifted copies to shifted copies: every so many positions, on the same circle?"""
    window, sizes = slide.left, slide.from_left
    plain = window.plain or window.wrap
    return plain and all(
        size == stride * out for size, stride, out in zip(sizes, window.strides, window.output(sizes), strict=True)
    )


def masks(slide: Slide, shift: Array) -> Masks:
    """Which taps of the shifted samples are inside; shift: of the result, `[axes, n2]`."""
    made = []
    for axis, size in enumerate(slide.from_left):
        inside = slide.left.axis_taps(axis, size) >= 0
        out = len(inside)
        at = (jnp.arange(out)[:, None] + shift[axis]) % out
        made.append(tuple(None if column.all() else jnp.asarray(column)[at] for column in inside.T))
    return tuple(made)


def product_sum(slide: Slide, inside: Masks, part: Array) -> Array:
    """sum_t part[tap t of p] of `[P, n1, n2]`, padding reads zero on both sides."""
    x = part.reshape(*slide.from_left, *part.shape[1:])
    for axis, of_taps in enumerate(inside):
        whole, terms = _padded(slide.left, axis, x), []
        for t, mask in enumerate(of_taps):
            term = tap(slide.left, axis, whole, axis, t, slide.left.output(slide.from_left)[axis])
            terms.append(term if mask is None else jnp.where(_spread(mask, axis, x.ndim), term, 0))
        x = sum(terms)
    return x.reshape(-1, *part.shape[1:])


def distance_sum(slide: Slide, inside: Masks, d: Array, q1: Array, q2: Array) -> tuple[Array, Array, Array]:
    """The same of half distances `[P, n1, n2]`, and of the variances `[P, n1]`, `[P, n2]` that they belong to.

    A tap that is inside on one side alone adds half the variance there (C5), one axis after the other.
    """
    n1, n2 = d.shape[1:]
    x, left, right = (
        part.reshape(*slide.from_left, *axes) for part, axes in ((d, (n1, n2)), (q1, (n1, 1)), (q2, (1, n2)))
    )
    for axis, of_taps in enumerate(inside):
        x, left, right = _distance_axis(slide, axis, of_taps, x, left, right)
    return x.reshape(-1, n1, n2), left.reshape(-1, n1), right.reshape(-1, n2)


def variance_sum(slide: Slide, inside: Masks, q2: Array) -> Array:
    """The same of the variances `[P, n2]` of the shifted samples alone."""
    x = q2.reshape(*slide.from_left, 1, -1)
    for axis, of_taps in enumerate(inside):
        x = sum(_taps_of_copies(slide, axis, of_taps, x))
    return x.reshape(-1, q2.shape[-1])


def _taps_of_copies(slide: Slide, axis: int, of_taps: tuple[Array | None, ...], q2: Array) -> list[Array]:
    """What each tap along one axis reads of the shifted samples, which go on at the other end."""
    window, size = slide.left, slide.from_left[axis]
    at = np.arange(window.output(slide.from_left)[axis]) * window.strides[axis] - window.pads[axis][0]
    read = [jnp.take(q2, (at + t * window.dilations[axis]) % size, axis) for t in range(len(of_taps))]
    return [
        term if mask is None else jnp.where(_spread(mask, axis, q2.ndim), term, 0)
        for term, mask in zip(read, of_taps, strict=True)
    ]


def _distance_axis(
    slide: Slide, axis: int, of_taps: tuple[Array | None, ...], d: Array, q1: Array, q2: Array
) -> tuple[Array, Array, Array]:
    window, size = slide.left, slide.from_left[axis]
    out = window.output(slide.from_left)[axis]
    outside = window.axis_taps(axis, size) < 0
    wide, half = _padded(window, axis, d), _padded(window, axis, q1 / 2)
    rights = _taps_of_copies(slide, axis, of_taps, q2)
    lefts = [tap(window, axis, half, axis, t, out) for t in range(len(of_taps))]
    terms, alone = [], []
    for t, (mask, left, right) in enumerate(zip(of_taps, lefts, rights, strict=True)):
        term = tap(window, axis, wide, axis, t, out)
        terms.append(term if mask is None else jnp.where(_spread(mask, axis, d.ndim), term, left))
        if outside[:, t].any():  # of x1, and perhaps inside of x2
            rows = outside[:, t].reshape([-1 if i == axis else 1 for i in range(d.ndim)])
            alone.append(jnp.where(rows, right, 0))
    if alone:
        terms.append(jax.lax.optimization_barrier(sum(alone) / 2))
    return sum(terms), 2 * sum(lefts), sum(rights)


def _padded(window: Window, axis: int, x: Array) -> Array:
    return jax.lax.optimization_barrier(padded(window, axis, x, axis))  # computed once, not once for each tap


def _spread(mask: Array, axis: int, ndim: int) -> Array:
    """`[out, n2]`, shaped to broadcast over arrays whose positions are axes of their own."""
    shape = [1] * ndim
    shape[axis], shape[-1] = mask.shape
    return mask.reshape(shape)
