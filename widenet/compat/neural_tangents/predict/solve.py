"""Solving with a Gram matrix, once it is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy as jsp
import numpy as np

from widenet import checks
from widenet.predict.cholesky import factor


def solver(matrix: Any) -> Callable[[jax.Array], jax.Array]:
    """b -> matrix^-1 b.

    A known matrix is factored in float64, with the least jitter that makes it positive definite; a traced one in its
    own precision, where a singular matrix gives NaN.
    Raises: ValueError for a matrix that is not positive definite to rounding, with its smallest eigenvalue.
    """
    if checks.is_traced(matrix):
        lower = jsp.linalg.cho_factor(matrix, lower=True)
        return lambda b: jsp.linalg.cho_solve(lower, b)
    factored = factor(np.array(matrix, np.float64))

    def solve(b: jax.Array) -> jax.Array:
        if not checks.is_traced(b):
            return jnp.asarray(factored.solve(np.asarray(b, np.float64)), jnp.result_type(matrix, b))
        return jsp.linalg.cho_solve((jnp.asarray(factored.lower, b.dtype), True), b)

    return solve


def eigenbasis(matrix: Any) -> tuple[jax.Array, jax.Array]:
    """Eigenvalues, negative ones (rounding) as zero, and eigenvectors; of a known matrix in float64."""
    if checks.is_traced(matrix):
        values, vectors = jnp.linalg.eigh(matrix)
        return jnp.maximum(values, 0.0), vectors
    known = np.linalg.eigh(np.asarray(matrix, np.float64))
    with jax.ensure_compile_time_eval():  # arrays that may be kept, inside of jit as well
        values, vectors = (jnp.asarray(part, matrix.dtype) for part in known)
        return jnp.maximum(values, 0.0), vectors


def learned(values: jax.Array, t: jax.Array) -> jax.Array:
    """(1 - e^(-values t)) / values, `[..., n]` for t `[..., 1]`; t where the eigenvalue is zero.

    The peer divides zero by zero there, and all its predictions are NaN.
    """
    safe = jnp.where(values > 0, values, 1.0)
    at_zero = jnp.where(jnp.isinf(t), 0.0, t)
    return jnp.where(values > 0, -jnp.expm1(-safe * t) / safe, at_zero)


def decayed(values: jax.Array, t: jax.Array) -> jax.Array:
    """e^(-values t) - 1."""
    return jnp.where(values > 0, jnp.expm1(-jnp.where(values > 0, values, 1.0) * t), 0.0)
