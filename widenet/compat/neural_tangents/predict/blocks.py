"""Kernels of outputs with several axes, as matrices, and the axes of targets that they are block-diagonal in.

A kernel lists the axes of f(x1) and f(x2) in turn, `[n1, n2, k, k]` of outputs `[n, k]`, without the `trace_axes`:
along these it is the same for every output, Theta x I.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from widenet.compat.neural_tangents.kernel import as_matrix, interleaved


@dataclass(frozen=True)
class Targets:
    """Targets `[n, ...]` whose `traced` axes (not negative) are columns."""

    y: jax.Array
    traced: tuple[int, ...]

    @property
    def rank(self) -> int:
        """The number of axes."""
        return self.y.ndim

    def columns(self, values: Any) -> jax.Array:
        """Values shaped like outputs as `[rows, columns]`, traced axes last."""
        values = jnp.moveaxis(values, self.traced, range(-len(self.traced), 0)) if self.traced else values
        rows = values.shape[: self.rank - len(self.traced)]
        return values.reshape(math.prod(rows), -1)

    def outputs(self, columns: jax.Array, rows: Sequence[int]) -> jax.Array:
        """`[..., rows, columns]` shaped like outputs; leading axes stay."""
        lead = columns.shape[:-2]
        traced = tuple(self.y.shape[a] for a in self.traced)
        values = columns.reshape(*lead, *rows, *traced)
        last = range(-len(self.traced), 0)
        return jnp.moveaxis(values, last, [len(lead) + a for a in self.traced]) if self.traced else values


def targets(y: Any, trace_axes: int | Sequence[int]) -> Targets:
    """Targets, with their traced axes."""
    y = jnp.asarray(y)
    axes = (trace_axes,) if isinstance(trace_axes, int) else tuple(trace_axes)
    if any(not -y.ndim <= a < y.ndim for a in axes) or (axes and y.ndim < 2):
        raise ValueError(
            f"trace_axes={trace_axes} are not outputs of targets of shape {y.shape}: give y as [n, outputs], or "
            "trace_axes=()."
        )
    return Targets(y, tuple(sorted(a % y.ndim for a in axes)))


def row_shape(kernel: Any) -> tuple[int, ...]:
    """The untraced axes of the outputs of x1."""
    return tuple(kernel.shape[::2])


def as_kernel(matrix: jax.Array, rows: Sequence[int], columns: Sequence[int]) -> jax.Array:
    """`[..., n1 h, n2 h]` as `[..., n1, n2, h, h]`."""
    lead = matrix.ndim - 2
    return interleaved(matrix.reshape(*matrix.shape[:-2], *rows, *columns), lead)


def regularized(kernel: Any, diag_reg: Any, absolute: bool) -> jax.Array:
    """The kernel as a matrix with diag_reg on its diagonal, in units of the mean of that unless `absolute`."""
    matrix = as_matrix(jnp.asarray(kernel))
    size = matrix.shape[0]
    added = diag_reg if absolute else diag_reg * jnp.trace(matrix) / size
    return matrix + added * jnp.eye(size, dtype=matrix.dtype)
