"""Tangent kernels in blocks of samples and outputs, so that no Jacobian of all of them is ever held.

`output_axes` says which entries of the kernel of k outputs are wanted: 0 their mean over equal outputs `[n1, n2]`,
1 equal outputs `[n1, n2, k]`, 2 all pairs of outputs `[n1, n2, k, k]`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.finite.jacobian import Reader
from widenet.progress import progress

# Numbers that the features of a block, and its contraction with another, may hold: 128 MB in float64.
BLOCK_NUMBERS = 2**24


class Job(NamedTuple):
    """A tangent kernel to be computed."""

    reader: Reader
    params: Any
    outputs: int  # k
    output_axes: int

    @property
    def crossed(self) -> bool:
        """Are pairs of different outputs wanted?"""
        return self.output_axes == 2


class Size(NamedTuple):
    """The shape of a block: so many samples, so many outputs."""

    rows: int
    outputs: int


def block_size(job: Job, x: Any, rows: int) -> Size:
    """The largest block that holds about `BLOCK_NUMBERS` numbers, for at most so many rows."""
    made, held = (
        jax.eval_shape(f, job.params, x[:1], jnp.zeros(1, int)) for f in (job.reader.features, job.reader.held)
    )
    each = max(1, sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(held)))
    outputs = min(job.outputs, max(1, BLOCK_NUMBERS // each))
    pair = job.reader.pair_numbers(made) * outputs**job.output_axes
    return Size(min(rows, max(1, min(BLOCK_NUMBERS // (each * outputs), math.isqrt(BLOCK_NUMBERS // pair)))), outputs)


def in_blocks(job: Job, x1: Any, x2: Any, size: Size) -> np.ndarray:
    """The tangent kernel of concrete data; x2=None computes the upper triangle of blocks only."""
    places = list(_places(x1, x2, size, job))
    whole: np.ndarray | None = None
    other, symmetric = (x1, True) if x2 is None else (x2, False)
    shape = (len(x1), len(other), *(job.outputs,) * job.output_axes)
    last: tuple[Any, Any] = (None, None)
    for place in progress(places, "tangent kernel blocks"):
        if last[0] != place[::2]:  # x1 moves slowest, so its features are kept
            last = place[::2], _features(job, x1, place.rows1, place.outputs1, size)
        same = symmetric and place[::2] == place[1::2]
        right = last[1] if same else _features(job, other, place.rows2, place.outputs2, size)
        value = _reduced(np.asarray(job.reader.contract(last[1], right, job.output_axes)), job)
        whole = np.zeros(shape, value.dtype) if whole is None else whole
        _add(whole, value, place)
        if symmetric and place.rows1 != place.rows2:
            _add(whole, _swapped(value), place.swapped())
    assert whole is not None, "a batch has at least one sample"
    return whole


def as_one_batch(job: Job, x1: Any, x2: Any) -> Array:
    """The same where samples of a batch depend on each other: x1 and x2 together are the batch, in one block."""
    n1 = x1.shape[0]
    both = x1 if x2 is None else jax.tree.map(lambda a, b: jnp.concatenate([a, b]), on_device(x1), on_device(x2))
    found = job.reader.features(job.params, on_device(both), jnp.arange(job.outputs))
    left, right = ([leaf[part] for leaf in found] for part in (slice(n1), slice(0 if x2 is None else n1, None)))
    return _reduced(job.reader.contract(left, right, job.output_axes), job)


class Place(NamedTuple):
    """Where a block is: which samples of x1 and x2, which outputs at either."""

    rows1: slice
    rows2: slice
    outputs1: slice
    outputs2: slice

    def swapped(self) -> Place:
        """The place of the same entries with x1 and x2 exchanged."""
        return Place(self.rows2, self.rows1, self.outputs2, self.outputs1)


def _places(x1: Any, x2: Any, size: Size, job: Job) -> Iterator[Place]:
    n1, n2, symmetric = len(x1), len(x1 if x2 is None else x2), x2 is None
    outputs = list(_slices(job.outputs, size.outputs))
    for rows1 in _slices(n1, size.rows):
        for chunk1 in outputs:
            for rows2 in _slices(n2, size.rows, rows1.start if symmetric else 0):
                for chunk2 in outputs if job.crossed else [chunk1]:
                    yield Place(rows1, rows2, chunk1, chunk2)


def _slices(n: int, length: int, start: int = 0) -> Iterator[slice]:
    return (slice(i, min(i + length, n)) for i in range(start, n, length))


def _features(job: Job, x: Any, rows: slice, outputs: slice, size: Size) -> Any:
    """Features of a block of full size: its last sample is repeated, outputs past the last have gradient zero."""
    index = np.minimum(np.arange(rows.start, rows.start + size.rows), rows.stop - 1)
    return job.reader.features(job.params, on_device(x[index]), outputs.start + np.arange(size.outputs))


def on_device(x: Any) -> Any:
    """An array, or every part of samples, as jax's."""
    return jax.tree.map(jnp.asarray, x)


def _reduced(value: Any, job: Job) -> Any:
    return value if job.output_axes else value / job.outputs


def _add(whole: np.ndarray, value: np.ndarray, place: Place) -> None:
    at = place[: whole.ndim]
    whole[at] += value[tuple(slice(0, s.stop - s.start) for s in at)]


def _swapped(value: np.ndarray) -> np.ndarray:
    value = value.swapaxes(0, 1)
    return value.swapaxes(2, 3) if value.ndim == 4 else value


def traced_blocks(job: Job, x1: Array, x2: Array, size: Size) -> Array:
    """The same inside somebody's jit, grad or vmap: loops of jax, no use of symmetry."""
    chunks = _stacked(jnp.arange(job.outputs), size.outputs, past_the_end=job.outputs)
    rows1, rows2 = (jax.tree.map(lambda part: _stacked(part, size.rows), x) for x in (x1, x2))
    blocks = _map(lambda a: _map(lambda b: _traced_block(job, a, b, chunks), rows2), rows1)
    whole = jnp.moveaxis(blocks, 1, 2)  # [blocks1, rows1, blocks2, rows2, ...]
    whole = whole.reshape(math.prod(whole.shape[:2]), math.prod(whole.shape[2:4]), *whole.shape[4:])
    return whole[: x1.shape[0], : x2.shape[0]]


def _traced_block(job: Job, a: Array, b: Array, chunks: Array) -> Array:
    def value(chunk1: Array, chunk2: Array) -> Array:
        features = job.reader.features(job.params, a, chunk1), job.reader.features(job.params, b, chunk2)
        return _reduced(job.reader.contract(*features, job.output_axes), job)

    if job.crossed:
        parts = _map(lambda one: _map(lambda two: value(one, two), chunks), chunks)  # [p, q, rows, rows, c, c]
        joined = parts.transpose(2, 3, 0, 4, 1, 5)
        return joined.reshape(*joined.shape[:2], chunks.size, chunks.size)[..., : job.outputs, : job.outputs]
    parts = _map(lambda one: value(one, one), chunks)
    if job.output_axes == 0:
        return parts.sum(axis=0)
    return jnp.moveaxis(parts, 0, 2).reshape(*parts.shape[1:3], -1)[..., : job.outputs]


def _stacked(x: Array, length: int, past_the_end: Any = None) -> Array:
    """Rows in blocks `[blocks, length, ...]`, the last one filled up with its last row or the given value."""
    missing = -x.shape[0] % length
    filling = x[-1:] if past_the_end is None else jnp.asarray([past_the_end])
    return jnp.concatenate([x, *[filling] * missing]).reshape(-1, length, *x.shape[1:])


def _map(f: Callable[[Array], Array], blocks: Array) -> Array:
    if jax.tree.leaves(blocks)[0].shape[0] == 1:
        return f(jax.tree.map(lambda part: part[0], blocks))[None]
    return jax.lax.map(f, blocks)
