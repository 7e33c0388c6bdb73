"""Which pairs of positions a covariance is formed for (C6).

A covariance of u and v has one axis for the pairs (p, q), p a position of u and q one of v: equal positions only, all
pairs, a grid (some pairs along each axis of an image: below a stride, those at distances that it divides), or any
others.  What is formed is what something downstream asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

WORTH = 0.6  # a grid of a larger share of all pairs is not worth its indices


@dataclass(frozen=True, eq=False)
class Layout:
    """Pairs of positions, ascending but for a grid; equal layouts are one object."""

    sizes: tuple[int, int]  # positions of u and of v
    kind: str  # "equal", "all", "grid" or "some"
    some: np.ndarray | None = None  # codes p * sizes[1] + q, if kind is "grid" or "some"
    axes: tuple[Layout, ...] = ()  # of a grid: the pairs along each axis, which it combines in row-major order

    def __len__(self) -> int:
        return {"equal": self.sizes[0], "all": self.sizes[0] * self.sizes[1]}.get(self.kind) or len(self.codes)

    @property
    def is_equal(self) -> bool:
        """Equal positions only?"""
        return self.kind == "equal"

    @property
    def is_all(self) -> bool:
        """All pairs, so that the axis may be taken apart into [p, q]?"""
        return self.kind == "all" or self.sizes == (1, 1)

    @cached_property
    def codes(self) -> np.ndarray:
        """The pairs as numbers p * sizes[1] + q."""
        if self.kind == "equal":
            return np.arange(self.sizes[0]) * (self.sizes[1] + 1)
        if self.kind == "all":
            return np.arange(self.sizes[0] * self.sizes[1])
        assert self.some is not None
        return self.some

    @cached_property
    def left(self) -> np.ndarray:
        """The position of u in each pair."""
        return self.codes // self.sizes[1]

    @cached_property
    def right(self) -> np.ndarray:
        """The position of v in each pair."""
        return self.codes % self.sizes[1]

    def union(self, other: Layout) -> Layout:
        """The pairs of both."""
        if self is other or self.kind == "all":
            return self
        if other.kind == "all":
            return other
        if self.axes or other.axes:
            return self._grid_with(other) if self.axes else other._grid_with(self)
        return of_codes(np.union1d(self.codes, other.codes), self.sizes)

    def _grid_with(self, other: Layout) -> Layout:
        """A grid that holds this one and the pairs of `other`."""
        theirs = tuple(equal(axis.sizes[0]) for axis in self.axes) if other.is_equal else other.axes
        if [axis.sizes for axis in theirs] != [axis.sizes for axis in self.axes]:
            return every(*self.sizes)
        return grid(tuple(a.union(b) for a, b in zip(self.axes, theirs, strict=True)))

    def at_left(self, values: Array) -> Array:
        """Values `[P, ...]` of the positions of u, one for each pair."""
        if self.kind == "equal":
            return values
        return jnp.repeat(values, self.sizes[1], axis=0) if self.kind == "all" else values[self.left]

    def at_right(self, values: Array) -> Array:
        """Values `[Q, ...]` of the positions of v, one for each pair."""
        if self.kind == "equal":
            return values
        if self.kind == "all":
            return jnp.broadcast_to(values[None], (self.sizes[0], *values.shape)).reshape(-1, *values.shape[1:])
        return values[self.right]

    def take(self, part: Array, other: Layout) -> Array:
        """From an array over these pairs to one over some of them."""
        if self is other or (len(self) == len(other) and not self.axes and not other.axes):
            return part
        if self.kind == "all" and other.kind == "equal":
            return part[:: self.sizes[1] + 1]
        return part[self.find(other.codes)]

    def find(self, codes: np.ndarray) -> np.ndarray:
        """Where these pairs are among those of the layout."""
        if not self.axes:
            return np.searchsorted(self.codes, codes)
        order = np.argsort(self.codes)
        return order[np.searchsorted(self.codes[order], codes)]

    def swapped(self) -> Layout:
        """The pairs (q, p)."""
        if self.axes:
            return grid(tuple(axis.swapped() for axis in self.axes))
        if self.kind != "some":
            return self if self.kind == "equal" else every(*self.sizes[::-1])
        return of_codes(np.sort(self.right * self.sizes[0] + self.left), self.sizes[::-1])


@lru_cache(maxsize=256)
def equal(size: int) -> Layout:
    """The pairs (p, p)."""
    return Layout((size, size), "equal")


@lru_cache(maxsize=256)
def every(left: int, right: int) -> Layout:
    """All pairs."""
    return equal(1) if left == right == 1 else Layout((left, right), "all")


def of_codes(codes: Any, sizes: tuple[int, int]) -> Layout:
    """The layout of these pairs, given as distinct ascending codes."""
    codes = np.asarray(codes, np.int64)
    if len(codes) == sizes[0] * sizes[1]:
        return every(*sizes)
    if sizes[0] == sizes[1] == len(codes) and (codes == np.arange(sizes[0]) * (sizes[0] + 1)).all():
        return equal(sizes[0])
    return _some(codes.tobytes(), sizes)


@lru_cache(maxsize=512)
def _some(codes: bytes, sizes: tuple[int, int]) -> Layout:
    return Layout(sizes, "some", np.frombuffer(codes, np.int64))


def grid(axes: tuple[Layout, ...]) -> Layout:
    """The pairs of positions of an image whose coordinates are such pairs along every axis."""
    sizes = math.prod(axis.sizes[0] for axis in axes), math.prod(axis.sizes[1] for axis in axes)
    if len(axes) == 1:
        return axes[0]
    if all(axis.is_equal for axis in axes):
        return equal(sizes[0])
    if math.prod(map(len, axes)) > WORTH * sizes[0] * sizes[1]:
        return every(*sizes)
    return _grid(axes, sizes)


@lru_cache(maxsize=512)
def _grid(axes: tuple[Layout, ...], sizes: tuple[int, int]) -> Layout:
    left, right = np.zeros(1, np.int64), np.zeros(1, np.int64)
    for axis in axes:
        left = (left[:, None] * axis.sizes[0] + axis.left).ravel()
        right = (right[:, None] * axis.sizes[1] + axis.right).ravel()
    return Layout(sizes, "grid", left * sizes[1] + right, axes)
