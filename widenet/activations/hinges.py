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
    return _tail(_wedge(q1, q2, k, a, b))


@joint_tail.defjvp
def _joint_tail_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    """dL = -n(h) Q(y) dh - n(g) Q(z) dg + n(h) n(y) dc / sqrt(1 - c^2). (D22)"""
    wedge = _wedge(*primals)
    dh, dg, dgap = jax.jvp(_coordinates, primals, tangents)[1]
    density = ratio(_bell(wedge.first.foot) * _bell(wedge.first.apex), wedge.sine)
    return _tail(wedge), -_mass(wedge.first) * dh - _mass(wedge.second) * dg - density * dgap


@jax.custom_jvp
def joint_hinge(q1: Array, q2: Array, k: Array, a: Array, b: Array) -> Array:
    """E[max(u - a, 0) max(v - b, 0)] for a, b >= 0, zero variance included. (D20)

    Shapes: the arguments broadcast.
    Accuracy: 1e-15 sqrt(q1 q2) in float64, 3e-7 sqrt(q1 q2) in float32.
    Source: Rosenbaum 1961 (the moments of a truncated pair); the form at c = +-1: widenet.
    """
    wedge = _wedge(q1, q2, k, a, b)
    return scale(q1, q2) * _hinge(wedge, _tail(wedge))


@joint_hinge.defjvp
def _joint_hinge_jvp(primals: tuple[Array, ...], tangents: tuple[Array, ...]) -> tuple[Array, Array]:
    """dE/dk = L; dE/dq1 = n(h) E[max(v - b, 0) | u = a] / (2 p1); dE/da = -E[step(u - a) max(v - b, 0)]. (D22)"""
    q1, q2, *_ = primals
    dq1, dq2, dk, da, db = tangents
    p1, p2, wedge, tail = root(q1), root(q2), _wedge(*primals), joint_tail(*primals)
    first, second, left, right = wedge.first, wedge.second, _mass(wedge.first), _mass(wedge.second)
    corner = wedge.sine * _bell(first.foot) * _bell(first.apex)
    by_q1 = ratio(p2, p1) / 2 * (corner - first.apex_sine * left)
    by_q2 = ratio(p1, p2) / 2 * (corner - second.apex_sine * right)
    by_a = p2 * (second.foot * tail - right - wedge.c * left)
    by_b = p1 * (first.foot * tail - left - wedge.c * right)
    return scale(q1, q2) * _hinge(wedge, tail), tail * dk + by_q1 * dq1 + by_q2 * dq2 + by_a * da + by_b * db


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


class Edge(NamedTuple):
    """One edge of the wedge, U = h: lengths along it are from the foot of the perpendicular, which has length h."""

    foot: Array  # h
    apex: Array  # y = (g - c h) / sine, where the other edge meets it
    apex_sine: Array  # g - c h
    beyond: Array  # Q(|y|)


class Wedge(NamedTuple):
    """The event {U > h, V > g} of two standard normal variables."""

    first: Edge
    second: Edge
    c: Array
    sine: Array  # sqrt(1 - c^2)
    half: Array  # tan(theta/2) or its inverse, whichever is at most 1
    acute: Array  # is it the tangent?


def _coordinates(q1: Array, q2: Array, k: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
    """h, g and 1 - c."""
    return threshold(a, root(q1)), threshold(b, root(q2)), both_gaps(q1, q2, (q1 + q2) / 2 - k)[0]


def _wedge(q1: Array, q2: Array, k: Array, a: Array, b: Array) -> Wedge:
    h, g = threshold(a, root(q1)), threshold(b, root(q2))
    gap, other = both_gaps(q1, q2, (q1 + q2) / 2 - k)
    c, sine, acute = jnp.where(gap <= 1, 1 - gap, other - 1), root(gap * other), gap <= other
    half = root(jnp.minimum(gap, other) / jnp.maximum(gap, other))
    return Wedge(_edge(h, g - h + gap * h, sine), _edge(g, h - g + gap * g, sine), c, sine, half, acute)


def _edge(h: Array, y_sine: Array, sine: Array) -> Edge:
    inside = jnp.abs(y_sine) < FAR * sine
    y = jnp.where(inside, y_sine / jnp.where(inside, sine, 1), FAR * jnp.sign(y_sine))
    return Edge(h, y, y_sine, upper_tail(jnp.abs(y)))


def _tail(wedge: Wedge) -> Array:
    level = wedge.first.foot == wedge.second.foot
    return _half_wedge(wedge.first, wedge, level) + _half_wedge(wedge.second, wedge, level)


def _hinge(wedge: Wedge, tail: Array) -> Array:
    """E[max(U - h, 0) max(V - g, 0)] = (c + h g) L - g n(h) Q(y) - h n(g) Q(z) + sine n(h) n(y). (D20)"""
    first, second = wedge.first, wedge.second
    edges = second.foot * _mass(first) + first.foot * _mass(second)
    return (wedge.c + first.foot * second.foot) * tail - edges + wedge.sine * _bell(first.foot) * _bell(first.apex)


def _half_wedge(edge: Edge, wedge: Wedge, level: Array) -> Array:
    """P(X > h, Y > X y/h) = Q(h)/2 - T(h, y/h) of independent X, Y. (D21)

    T beyond slope 1 is reflected, T(h, t) + T(y, 1/t) = Q(h)/2 + Q(y)/2 - Q(h) Q(y).  Where both edges are as far
    from the origin (`level`) the slope is tan(theta/2), whatever h is.
    """
    h, far, negative = edge.foot, jnp.abs(edge.apex), edge.apex < 0
    low, high = jnp.minimum(h, far), jnp.maximum(h, far)
    near = jnp.where(level, wedge.acute, far <= h)
    owen, cut = _owen(high, jnp.where(level, wedge.half, ratio(low, high))), upper_tail(h)
    turned = jnp.where(near, owen, edge.beyond * (0.5 - cut) - owen)
    return jnp.where(near, cut / 2, jnp.where(negative, cut, 0)) - jnp.where(negative, -turned, turned)


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


def _mass(edge: Edge) -> Array:
    """n(h) Q(y): the density on the edge."""
    return _bell(edge.foot) * jnp.where(edge.apex < 0, 1 - edge.beyond, edge.beyond)


def _bell(x: Array) -> Array:
    """n(x), the standard normal density."""
    return jnp.exp(-(x**2) / 2) / np.sqrt(2 * np.pi).item()
