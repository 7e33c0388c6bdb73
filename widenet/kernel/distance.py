"""The accurate rules for a variable with itself, in distance form D = (q1 + q2)/2 - K (K8).

In covariance form float32 forgets a distance smaller than 1e-7 of the variance, and a relu feels its
square root: 3e-4 of the angle in every layer.  Here nothing is subtracted, so float32 keeps six digits.
"""

from __future__ import annotations

from functools import partial, singledispatch
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from widenet.activations import dual as duals
from widenet.kernel.covariance import Cov, Dist, as_cov, as_dist, outer, with_diagonal
from widenet.kernel.rules import in_dtype, pair_rule, scalar, terms_of, weighted
from widenet.kernel.schedule import Key, Planner, Step
from widenet.program.ops import Flatten, LinComb, Linear, Mix, Nonlin, Op


def rule(planner: Planner, key: Key) -> Step:
    """The step that makes the covariance of two variables, in distance form where that is better."""
    if key.u is key.v and planner.mode.distance:
        return distance_rule(key.u.op, planner, key)
    return pair_rule(planner, key)


@singledispatch
def distance_rule(op: Op, planner: Planner, key: Key) -> Step:
    """The rule of a primitive in distance form; by default its covariance, converted."""
    step = pair_rule(planner, key)

    def compute(*covs: Cov | Dist) -> Dist:
        made = step.compute(*covs)
        return made if isinstance(made, Dist) else as_dist(made, planner.mode.same)

    return Step(step.needs, compute)


@distance_rule.register
def _linear(op: Linear, planner: Planner, key: Key) -> Step:
    x = key.u.args[0]
    sigmas = scalar(op.sigma_w), scalar(op.sigma_b)
    return Step((Key(x, x, key.full),), lambda k: _linear_numbers(sigmas, k))


@jax.jit
def _linear_numbers(sigmas: tuple[Any, Any], k: Dist) -> Dist:
    w2, b2 = (jnp.asarray(s, k.q1.dtype) ** 2 for s in sigmas)
    cross, self1, self2 = (None if d is None else w2 * d for d in (k.cross, k.self1, k.self2))
    out = Dist(cross, self1, self2, None, w2 * k.q1 + b2, w2 * k.q2 + b2)  # the bias cancels in D
    if k.ntk is None:
        return out
    return out._replace(ntk=w2 * k.ntk + as_cov(out).cross)  # (K2)


@distance_rule.register
def _nonlin(op: Nonlin, planner: Planner, key: Key) -> Step:
    x = key.u.args[0]
    return Step((Key(x, x, key.full),), lambda k: _nonlin_numbers(op.phi, k, planner.mode))


@partial(jax.jit, static_argnames="mode")
def _nonlin_numbers(phi: Any, k: Dist, mode: Any) -> Dist:
    phi = in_dtype(phi, k.q1.dtype)
    full = k.cross.ndim == 4
    new1, new2 = (duals.second_moment(phi, q) for q in (k.q1, k.q2))
    cross, slope = _distance(phi, *outer(k.q1, k.q2, full), k.cross, *outer(new1, new2, full))
    self1, self2 = (
        None if d is None else _distance(phi, q[:, None], q[None], d, new[:, None], new[None])[0]
        for q, d, new in ((k.q1, k.self1, new1), (k.q2, k.self2, new2))
    )
    ntk = slope * k.ntk if mode.ntk and k.ntk is not None else None  # (K3)
    return Dist(cross, self1, self2, ntk, new1, new2)


def _distance(phi: Any, q1: Array, q2: Array, d: Array, new1: Array, new2: Array) -> tuple[Array, Array]:
    if phi.distance is not None:
        return duals.distance_dual(phi, q1, q2, d)
    inner = (q1 + q2) / 2 - d
    raw = (new1 + new2) / 2 - duals.dual(phi, q1, q2, inner)
    rounding = jnp.where(d == 0, raw, jnp.minimum(raw, 0.0))  # a distance is never negative, and zero stays zero
    return raw - jax.lax.stop_gradient(rounding), duals.slope(phi, q1, q2, inner)


@distance_rule.register
def _lincomb(op: LinComb, planner: Planner, key: Key) -> Step:
    terms = terms_of(op, key.u, planner)
    own = [c for c, a, b in terms if a is b]
    mixed = [c for c, a, b in terms if a is not b]
    needs = [Key(a, b, key.full) for _, a, b in sorted(terms, key=lambda term: term[1] is not term[2])]

    def compute(*covs: Cov | Dist) -> Dist:
        total = _sum_distances(own, covs[: len(own)])
        if not mixed:
            return total
        cross_terms = as_dist(weighted(mixed, covs[len(own) :]), planner.mode.same)
        return _sum_distances([1.0, 1.0], (total, cross_terms))

    return Step(tuple(needs), compute)


@jax.jit
def _sum_distances(coeffs: Any, covs: Any) -> Dist:
    return jax.tree.map(lambda *ks: sum(jnp.asarray(c, k.dtype) * k for c, k in zip(coeffs, ks, strict=True)), *covs)


@distance_rule.register
def _flatten(op: Flatten, planner: Planner, key: Key) -> Step:
    x = key.u.args[0]
    return Step((Key(x, x),), lambda k: jax.tree.map(lambda part: jnp.mean(part, axis=0, keepdims=True), k))


@distance_rule.register
def _mix(op: Mix, planner: Planner, key: Key) -> Step:
    x = key.u.args[0]
    return Step((Key(x, x, True),), lambda k: _mix_numbers(op.matrix, k, key.full, planner.mode.same))


@partial(jax.jit, static_argnames=("full", "same"))
def _mix_numbers(matrix: Any, k: Dist, full: bool, same: bool) -> Dist:
    """z = M x: D' = M D M^T - (M D1 M^T + M D2 M^T)/2 on diagonals + (m1 - m2)(s1 - s2)/2, m = M 1, s = M q (K9)."""
    m = jnp.asarray(matrix, k.cross.dtype)
    highest = jax.lax.Precision.HIGHEST

    def both(part: Array, equal: bool) -> Array:
        return jnp.einsum("op,pq...,oq->o..." if equal else "op,pq...,rq->or...", m, part, m, precision=highest)

    total = m.sum(1)
    s1, s2 = (jnp.matmul(m, q, precision=highest) for q in (k.q1, k.q2))
    own1, own2 = both(k.self1, True), both(k.self2, True)

    def distance(part: Array, sa: Array, sb: Array, own_a: Array, own_b: Array, self_block: bool) -> Array:
        if self_block:
            (sa, sb), (own_a, own_b) = (sa[:, None], sb[None]), (own_a[:, None], own_b[None])
            ma, mb = total[:, None, None], total[None, :, None]
        else:
            (sa, sb), (own_a, own_b) = outer(sa, sb, full), outer(own_a, own_b, full)
            ma, mb = outer(total[:, None], total[:, None], full)
        moved = both(part, not (full or self_block))
        return moved - (own_a + own_b) / 2 + (ma - mb) * (sa - sb) / 2

    cross = with_diagonal_zero(distance(k.cross, s1, s2, own1, own2, False), full, same)
    self1, self2 = (
        _zero_at_equal(distance(d, s, s, own, own, True)) if full else None
        for d, s, own in ((k.self1, s1, own1), (k.self2, s2, own2))
    )
    ntk = None if k.ntk is None else both(k.ntk, not full)
    q1, q2 = (total[:, None] * s - own for s, own in ((s1, own1), (s2, own2)))
    return Dist(cross, self1, self2, ntk, q1, q2)


def with_diagonal_zero(cross: Array, full: bool, same: bool) -> Array:
    """Zero where a sample meets itself at equal positions."""
    if not full:
        return with_diagonal(cross, None, same)
    at = jnp.eye(cross.shape[0], dtype=bool)[:, :, None, None] & same & jnp.eye(*cross.shape[-2:], dtype=bool)
    return jnp.where(at, 0.0, cross)


def _zero_at_equal(part: Array) -> Array:
    return jnp.where(jnp.eye(part.shape[0], dtype=bool)[:, :, None], 0.0, part)
