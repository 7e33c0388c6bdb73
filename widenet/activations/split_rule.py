"""Kinked functions without closed form: Gauss-Legendre between the kinks. (D16)

In the rotated variables u = p1 (al t + be w), v = +-p2 (al t - be w), t and w independent normal,
al^2 = (1 + |c|)/2, be^2 = (1 - |c|)/2, a kink of phi or psi is a line in the (t, w) plane.  For fixed w
the inner integral over t is split where it crosses those lines; it is then a smooth function of w except
where two of the lines cross, and the outer integral is split there.  Each piece is smooth, also at c = +-1.
Source: widenet.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.activations.activation import Activation, Times, derivative
from widenet.activations.numerics import correlation, ratio, root

REACH = 9.0  # mass 2e-19 beyond, per dimension
POINTS = {"float64": 32, "float32": 20}  # per piece: error 4e-15, 1e-11 of q; 16: 1e-8 (relu, elu, selu)


@lru_cache
def legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre points and weights on [0, 1]."""
    x, w = np.polynomial.legendre.leggauss(count)
    return (x + 1) / 2, w / 2


def count_of(dtype: Any) -> int:
    """Points in a piece, in a precision."""
    return POINTS.get(jnp.dtype(dtype).name, POINTS["float32"])


def kinked_mean(phi: Activation, q: Array) -> Array:
    """E phi(u), split at the breakpoints. (D15)

    Its derivative in q is taken through the rule, whose moving endpoints carry the jumps; 0 at q = 0.
    """
    p = root(q)
    cuts = [_where(b, p, jnp.ones_like(p)) for b in (*phi.breakpoints, 0.0)]
    t, weight = _pieces(cuts, p, count_of(q.dtype))
    return jnp.sum(weight * phi.fn(p[..., None] * t, *phi.params), -1)


def split_dual(phi: Activation, psi: Activation, q1: Array, q2: Array, k: Array) -> Array:
    """E[phi(u) psi(v)] of two functions with breakpoints.

    For continuous functions dE/dk = E[phi' psi'] (Price) and dE/dq1 = (E[u phi' psi] - k dE/dk) / (2 q1)
    (Stein).  If one jumps, derivatives are taken through the rule, whose moving endpoints carry the
    jumps; they are infinite at c = +-1, where the finite part is returned.
    """
    if phi.continuous and psi.continuous:
        return _continuous_dual(phi, psi, q1, q2, k)
    return rule(phi, psi, q1, q2, k)


@jax.custom_jvp
def _continuous_dual(phi: Activation, psi: Activation, q1: Array, q2: Array, k: Array) -> Array:
    return rule(phi, psi, q1, q2, k)


@_continuous_dual.defjvp
def _continuous_dual_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    phi, psi, q1, q2, k = primals
    dphi, dpsi, dq1, dq2, dk = tangents
    value, change = jax.jvp(lambda f, g: rule(f, g, q1, q2, k), (phi, psi), (dphi, dpsi))
    slope = split_dual(derivative(phi), derivative(psi), q1, q2, k)
    by_q1 = ratio(split_dual(_euler(phi), psi, q1, q2, k) - k * slope, 2 * q1)
    by_q2 = ratio(split_dual(phi, _euler(psi), q1, q2, k) - k * slope, 2 * q2)
    return value, change + slope * dk + by_q1 * dq1 + by_q2 * dq2


def _euler(phi: Activation) -> Activation:
    """u phi'(u)."""
    prime = derivative(phi)
    return Activation(
        f"u {prime.name}",
        Times(prime.fn, degree=1),
        prime.params,
        kinks=prime.kinks,
        continuous=not prime.kinks,
    )


def rule(phi: Activation, psi: Activation, q1: Array, q2: Array, k: Array, count: int | None = None) -> Array:
    """The rule itself; one outer point at a time, so that memory is [*shape, count * pieces]."""
    count = count or count_of(k.dtype)
    q1, q2, k = jnp.broadcast_arrays(q1, q2, k)
    p1, p2, c = root(q1), root(q2), correlation(q1, q2, k)
    sign = jnp.where(c < 0, -1, 1).astype(c.dtype)  # v -> -v makes the correlation positive
    al, be = root((1 + jnp.abs(c)) / 2), root((1 - jnp.abs(c)) / 2)
    lines1 = [_where(b, p1, jnp.ones_like(al)) for b in phi.breakpoints]
    lines2 = [sign * _where(b, p2, jnp.ones_like(al)) for b in psi.breakpoints]
    crossings = [_where(x - y, 2 * be, jnp.ones_like(be)) for x in lines1 for y in lines2]
    # A piece as wide as the whole line needs too many points; kinks at 0 in both already cut it in half.
    middle = [] if _bends_at_zero(phi) and _bends_at_zero(psi) else [jnp.zeros_like(al)]
    w, weight = _pieces(crossings + middle, al, count)

    def inner_integral(w: Array) -> Array:
        cuts = [(x - be * w) / al for x in lines1] + [(y + be * w) / al for y in lines2]
        t, t_weight = _pieces(cuts + middle, al, count)
        along, across = al[..., None] * t, (be * w)[..., None]
        u, v = p1[..., None] * (along + across), (sign * p2)[..., None] * (along - across)
        return jnp.sum(t_weight * phi.fn(u, *phi.params) * psi.fn(v, *psi.params), -1)

    def add(total: Array, point: tuple[Array, Array]) -> tuple[Array, None]:
        return total + point[1] * inner_integral(point[0]), None

    points = jnp.moveaxis(w, -1, 0), jnp.moveaxis(weight, -1, 0)
    return jax.lax.scan(add, jnp.zeros_like(k), points)[0]


def _bends_at_zero(phi: Activation) -> bool:
    return not callable(phi.kinks) and 0.0 in phi.kinks


def _where(level: Any, speed: Array, like: Array) -> Array:
    """The point level / speed where a line is crossed, kept within reach."""
    far = jnp.sign(level) * REACH * like
    inside = speed * REACH > jnp.abs(level)
    return jnp.where(inside, level / jnp.where(inside, speed, 1), far)


def _pieces(cuts: list[Array], like: Array, count: int) -> tuple[Array, Array]:
    """Points and weights, shape [*like.shape, pieces * count], of the Gaussian integral split at `cuts`."""
    end = jnp.full_like(like, REACH)
    inside = [jnp.clip(cut, -REACH, REACH) for cut in cuts]
    knots = jnp.sort(jnp.stack([-end, *inside, end], -1), -1)
    x, w = (jnp.asarray(part, like.dtype) for part in legendre(count))
    start, length = knots[..., :-1, None], (knots[..., 1:] - knots[..., :-1])[..., None]
    t = start + length * x
    weight = length * w * jnp.exp(-(t**2) / 2) / np.sqrt(2 * np.pi).item()
    return t.reshape(*like.shape, -1), weight.reshape(*like.shape, -1)
