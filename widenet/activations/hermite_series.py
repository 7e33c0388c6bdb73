"""Smooth functions without closed form: the Hermite series of Mehler's formula. (D14)

    E[phi(u) psi(v)] = sum_j a_j(q1) b_j(q2) c^j,   a_j(q) = E[phi(sqrt(q) z) h_j(z)],   c = k / sqrt(q1 q2).

The coefficients depend on one variance only, so a pair of samples costs a polynomial in c.  What J terms
leave out is at most |c|^J sqrt(R1 R2), R_i = E phi^2 - sum_(j<J) a_j^2 (Cauchy-Schwarz): that is what
`stated_error` states.  The a_j are found by the trapezoid rule, which converges geometrically.
Source: Mehler 1866; Daniely et al. 2016, lemma 11; rule and bound: widenet.

sqrt(R1 R2) for q1 = q2 = q, of the dual with J = 128 | 256 terms (float32 | float64), measured:

    q          1                3                9                30
    tanh       2e-15 | 1e-16    2e-9 | 3e-13     4e-6 | 3e-8      5e-4 | 3e-5
    sigmoid    1e-16 | 1e-16    1e-16 | 1e-16    2e-11 | 1e-15    4e-7 | 2e-9
    silu       1e-16 | 1e-16    1e-15 | 1e-15    2e-10 | 2e-14    4e-6 | 2e-8
    mish       2e-16 | 2e-16    2e-13 | 2e-16    3e-8 | 2e-11     4e-5 | 6e-7
    softplus   2e-16 | 2e-16    2e-16 | 2e-16    2e-12 | 2e-15    9e-8 | 2e-10
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.activations.activation import Activation, Times, derivative
from widenet.activations.numerics import correlation, root

REACH = 13.0  # the Gaussian density is 8e-38 there: below the smallest float32
NODES = 640  # resolves h_255 and a pole at distance 0.5, such as that of tanh(3 z), to 1e-15
TERMS = {"float64": 256, "float32": 128}  # measured in tests/activations/test_golden.py


@lru_cache
def nodes(count: int = NODES) -> tuple[np.ndarray, np.ndarray]:
    """Points z of the trapezoid rule and weights with sum_i w_i f(z_i) = E f(z), in float64."""
    z = np.linspace(-REACH, REACH, count)
    w = np.exp(-(z**2) / 2)
    return z, w / w.sum()


@lru_cache
def weighted_hermite(terms: int, count: int = NODES) -> np.ndarray:
    """w_i h_j(z_i), shape [terms, count], by the stable recurrence of the normalized polynomials."""
    z, w = nodes(count)
    before, now, rows = np.zeros_like(z), w, []
    for j in range(terms):
        rows.append(now)
        before, now = now, (z * now - np.sqrt(j) * before) / np.sqrt(j + 1)
    return np.stack(rows)


def terms_of(dtype: Any) -> int:
    """How many terms the series has in a precision."""
    return TERMS.get(jnp.dtype(dtype).name, TERMS["float32"])


def coefficients(phi: Activation, q: Array, terms: int, count: int = NODES) -> tuple[Array, Array]:
    """a_j(q), shape [terms, *q.shape], and sqrt(R) of the even and the odd part, shape [2, *q.shape]."""
    z, w = (jnp.asarray(x, q.dtype) for x in nodes(count))
    values = phi.fn(root(q)[..., None] * z, *phi.params)
    table = jnp.asarray(weighted_hermite(terms, count), q.dtype)
    a = jnp.einsum("ji,...i->j...", table, values, precision=jax.lax.Precision.HIGHEST)
    mirrored = values[..., ::-1]
    parts = jnp.stack([values + mirrored, values - mirrored]) / 2
    kept = jnp.stack([jnp.sum(a[0::2] ** 2, 0), jnp.sum(a[1::2] ** 2, 0)])
    return a, root(jnp.maximum(jnp.sum(w * parts**2, -1) - kept, 0))  # R >= 0 is Bessel's inequality


@jax.custom_jvp
def series_dual(phi: Activation, psi: Activation | None, q1: Array, q2: Array, k: Array) -> Array:
    """E[phi(u) psi(v)] of two smooth functions; None says that psi is phi.

    Its derivatives are expectations again: dE/dk = E[phi' psi'] (Price), dE/dq1 = E[phi'' psi]/2.
    Shapes: q1, q2, k broadcast; memory is [J, *q1.shape], so do not broadcast q1 and q2 beforehand.
    """
    return _series(phi, psi, q1, q2, k)


@series_dual.defjvp
def _series_dual_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    phi, psi, q1, q2, k = primals
    dphi, dpsi, dq1, dq2, dk = tangents
    value, change = jax.jvp(lambda f, g: _series(f, g, q1, q2, k), (phi, psi), (dphi, dpsi))
    other = phi if psi is None else psi
    phi1, psi1 = derivative(phi), derivative(other)
    by_k = series_dual(phi1, None if psi is None else psi1, q1, q2, k) * dk
    by_q1 = series_dual(derivative(phi1), other, q1, q2, k) / 2 * dq1
    by_q2 = series_dual(phi, derivative(psi1), q1, q2, k) / 2 * dq2
    return value, change + by_k + by_q1 + by_q2


def _series(phi: Activation, psi: Activation | None, q1: Array, q2: Array, k: Array) -> Array:
    terms = terms_of(k.dtype)
    a, left = coefficients(phi, q1, terms)
    b, right = coefficients(phi if psi is None else psi, q2, terms)
    c = correlation(q1, q2, k)
    # What is left out of one function twice is put at the first orders left out: exact at c = +-1, q1 = q2.
    even, odd = left * right if psi is None else (jnp.zeros_like(c),) * 2

    def horner(total: Array, ab: tuple[Array, Array]) -> tuple[Array, None]:
        return total * c + ab[0] * ab[1], None

    rest = jnp.zeros_like(c) + even + odd * c
    return jax.lax.scan(horner, rest, (a, b), reverse=True)[0]


@jax.custom_jvp
def smooth_mean(phi: Activation, q: Array) -> Array:
    """E phi(u) by the trapezoid rule; d/dq E phi = E[phi'']/2. (D15)"""
    return trapezoid(phi, q)


@smooth_mean.defjvp
def _smooth_mean_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    phi, q = primals
    dphi, dq = tangents
    value, change = jax.jvp(lambda f: trapezoid(f, q), (phi,), (dphi,))
    return value, change + smooth_mean(derivative(derivative(phi)), q) / 2 * dq


def trapezoid(phi: Activation, q: Array, count: int = NODES) -> Array:
    """E phi(u), u ~ N(0, q), by the trapezoid rule."""
    z, w = (jnp.asarray(x, q.dtype) for x in nodes(count))
    values = phi.fn(root(q)[..., None] * z, *phi.params)
    return jnp.einsum("...i,i->...", values, w, precision=jax.lax.Precision.HIGHEST)


def square(phi: Activation) -> Activation:
    """The function phi^2."""
    return Activation(
        f"{phi.name}^2",
        Times(phi.fn, power=2),
        phi.params,
        kinks=phi.kinks,
        continuous=phi.continuous,
    )
