"""The relu family: phi(u) = a min(u, 0) + b max(u, 0) and its derivative, in distance form.

With d = (q1 + q2)/2 - k, half the mean squared distance, 1 - cos(theta) = (d - (p1 - p2)^2 / 2)/(p1 p2),
p_i = sqrt(q_i), subtracts nothing that is nearly equal; a relu feels the square root of that number, so
every digit that the covariance form loses would cost half a digit of the angle.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.activations.arccos_table import P_DOUBLE, P_SINGLE, R_DOUBLE, R_SINGLE
from widenet.activations.numerics import horner, ratio, root


def angle(q1: Array, q2: Array, d: Array) -> tuple[Array, Array]:
    """theta and pi - theta, both to full relative accuracy, cos(theta) = ((q1 + q2)/2 - d) / sqrt(q1 q2). (D1, D2)

    Shapes: q1, q2, d broadcast.  At zero variance theta = pi/2 if d > 0, else 0.  The derivative
    d theta/d d = 1/(p1 p2 sin(theta)) is infinite at theta = 0 and pi, where it is defined as 0: the
    kernel has a cone there, and 0 is the mean of its slopes.
    Source: Cho & Saul 2009, eq. (4); polynomials: widenet.
    """
    q1, q2, d = jnp.broadcast_arrays(q1, q2, d)
    return _angle(q1, q2, d)


@jax.custom_jvp
def arcsine(x: Array, cosine: Array) -> Array:
    """arcsin(x), odd and to full relative accuracy, of x and sqrt(1 - x^2). (D2)

    With m = 1 - sqrt(1 - x^2) = x^2 / (1 + sqrt(1 - x^2)): sqrt(2 m) P(m), where nothing is subtracted.
    """
    share = 1 / (1 + cosine)
    m = x * x * share
    return x * jnp.sqrt(2 * share) * horner(_table(m, P_SINGLE, P_DOUBLE), m)


@arcsine.defjvp
def _arcsine_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    """Of a point that moves along the circle: the polynomial is not differentiated."""
    (x, cosine), (dx, dcosine) = primals, tangents
    return arcsine(x, cosine), cosine * dx - x * dcosine


def half_turn(q1: Array, q2: Array, d: Array) -> Array:
    """kappa0 / 2 = E[step(u) step(v)] = (pi - theta) / (2 pi). (D3)

    Source: Cho & Saul 2009, eq. (6), order 0.
    """
    return angle(q1, q2, d)[1] / (2 * np.pi)


def two_slopes_pair(q1: Array, q2: Array, k: Array, left: Sequence[Any], right: Sequence[Any]) -> Array:
    """k (a1 b2 + b1 a2)/2 + (b1 - a1)(b2 - a2) E[relu relu], phi_i(u) = a_i min(u, 0) + b_i max(u, 0). (D4)"""
    (a1, b1), (a2, b2) = left, right
    return k * (a1 * b2 + b1 * a2) / 2 + (b1 - a1) * (b2 - a2) * half_kappa1(*jnp.broadcast_arrays(q1, q2, k))


def two_slopes_mean(q: Array, a: Any, b: Any) -> Array:
    """E[a min(u, 0) + b max(u, 0)] = (b - a) sqrt(q / (2 pi)); its derivative is 0 at q = 0. (D4)"""
    return (b - a) / np.sqrt(2 * np.pi).item() * root(q)


def two_levels_mean(q: Array, a: Any, b: Any) -> Array:
    """(a + b)/2. (D3)"""
    return (a + b) / 2 + jnp.zeros_like(q)


def two_levels_pair(q1: Array, q2: Array, k: Array, left: Sequence[Any], right: Sequence[Any]) -> Array:
    """(a1 b2 + b1 a2)/2 + (b1 - a1)(b2 - a2) kappa0 / 2, phi_i(u) = a_i for u < 0, b_i for u > 0. (D3)"""
    (a1, b1), (a2, b2) = left, right
    return (a1 * b2 + b1 * a2) / 2 + (b1 - a1) * (b2 - a2) * half_turn(q1, q2, (q1 + q2) / 2 - k)


@jax.custom_jvp
def half_kappa1(q1: Array, q2: Array, k: Array) -> Array:
    """E[relu(u) relu(v)] = p1 p2 kappa1(theta) / 2 for arrays of equal shape. (D4)"""
    d = (q1 + q2) / 2 - k
    s = scale(q1, q2)
    gap, other = both_gaps(q1, q2, d)
    m, remainder = _remainder(gap, other)
    return s / 2 * (jnp.where(gap <= 1, 1 - m, 0) + remainder / np.pi)


@half_kappa1.defjvp
def _half_kappa1_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    """dE/dk = kappa0/2 (Price); dE/dq1 = (p2/p1) sin(theta) / (4 pi) (Stein). (D5)"""
    q1, q2, k = primals
    dq1, dq2, dk = tangents
    theta, rest = _angle(q1, q2, (q1 + q2) / 2 - k)
    p1, p2 = root(q1), root(q2)
    turned = jnp.sin(jnp.minimum(theta, rest)) / (4 * np.pi)
    change = rest / (2 * np.pi) * dk + turned * (ratio(p2, p1) * dq1 + ratio(p1, p2) * dq2)
    return half_kappa1(q1, q2, k), change


@jax.custom_jvp
def _angle(q1: Array, q2: Array, d: Array) -> tuple[Array, Array]:
    gap, other = both_gaps(q1, q2, d)
    m = jnp.minimum(gap, other)
    small = np.sqrt(2).item() * root(m) * horner(_table(m, P_SINGLE, P_DOUBLE), m)
    large = np.pi - small
    return jnp.where(gap <= 1, small, large), jnp.where(gap <= 1, large, small)


@_angle.defjvp
def _angle_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Any, Any]:
    """d theta = (dd - (p1 - p2 + p2 gap) dq1 / (2 p1) - (p2 - p1 + p1 gap) dq2 / (2 p2)) / (s sin(theta)). (D5)"""
    q1, q2, d = primals
    dq1, dq2, dd = tangents
    (gap, other), s, p1, p2 = both_gaps(q1, q2, d), scale(q1, q2), root(q1), root(q2)
    unequal = _norm_gap(q1, q2)
    by_norms = ratio(unequal + p2 * gap, p1) * dq1 + ratio(p1 * gap - unequal, p2) * dq2
    change = ratio(dd - by_norms / 2, s * root(gap * other))
    return _angle(q1, q2, d), (change, -change)


def both_gaps(q1: Array, q2: Array, d: Array) -> tuple[Array, Array]:
    """1 - cos(theta) = (d - (p1 - p2)^2 / 2)/s and 1 + cos(theta) = 2 - that, both accurate, s = p1 p2. (D1)

    At zero variance cos(theta) = 0 if d > 0, else 1.
    """
    s = scale(q1, q2)
    inner = d - _norm_gap(q1, q2) ** 2 / 2
    minus, plus = _in_range(ratio(inner, s)), _in_range(ratio(2 * s - inner, s))
    apart = d > 0
    return jnp.where(s > 0, minus, jnp.where(apart, 1, 0)), jnp.where(s > 0, plus, jnp.where(apart, 1, 2))


def _in_range(gap: Array) -> Array:
    """Clipped to [0, 2], which only rounding leaves (Cauchy-Schwarz), with the gradient of `gap`."""
    return gap - jax.lax.stop_gradient(gap - jnp.clip(gap, 0, 2))


def scale(q1: Array, q2: Array) -> Array:
    """sqrt(q1 q2), exactly q at q1 = q2 = q, without the overflow of q1 q2."""
    return jnp.where(q1 == q2, q1, root(q1) * root(q2))


def _norm_gap(q1: Array, q2: Array) -> Array:
    """sqrt(q1) - sqrt(q2) without cancellation."""
    return ratio(q1 - q2, root(q1) + root(q2))


def _remainder(gap: Array, other: Array) -> tuple[Array, Array]:
    """m = min(1 - cos, 1 + cos) and sin(t) - t cos(t) = m^(3/2) R(m) at cos(t) = 1 - m. (D2)"""
    m = jnp.minimum(gap, other)
    return m, m * root(m) * horner(_table(m, R_SINGLE, R_DOUBLE), m)


def _table(x: Array, single: tuple[float, ...], double: tuple[float, ...]) -> tuple[float, ...]:
    return double if x.dtype == jnp.float64 else single
