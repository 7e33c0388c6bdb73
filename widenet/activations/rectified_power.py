"""Arc-cosine kernels of any order: phi(u) = max(u, 0)^n, n >= 2 (orders 0 and 1 are in arccos.py)."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.activations.arccos import angle, both_gaps, half_kappa1, half_turn
from widenet.activations.numerics import horner, root

Polynomial = tuple[float, ...]


@lru_cache
def angular_polynomials(n: int) -> tuple[Polynomial, Polynomial]:
    """A_n, B_n of J_n(theta) = (pi - theta) A_n(c) + sin(theta) B_n(c), from low to high order. (D6)

    dJ_n/dc = n^2 J_(n-1) gives A_n' = n^2 A_(n-1) and A_n - c B_n + (1 - c^2) B_n' = n^2 (1 - c^2) B_(n-1).
    Source: Cho & Saul 2009, eq. (4); the recursion: widenet.
    """
    a, b = _exact(n)
    return tuple(map(float, a)), tuple(map(float, b))


@lru_cache
def _exact(n: int) -> tuple[list[Fraction], list[Fraction]]:
    if n == 0:
        return [Fraction(1)], [Fraction(0)]
    a_before, b_before = _exact(n - 1)
    a = [Fraction(0)] + [n * n * x / (i + 1) for i, x in enumerate(a_before)]
    right = [n * n * x for x in b_before] + [Fraction(0)] * (n + 2 - len(b_before))
    for i, x in enumerate(b_before):
        right[i + 2] -= n * n * x
    b = [Fraction(0)] * (n + 2)
    for m in range(n, 0, -1):  # the coefficient of c^m: a_m - m b_(m-1) + (m + 1) b_(m+1) = right_m
        b[m - 1] = (a[m] + (m + 1) * b[m + 1] - right[m]) / m
    a[0] = right[0] - b[1]
    return a, b[:n]


def power_value(n: int, u: Array) -> Array:
    """phi(u) = max(u, 0)^n."""
    return jnp.maximum(u, 0) ** n


def power_mean(n: int, q: Array) -> Array:
    """E phi(u) = (n - 1)!! q^(n/2) / (2, or sqrt(2 pi) for odd n). (D6)"""
    factor = float(np.prod(np.arange(n - 1, 0, -2.0)))
    return factor / (np.sqrt(2 * np.pi).item() if n % 2 else 2) * root(q) ** n


def power_dual(n: int, q1: Array, q2: Array, k: Array) -> Array:
    """E[phi(u) phi(v)] = (p1 p2)^n J_n(theta) / (2 pi). (D6)

    Its derivatives are dE/dk = n^2 E_(n-1) and dE/dq1 = n p1^(n-2) p2^n (J_n - n c J_(n-1)) / (4 pi).
    """
    q1, q2, k = jnp.broadcast_arrays(q1, q2, k)
    if n == 0:
        return half_turn(q1, q2, (q1 + q2) / 2 - k)
    return half_kappa1(q1, q2, k) if n == 1 else _smooth_dual(n)(q1, q2, k)


def _angular(n: int, q1: Array, q2: Array, k: Array) -> Array:
    d = (q1 + q2) / 2 - k
    theta, rest = angle(q1, q2, d)
    c = 1 - both_gaps(q1, q2, d)[0]
    a, b = angular_polynomials(n)
    turned = jnp.sin(jnp.minimum(theta, rest))
    return rest * horner(a, c) + (turned * horner(b, c) if b else 0)


@lru_cache
def _smooth_dual(n: int) -> Any:
    @jax.custom_jvp
    def dual(q1: Array, q2: Array, k: Array) -> Array:
        return (root(q1) * root(q2)) ** n * _angular(n, q1, q2, k) / (2 * np.pi)

    @dual.defjvp
    def _jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
        q1, q2, k = primals
        dq1, dq2, dk = tangents
        p1, p2 = root(q1), root(q2)
        c = 1 - both_gaps(q1, q2, (q1 + q2) / 2 - k)[0]
        stein = n * (_angular(n, q1, q2, k) - n * c * _angular(n - 1, q1, q2, k)) / (4 * np.pi)
        by_norms = stein * (p1 * p2) ** (n - 2) * (q2 * dq1 + q1 * dq2)
        return dual(q1, q2, k), n * n * power_dual(n - 1, q1, q2, k) * dk + by_norms

    return dual
