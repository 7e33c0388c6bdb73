"""Elementary functions that stay finite, and keep finite gradients, where the naive ones do not."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array


def ratio(x: Array, y: Array) -> Array:
    """x / y for y != 0, and 0 with zero gradient for y = 0."""
    nonzero = y != 0
    return jnp.where(nonzero, x / jnp.where(nonzero, y, 1), 0)


def root(x: Array) -> Array:
    """sqrt(x) for x > 0, and 0 with zero gradient for x = 0: a variance of zero does not move."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def at_least_zero(x: Array) -> Array:
    """max(x, 0) with the gradient of x: for a number that only rounding makes negative."""
    return x + jax.lax.stop_gradient(jnp.maximum(-x, 0))


def horner(coefs: Sequence[float | Array], x: Array) -> Array:
    """sum_i coefs[i] x^i."""
    total = jnp.full_like(x, coefs[-1]) if isinstance(coefs[-1], float) else coefs[-1] + jnp.zeros_like(x)
    for coef in reversed(coefs[:-1]):
        total = total * x + coef
    return total


def correlation(q1: Array, q2: Array, k: Array) -> Array:
    """c = k / sqrt(q1 q2) in [-1, 1], and 0 at zero variance; q1 q2 is never formed, so nothing overflows."""
    c = ratio(ratio(k, root(q1)), root(q2))
    return c - jax.lax.stop_gradient(c - jnp.clip(c, -1, 1))  # beyond 1 by rounding only: Cauchy-Schwarz


def determinant(q1: Array, q2: Array, k: Array, unit: Array) -> Array:
    """(q1 q2 - k^2) unit^2 >= 0, exactly 0 at q1 = q2 = |k|: (q - k)(q + k) - delta^2, q +- delta = q1, q2."""
    middle, delta = (q1 + q2) / 2, (q1 - q2) / 2
    return at_least_zero((middle - k) * unit * ((middle + k) * unit) - (delta * unit) ** 2)
