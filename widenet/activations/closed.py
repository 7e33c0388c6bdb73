"""E[phi(u) psi(v)] in closed form for smooth functions, two of the same family with their own parameters.

Every one is a smooth function of (q1, q2, k), so differentiation in k gives E[phi' psi'] (Price) and in
q1 gives E[phi'' psi]/2.  `pair(q1, q2, k, left, right)` takes the parameters of phi and of psi.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.activations.arccos import arcsine
from widenet.activations.numerics import determinant, horner

Params = Sequence[Any]


def erf_pair(q1: Array, q2: Array, k: Array, left: Params, right: Params) -> Array:
    """c1 c2 + a1 a2 (2/pi) arcsin(2 b1 b2 k / sqrt((1 + 2 b1^2 q1)(1 + 2 b2^2 q2))), phi = a erf(b u) + c. (D7)

    Source: Williams 1997, eq. (11).
    """
    (a1, b1, c1), (a2, b2, c2) = left, right
    return c1 * c2 + a1 * a2 * 2 / np.pi * _arcsin(2 * b1**2 * q1, 2 * b2**2 * q2, 2 * b1 * b2 * k)[0]


def erf_mean(q: Array, a: Any, b: Any, c: Any) -> Array:
    """E[a erf(b u) + c] = c. (D7)"""
    return c + jnp.zeros_like(q * a * b)


def _arcsin(q1: Array, q2: Array, k: Array) -> tuple[Array, Array, Array]:
    """arcsin(x), x = k / sqrt((1 + q1)(1 + q2)), then sqrt(1 - x^2) and (q1 q2 - k^2) / ((1 + q1)(1 + q2)).

    1 - x^2 = 1/A1 + q1/(A1 A2) + (q1 q2 - k^2)/(A1 A2), A_i = 1 + q_i: a sum of positive terms.
    """
    unit1, unit2 = 1 / jnp.sqrt(1 + q1), 1 / jnp.sqrt(1 + q2)  # divided once for a row, not for each entry
    unit = unit1 * unit2
    inner = determinant(q1, q2, k, unit)
    cosine = jnp.sqrt(unit1**2 + q1 * unit**2 + inner)
    return arcsine(k * unit, cosine), cosine, inner


def gelu_dual(q1: Array, q2: Array, k: Array) -> Array:
    """k/4 + k arcsin(x)/(2 pi) + (q1 q2 - k^2 + k^2 (1/A1 + 1/A2)) / (2 pi sqrt(A1 A2 - k^2)), A_i = 1 + q_i. (D8)

    phi(u) = u Phi(u), x = k / sqrt(A1 A2).  Source: Tsuchida et al. 2021 (without this form); widenet.
    """
    angle, cosine, inner = _arcsin(q1, q2, k)
    root1, root2 = jnp.sqrt(1 + q1), jnp.sqrt(1 + q2)
    rest = inner * (root1 * root2) + k * (1 / root1) * (k * (1 / root2)) * (1 / (1 + q1) + 1 / (1 + q2))
    return k / 4 + (k * angle + rest / cosine) / (2 * np.pi)


def gelu_mean(q: Array) -> Array:
    """E[u Phi(u)] = q / sqrt(2 pi (1 + q)). (D8)"""
    return q / jnp.sqrt(2 * np.pi * (1 + q))


def sine_pair(q1: Array, q2: Array, k: Array, left: Params, right: Params) -> Array:
    """a1 a2 e^(-S) (sinh(t) cos(c1) cos(c2) + cosh(t) sin(c1) sin(c2)), phi = a sin(b u + c). (D9)

    S = (b1^2 q1 + b2^2 q2)/2, t = b1 b2 k.  Source: Rahimi & Recht 2007 (c = pi/4); widenet.
    """
    (a1, b1, c1), (a2, b2, c2) = left, right
    odd, even = _damped((b1**2 * q1 + b2**2 * q2) / 2, b1 * b2 * k)
    return a1 * a2 * (odd * jnp.cos(c1) * jnp.cos(c2) + even * jnp.sin(c1) * jnp.sin(c2))


def _damped(s: Array, t: Array) -> tuple[Array, Array]:
    """e^(-s) sinh(t) and e^(-s) cosh(t) for |t| <= s: no overflow, and relative accuracy at small t."""
    plus, minus = jnp.exp(t - s) / 2, jnp.exp(-t - s) / 2
    small = jnp.abs(t) < 1
    odd = jnp.where(small, jnp.exp(-s) * jnp.sinh(jnp.where(small, t, 0)), plus - minus)
    return odd, plus + minus


def sine_mean(q: Array, a: Any, b: Any, c: Any) -> Array:
    """E[a sin(b u + c)] = a sin(c) e^(-b^2 q/2). (D9)"""
    return a * jnp.sin(c) * jnp.exp(-(b**2) * q / 2)


def rbf_dual(q1: Array, q2: Array, k: Array, gamma: Any) -> Array:
    """exp(-gamma (q1 + q2 - 2 k)), phi(u) = sqrt(2) sin(sqrt(2 gamma) u + pi/4). (D9)

    Source: Rahimi & Recht 2007.
    """
    return jnp.exp(-2 * gamma * ((q1 + q2) / 2 - k))


def exponential_pair(q1: Array, q2: Array, k: Array, left: Params, right: Params) -> Array:
    """a1 a2 exp((b1^2 q1 + b2^2 q2 + 2 b1 b2 k)/2), phi = a e^(b u). (D10)

    Source: Daniely et al. 2016, section 8.
    """
    (a1, b1), (a2, b2) = left, right
    return a1 * a2 * jnp.exp((b1**2 * q1 + b2**2 * q2) / 2 + b1 * b2 * k)


def exponential_mean(q: Array, a: Any, b: Any) -> Array:
    """E[a e^(b u)] = a e^(b^2 q/2). (D10)"""
    return a * jnp.exp(b**2 * q / 2)


def gaussian_pair(q1: Array, q2: Array, k: Array, left: Params, right: Params) -> Array:
    """a1 a2 / sqrt((1 + 2 b1 q1)(1 + 2 b2 q2) - 4 b1 b2 k^2), phi = a e^(-b u^2), b >= 0. (D11)

    Source: Williams 1997, section 3.2.
    """
    (a1, b1), (a2, b2) = left, right
    one = jnp.ones_like(k)
    # b1 b2 factors out of the determinant, so that it vanishes exactly at q1 = q2 = |k|
    inner = 1 + 2 * b1 * q1 + 2 * b2 * q2 + 4 * b1 * b2 * determinant(q1, q2, k, one)
    return a1 * a2 / jnp.sqrt(inner)


def gaussian_mean(q: Array, a: Any, b: Any) -> Array:
    """E[a e^(-b u^2)] = a / sqrt(1 + 2 b q). (D11)"""
    return a / jnp.sqrt(1 + 2 * b * q)


def polynomial_pair(q1: Array, q2: Array, k: Array, left: Params, right: Params) -> Array:
    """sum_l l! alpha_l(q1) beta_l(q2) k^l, phi = sum_i a_i u^i. (D12)

    alpha_l(q) = sum_(i = l, l + 2, ...) a_i i! / ((i - l)!! l!) q^((i - l)/2), the coefficients of phi
    in the Hermite polynomials of variance q.  Source: Isserlis' theorem.
    """
    orders = range(min(len(left), len(right)))
    terms = [math.factorial(o) * _wick(left, o, q1) * _wick(right, o, q2) + 0 * k for o in orders]
    return horner(terms, k) if terms else jnp.zeros_like(k)


def polynomial_mean(q: Array, *coefs: Any) -> Array:
    """E phi(u) = sum_i a_(2 i) (2 i - 1)!! q^i. (D12)"""
    return _wick(coefs, 0, q)


def _wick(coefs: Params, order: int, q: Array) -> Array:
    powers = range(order, len(coefs), 2)
    return horner([_wick_number(i, order) * coefs[i] * jnp.ones_like(q) for i in powers], q)


def _wick_number(i: int, order: int) -> float:
    half = (i - order) // 2
    return math.factorial(i) / (2**half * math.factorial(half) * math.factorial(order))


def hermite_value(n: int, u: Array) -> Array:
    """h_n(u) by h_(j+1) = (u h_j - sqrt(j) h_(j-1)) / sqrt(j + 1). (D13)"""
    before, now = jnp.zeros_like(u), jnp.ones_like(u)
    for j in range(n):
        before, now = now, (u * now - math.sqrt(j) * before) / math.sqrt(j + 1)
    return now


def hermite_dual(n: int, q1: Array, q2: Array, k: Array) -> Array:
    """E[h_n(u) h_n(v)] = sum_j n! / ((2^j j!)^2 (n - 2 j)!) ((q1 - 1)(q2 - 1))^j k^(n - 2 j). (D13)

    h_n = He_n / sqrt(n!): k^n at unit variance.  Source: O'Donnell 2014, prop. 11.31; other variances: widenet.
    """
    excess = (q1 - 1) * (q2 - 1)
    total = jnp.zeros_like(excess * k)
    for j in range(n // 2 + 1):
        number = math.factorial(n) / ((2**j * math.factorial(j)) ** 2 * math.factorial(n - 2 * j))
        total = total + number * excess**j * k ** (n - 2 * j)
    return total


def hermite_mean(n: int, q: Array) -> Array:
    """E[h_n(u)] = sqrt(n!) / (2^j j!) (q - 1)^j for n = 2 j, else 0. (D13)"""
    if n % 2:
        return jnp.zeros_like(q)
    half = n // 2
    return math.sqrt(math.factorial(n)) / (2**half * math.factorial(half)) * (q - 1) ** half
