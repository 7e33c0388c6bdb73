"""Two hinges of correlated Gaussians: P(u > a, v > b) and E[max(u - a, 0) max(v - b, 0)] for a, b >= 0. (D20, D21)

In units of the standard deviations, h = a/p1 and g = b/p2, the event is a wedge with its apex at distance R from
the origin.  The ray from the origin through the apex cuts it into two parts of one shape, each a tail less a value
of Owen's T function; y and z are the distances of the apex from the feet of the two edges.  Nothing here depends
on arcsin(c) or divides by 1 - c^2 where that is small, so both are right up to c = +-1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.activations.arccos import both_gaps, scale
from widenet.activations.numerics import ratio, root

FAR = 40.0  # thresholds beyond are there: exp(-FAR^2 / 2) is 0 in every precision
NODES = {"float64": 11, "float32": 6}  # of Owen's integral: error 34^-NODES, see (D21)


@jax.custom_jvp
def joint_tail(q1: Array, q2: Array, k: Array, a: Array, b: Array) -> Array:
    """L = P(u > a, v > b) for a, b >= 0, zero variance included. (D21)

    Shapes: the arguments broadcast.
    Accuracy: 1e-15 absolute in float64, 3e-7 in float32.
    Derivatives: infinite at c = 1 and a/p1 = b/p2, where the finite part is returned.
    Source: Owen 1956; the rule and the form at c = +-1: widenet.
    """
    return _tail(_apex(q1, q2, k, a, b))


@joint_tail.defjvp
def _joint_tail_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    """dL = -n(h) Q(y) dh - n(g) Q(z) dg + n(h) n(y) dc / sqrt(1 - c^2). (D22)"""
    apex = _apex(*primals)
    dh, dg, dgap = jax.jvp(_coordinates, primals, tangents)[1]
    density = ratio(_bell(apex.h) * _bell(apex.y), apex.sine)
    return _tail(apex), -_edge(apex.h, apex.y) * dh - _edge(apex.g, apex.z) * dg - density * dgap


@jax.custom_jvp
def joint_hinge(q1: Array, q2: Array, k: Array, a: Array, b: Array) -> Array:
    """E[max(u - a, 0) max(v - b, 0)] for a, b >= 0, zero variance included. (D20)

    Shapes: the arguments broadcast.
    Accuracy: 1e-15 sqrt(q1 q2) in float64, 3e-7 sqrt(q1 q2) in float32.
    Source: Rosenbaum 1961 (the moments of a truncated pair); the form at c = +-1: widenet.
    """
    apex = _apex(q1, q2, k, a, b)
    return scale(q1, q2) * _hinge(apex, _tail(apex))


@joint_hinge.defjvp
def _joint_hinge_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    """dE/dk = L; dE/dq1 = n(h) E[max(v - b, 0) | u = a] / (2 p1); dE/da = -E[step(u - a) max(v - b, 0)]. (D22)"""
    q1, q2, *_ = primals
    dq1, dq2, dk, da, db = tangents
    apex, p1, p2 = _apex(*primals), root(q1), root(q2)
    tail = joint_tail(*primals)
    left, right = _edge(apex.h, apex.y), _edge(apex.g, apex.z)
    by_q1 = ratio(p2, p1) * (_bell(apex.h) * _bell(apex.y) * apex.sine - apex.y_sine * left) / 2
    by_q2 = ratio(p1, p2) * (_bell(apex.g) * _bell(apex.z) * apex.sine - apex.z_sine * right) / 2
    by_a = apex.g * tail - right - apex.c * left
    by_b = apex.h * tail - left - apex.c * right
    change = tail * dk + by_q1 * dq1 + by_q2 * dq2 + p2 * by_a * da + p1 * by_b * db
    return scale(q1, q2) * _hinge(apex, tail), change


def upper_tail(x: Array) -> Array:
    """Q(x) = P(z > x), z standard normal."""
    return jax.lax.erfc(x * np.sqrt(0.5).item()) / 2


def single_hinge(q: Array, a: Array) -> Array:
    """E max(u - a, 0) = p (n(h) - h Q(h)), a >= 0; its derivative in q is 0 at q = 0. (D20)"""
    p = root(q)
    h = threshold(a, p)
    return p * (_bell(h) - h * upper_tail(h))


def threshold(a: Array, p: Array) -> Array:
    """h = a / p, at most FAR: there also for p = 0 < a; 0 for a = 0."""
    inside = p * FAR > a
    return jnp.where(inside, a / jnp.where(inside, p, 1), jnp.where(a > 0, FAR, 0).astype(p.dtype))


class Apex(NamedTuple):
    """Where the wedge {U > h, V > g} of two standard normal variables has its apex."""

    h: Array
    g: Array
    y: Array  # (g - c h) / sine: along the edge U = h
    z: Array  # (h - c g) / sine: along the edge V = g
    c: Array
    sine: Array  # sqrt(1 - c^2)
    y_sine: Array
    z_sine: Array
    half: tuple[Array, Array]  # tan(theta/2) or its inverse, whichever is at most 1, and: is it the tangent?


def _coordinates(q1: Array, q2: Array, k: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
    """h, g and 1 - c."""
    return threshold(a, root(q1)), threshold(b, root(q2)), both_gaps(q1, q2, (q1 + q2) / 2 - k)[0]


def _apex(q1: Array, q2: Array, k: Array, a: Array, b: Array) -> Apex:
    h, g = threshold(a, root(q1)), threshold(b, root(q2))
    gap, other = both_gaps(q1, q2, (q1 + q2) / 2 - k)
    c, sine = jnp.where(gap <= 1, 1 - gap, other - 1), root(gap * other)
    y_sine, z_sine = g - h + gap * h, h - g + gap * g
    half = root(jnp.minimum(gap, other) / jnp.maximum(gap, other)), gap <= other
    return Apex(h, g, _far(y_sine, sine), _far(z_sine, sine), c, sine, y_sine, z_sine, half)


def _far(x: Array, sine: Array) -> Array:
    """x / sine within +-FAR."""
    inside = jnp.abs(x) < FAR * sine
    return jnp.where(inside, x / jnp.where(inside, sine, 1), FAR * jnp.sign(x))


def _tail(apex: Apex) -> Array:
    level = apex.h == apex.g
    return _half_wedge(apex.h, apex.y, level, apex.half) + _half_wedge(apex.g, apex.z, level, apex.half)


def _hinge(apex: Apex, tail: Array) -> Array:
    """E[max(U - h, 0) max(V - g, 0)] = (c + h g) L - g n(h) Q(y) - h n(g) Q(z) + sine n(h) n(y). (D20)"""
    edges = apex.g * _edge(apex.h, apex.y) + apex.h * _edge(apex.g, apex.z)
    return (apex.c + apex.h * apex.g) * tail - edges + apex.sine * _bell(apex.h) * _bell(apex.y)


def _half_wedge(h: Array, y: Array, level: Array, half: tuple[Array, Array]) -> Array:
    """P(X > h, Y > X y/h) = Q(h)/2 - T(h, y/h) of independent X, Y. (D21)

    T beyond slope 1 is reflected, T(h, t) + T(y, 1/t) = Q(h)/2 + Q(y)/2 - Q(h) Q(y).  At equal thresholds the
    slope is tan(theta/2), whatever h is.
    """
    far = jnp.abs(y)
    low, high = jnp.minimum(h, far), jnp.maximum(h, far)
    slope = jnp.where(level, half[0], ratio(low, high))
    near = jnp.where(level, half[1], far <= h)
    owen, cut, outer = _owen(high, slope), upper_tail(h), upper_tail(far)
    turned = jnp.where(near, owen, outer * (0.5 - cut) - owen)
    return jnp.where(near, cut / 2, jnp.where(y < 0, cut, 0)) - jnp.where(y < 0, -turned, turned)


def _owen(h: Array, t: Array) -> Array:
    """T(h, t) = (1/2 pi) int_0^t exp(-h^2 (1 + x^2)/2) / (1 + x^2) dx for 0 <= t <= 1, by Gauss-Legendre. (D21)"""
    front, square = t * jnp.exp(-(h**2) / 2) / (2 * np.pi), t**2
    drop, total = square * h**2 / 2, jnp.zeros_like(t * h)
    for x, w in zip(*even_rule(NODES.get(h.dtype.name, NODES["float32"])), strict=True):
        total = total + w * jnp.exp(-(x**2) * drop) / (1 + x**2 * square)
    return front * total


@lru_cache
def even_rule(count: int) -> tuple[list[float], list[float]]:
    """Nodes in (0, 1) and weights of int_0^1 for even functions: half of Gauss-Legendre on [-1, 1]."""
    x, w = np.polynomial.legendre.leggauss(2 * count)
    return x[count:].tolist(), w[count:].tolist()


def _edge(h: Array, y: Array) -> Array:
    """n(h) Q(y): the density on the line U = h, beyond the apex."""
    return _bell(h) * upper_tail(y)


def _bell(x: Array) -> Array:
    """n(x), the standard normal density."""
    return jnp.exp(-(x**2) / 2) / np.sqrt(2 * np.pi).item()
