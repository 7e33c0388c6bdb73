"""Matrices over positions, applied to arrays over pairs of positions (C4), (G1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
from jax import Array

from widenet.kernels.layout import Layout, every, of_codes

HIGHEST = jax.lax.Precision.HIGHEST
SPARSE = 0.1  # a matrix with a smaller share of nonzero entries is applied by its entries


class Matrices:
    """z = (M_1 x M_2 x ...) x over flattened positions; equal matrices are one object."""

    def __init__(self, matrices: tuple[Any, ...]) -> None:
        self.matrices = matrices
        self.sizes = tuple(m.shape[1] for m in matrices)
        self.outs = tuple(m.shape[0] for m in matrices)
        self.size, self.out = math.prod(self.sizes), math.prod(self.outs)
        self.trivial = False  # known to leave everything as it is

    @cached_property
    def whole(self) -> scipy.sparse.csr_array:
        """The matrix over flattened positions, by its nonzero entries."""
        total = scipy.sparse.csr_array(self.matrices[0])
        for matrix in self.matrices[1:]:
            total = scipy.sparse.csr_array(scipy.sparse.kron(total, scipy.sparse.csr_array(matrix)))
        total.sort_indices()
        return total

    @cached_property
    def chosen(self) -> np.ndarray | None:
        """Which position each row selects; None if it does more than select."""
        rows = self.whole
        simple = (np.diff(rows.indptr) == 1).all() and (rows.data == 1).all()
        return rows.indices.astype(np.int64) if simple else None

    @cached_property
    def sums(self) -> np.ndarray:
        """The sum of each row."""
        return np.asarray(self.whole.sum(axis=1), float).ravel()

    def on(self, x: Array, axis: int) -> Array:
        """M x along one flattened axis of positions."""
        if self.trivial:
            return x
        shape = x.shape
        x = x.reshape(*shape[:axis], *self.sizes, *shape[axis + 1 :])
        for i, matrix in enumerate(self.matrices):
            x = _apply(matrix, x, axis + i)
        return x.reshape(*shape[:axis], self.out, *shape[axis + 1 :])


def _apply(matrix: Any, x: Array, axis: int) -> Array:
    if hasattr(matrix, "tocoo") and matrix.nnz < SPARSE * math.prod(matrix.shape):
        entries = matrix.tocoo()
        moved = jnp.moveaxis(x, axis, 0)
        terms = jnp.asarray(entries.data, x.dtype).reshape(-1, *[1] * (x.ndim - 1)) * moved[entries.col]
        return jnp.moveaxis(jax.ops.segment_sum(terms, entries.row, matrix.shape[0]), 0, axis)
    dense = matrix.toarray() if hasattr(matrix, "tocoo") else matrix
    if dense.shape[0] == dense.shape[1] and (dense == np.eye(len(dense))).all():
        return x
    out = jnp.tensordot(jnp.asarray(dense, x.dtype), x, (1, axis), precision=HIGHEST)
    return jnp.moveaxis(out, 0, axis)


def matrices(given: tuple[Any, ...]) -> Matrices:
    """The same object for the same matrices, so that compiled rules are found again."""
    return _interned(tuple(_Content(m) for m in given))


class _Content:
    """A matrix, compared by its entries."""

    def __init__(self, matrix: Any) -> None:
        if hasattr(matrix, "tocsr"):
            matrix = matrix.tocsr()
            parts = (matrix.data, matrix.indices, matrix.indptr)
        else:
            matrix = np.asarray(matrix)
            parts = (matrix,)
        self.matrix = matrix
        self.key = (matrix.shape, *(part.tobytes() for part in parts))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self.key == other.key


@lru_cache(maxsize=128)
def _interned(given: tuple[_Content, ...]) -> Matrices:
    return Matrices(tuple(content.matrix for content in given))


@lru_cache(maxsize=64)
def identity(size: int) -> Matrices:
    """The matrix that leaves the positions alone."""
    made = Matrices((scipy.sparse.csr_array(scipy.sparse.eye_array(size)),))
    made.trivial = True
    return made


def pairs_needed(left: Matrices, right: Matrices) -> Callable[[Layout], Layout]:
    """The pairs of positions that each layout of M K N^T reads."""

    def needed(layout: Layout) -> Layout:
        sizes = left.size, right.size
        if layout.is_all and _dense(left) and _dense(right):
            return every(*sizes)
        _, codes, _ = _terms(left, right, layout)
        return of_codes(np.unique(codes), sizes)

    return needed


def _dense(matrix: Matrices) -> bool:
    return len(np.unique(matrix.whole.indices)) == matrix.size


@lru_cache(maxsize=64)
def _terms(left: Matrices, right: Matrices, layout: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The terms M_ap N_bq of each pair (a, b): which pair of the layout, the code of (p, q), the weight."""
    m, n = left.whole, right.whole
    counts_m, counts_n = np.diff(m.indptr)[layout.left], np.diff(n.indptr)[layout.right]
    count = counts_m * counts_n
    row = np.repeat(np.arange(len(layout)), count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    i, j = within // counts_n[row], within % counts_n[row]
    at_m, at_n = m.indptr[layout.left][row] + i, n.indptr[layout.right][row] + j
    codes = m.indices[at_m].astype(np.int64) * right.size + n.indices[at_n]
    return row, codes, m.data[at_m] * n.data[at_n]


def apply(left: Matrices, right: Matrices, layout: Layout, have: Layout, part: Array) -> Array:
    """M K N^T at the pairs of `layout`, of an array `[L', ...]` at the pairs `have`."""
    if have.is_all and (layout.is_all or len(have) > 1):
        return _both_sides(left, right, layout, part.reshape(left.size, right.size, *part.shape[1:]))
    rows, codes, weights = _terms(left, right, layout)
    index = have.find(codes)
    if len(rows) == len(layout) and (weights == 1).all():
        return part[index]
    terms = jnp.asarray(weights, part.dtype).reshape(-1, *[1] * (part.ndim - 1)) * part[index]
    return jax.ops.segment_sum(terms, rows, len(layout), indices_are_sorted=True)


def _both_sides(left: Matrices, right: Matrices, layout: Layout, part: Array) -> Array:
    half = left.on(part, 0)
    if layout.is_equal and len(layout) > 1 and not right.trivial:
        dense = jnp.asarray(right.whole.toarray(), part.dtype)
        return jnp.einsum("oq...,oq->o...", half, dense, precision=HIGHEST)
    whole = right.on(half, 1).reshape(-1, *part.shape[2:])
    return every(left.out, right.out).take(whole, layout)
