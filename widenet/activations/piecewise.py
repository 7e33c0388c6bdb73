"""Piecewise linear and piecewise constant functions of Gaussians, in closed form. (D20)-(D23)

Both are written as sums of functions that vanish near u = 0: with kinks b_i, sigma_i the sign of b_i and d_i the
jump of the slope, phi(u) = phi(0) + s u + sum_i d_i max(sigma_i u - |b_i|, 0), and a piecewise constant function is
the same with steps.  A kink that few samples reach so adds little, and nothing large cancels at small variances.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from widenet.activations.hinges import joint_hinge, joint_tail, single_hinge, threshold, upper_tail
from widenet.activations.numerics import root

Parts = tuple[Sequence[Any], Sequence[Any], Any]  # kinks, slopes left to right, the value at zero
Levels = tuple[Sequence[Any], Sequence[Any]]  # jumps, values left to right


class Hinges(NamedTuple):
    """Where a function bends or jumps, turned so that every threshold is positive; arrays of one length."""

    base: Array  # the slope, or the value, of the piece that holds zero, left of a kink at zero
    signs: Array
    thresholds: Array
    jumps: Array


def hinges(kinks: Sequence[Any], values: Sequence[Any], dtype: Any) -> Hinges:
    """The hinges of slopes or levels `values`, left to right, between `kinks`."""
    at, heights = (jnp.stack([jnp.asarray(x, dtype) for x in row]) for row in (kinks, values))
    jumps = heights[1:] - heights[:-1]
    base = heights[0] + jnp.sum(jnp.where(at < 0, jumps, 0))
    return Hinges(base, jnp.where(at < 0, -1, 1).astype(dtype), jnp.abs(at), jumps)


def linear_value(u: Array, kinks: Sequence[Any], slopes: Sequence[Any], value: Any) -> Array:
    """phi(u) = value + sum_j slopes_j (length of [0, u] in piece j): no large terms that cancel."""
    knots = (-jnp.inf, *kinks, jnp.inf)
    lengths = (jnp.clip(u, a, b) - jnp.clip(jnp.zeros_like(u), a, b) for a, b in pairwise(knots))
    return value + sum(slope * length for slope, length in zip(slopes, lengths, strict=True))


def constant_value(u: Array, kinks: Sequence[Any], levels: Sequence[Any]) -> Array:
    """phi(u) = levels_j in piece j, a piece holding its right end."""
    total = jnp.zeros_like(u) + levels[0]
    for b, level in zip(kinks, levels[1:], strict=True):
        total = jnp.where(u > b, level, total)
    return total


def linear_mean(q: Array, kinks: Sequence[Any], slopes: Sequence[Any], value: Any) -> Array:
    """E phi(u) = phi(0) + sum_i d_i E max(z p - |b_i|, 0). (D20)"""
    own = hinges(kinks, slopes, q.dtype)
    return value + jnp.sum(own.jumps * single_hinge(q[..., None], own.thresholds), -1)


def constant_mean(q: Array, kinks: Sequence[Any], levels: Sequence[Any]) -> Array:
    """E phi(u) = phi(0) + sum_i sigma_i d_i Q(|b_i|/p). (D21)"""
    own = hinges(kinks, levels, q.dtype)
    return own.base + _mean_step(own, q)


def linear_pair(q1: Array, q2: Array, k: Array, left: Parts, right: Parts) -> Array:
    """E[phi(u) psi(v)] of two piecewise linear functions. (D20)"""
    (kinks1, slopes1, value1), (kinks2, slopes2, value2) = left, right
    one, two = hinges(kinks1, slopes1, k.dtype), hinges(kinks2, slopes2, k.dtype)
    bend1, bend2 = linear_mean(q1, kinks1, slopes1, 0.0), linear_mean(q2, kinks2, slopes2, 0.0)
    affine = value1 * value2 + value1 * bend2 + value2 * bend1
    by_stein = one.base * two.base + one.base * _mean_step(two, q2) + two.base * _mean_step(one, q1)
    return affine + k * by_stein + _over_pairs(joint_hinge, (q1, q2, k), one, two)


def constant_pair(q1: Array, q2: Array, k: Array, left: Levels, right: Levels) -> Array:
    """E[phi(u) psi(v)] of two piecewise constant functions. (D21)"""
    one, two = hinges(*left, k.dtype), hinges(*right, k.dtype)
    single = one.base * two.base + one.base * _mean_step(two, q2) + two.base * _mean_step(one, q1)
    steps = [own._replace(jumps=own.signs * own.jumps) for own in (one, two)]
    return single + _over_pairs(joint_tail, (q1, q2, k), *steps)


def _mean_step(own: Hinges, q: Array) -> Array:
    """E of sum_i sigma_i d_i step(sigma_i u - |b_i|), the derivative of the hinges."""
    steps = upper_tail(threshold(own.thresholds, root(q)[..., None]))
    return jnp.sum(own.signs * own.jumps * steps, -1)


@partial(jax.jit, static_argnums=0)  # outside of another jit a scan would be compiled at every call
def _over_pairs(rule: Callable[..., Array], covariances: tuple[Array, ...], one: Hinges, two: Hinges) -> Array:
    """sum_ij d_i d_j rule(|b_i|, |b_j|) at the covariance sigma_i sigma_j k; one pair at a time, to save memory."""
    q1, q2, k = covariances
    first, second = (x.ravel() for x in jnp.indices((len(one.jumps), len(two.jumps))))
    signs, weights = one.signs[first] * two.signs[second], one.jumps[first] * two.jumps[second]

    def add(total: Array, pair: tuple[Array, ...]) -> tuple[Array, None]:
        sign, weight, a, b = pair
        return total + weight * rule(q1, q2, sign * k, a, b), None

    pairs = signs, weights, one.thresholds[first], two.thresholds[second]
    return jax.lax.scan(add, jnp.zeros_like(q1 + q2 + k), pairs)[0]
