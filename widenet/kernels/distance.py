"""The accurate rules for a variable with itself, as cosine distances 1 - K / sqrt(q1 q2) (K8).

In covariance form float32 forgets an angle smaller than 3e-4, and a relu feels it in every layer.  Here
nearly equal numbers are never subtracted, so float32 keeps six digits of a hundred layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, singledispatch
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from widenet.activations import dual as duals
from widenet.kernels.covariance import (
    Data,
    Dist,
    Form,
    as_cov,
    as_dist,
    outer,
    safe_divide,
    safe_sqrt,
    scale,
    zero_at_equal,
)
from widenet.kernels.inputs import covariance_of, distance_of
from widenet.kernels.rules import in_dtype, pair_rule, scalar, terms_of
from widenet.kernels.schedule import Key, Mode, Planner, Step
from widenet.program.ops import Flatten, LinComb, Linear, Mix, Nonlin, Op

HIGHEST = jax.lax.Precision.HIGHEST


def rule(planner: Planner, key: Key) -> Step:
    """The step that makes the covariance of two variables, in distance form where that is better."""
    if key.u is key.v and planner.mode.distance:
        step = distance_rule(key.u.op, planner, key)
    else:
        step = pair_rule(planner, key)
    return step if step.takes_data else Step(step.needs, _without_data(step, planner.mode))


def _without_data(step: Step, mode: Mode) -> Any:
    """The rule of `step`, for arguments that may be the data themselves."""

    def compute(*covs: Form) -> Form:
        form = distance_of if mode.distance else covariance_of
        ready = [
            form(k, need.full, mode) if isinstance(k, Data) else k for need, k in zip(step.needs, covs, strict=True)
        ]
        return step.compute(*ready)

    return compute


@singledispatch
def distance_rule(op: Op, planner: Planner, key: Key) -> Step:
    """The rule of a primitive in distance form; by default its covariance, converted."""
    step = pair_rule(planner, key)
    return Step(step.needs, lambda *covs: as_dist(step.compute(*covs), planner.mode.same))


def blocks(
    fn: Callable[..., Array], k: Dist, *samples: tuple[Array, Array]
) -> tuple[Array, Array | None, Array | None]:
    """fn(distance, left and right values of each of `samples`) for the cross block and the two blocks of one sample.

    samples: pairs of values `[P, n1]`, `[P, n2]`, shaped to broadcast over each block.
    """
    full = k.cross.ndim == 4
    cross = fn(k.cross, *(outer(v1, v2, full) for v1, v2 in samples))
    if not full:
        return cross, None, None
    return cross, *(
        zero_at_equal(fn(part, *((v[i][:, None], v[i][None]) for v in samples)))
        for i, part in enumerate((k.self1, k.self2))
    )


@distance_rule.register
def _linear(op: Linear, planner: Planner, key: Key) -> Step:
    x = key.u.args[0]
    sigmas = scalar(op.sigma_w), scalar(op.sigma_b)

    def compute(k: Form) -> Dist:
        if isinstance(k, Data):
            return _first_linear(sigmas, k, op.has_bias, key.full, planner.mode)
        assert isinstance(k, Dist)
        return _linear_numbers(sigmas, k, op.has_bias)

    return Step((Key(x, x, key.full),), compute, takes_data=True)


@partial(jax.jit, static_argnames=("has_bias", "full", "mode"))
def _first_linear(sigmas: tuple[Any, Any], data: Data, has_bias: bool, full: bool, mode: Mode) -> Dist:
    """A dense layer on data: its bias is one more feature, so that not even a zero input is singular (K1)."""
    sigma_w, sigma_b = (jnp.asarray(s, data.x1.dtype) for s in sigmas)
    d = data.x1.shape[-1]

    def features(x: Array) -> Array:
        root = jnp.sqrt(jnp.asarray((d + has_bias) / d, x.dtype))  # features are averaged, one more with a bias
        scaled = sigma_w * root * x
        if not has_bias:
            return scaled
        bias = jnp.broadcast_to(sigma_b * jnp.sqrt(jnp.asarray(d + 1, x.dtype)), (*x.shape[:-1], 1))
        return jnp.concatenate([scaled, bias], axis=-1)

    out = distance_of(Data(features(data.x1), features(data.x2)), full, mode)
    return out._replace(ntk=as_cov(out).cross if mode.ntk else None)


@partial(jax.jit, static_argnames="has_bias")
def _linear_numbers(sigmas: tuple[Any, Any], k: Dist, has_bias: bool) -> Dist:
    w2, b2 = (jnp.asarray(s, k.q1.dtype) ** 2 for s in sigmas)
    q1, q2 = w2 * k.q1 + b2, w2 * k.q2 + b2

    def with_bias(gap: Array, old: tuple[Array, Array], new: tuple[Array, Array]) -> Array:
        was, now = w2 * scale(*old), scale(*new)
        spread = _root_difference(*old) ** 2
        return safe_divide(was * gap + w2 * b2 * spread / (now + was + b2), now)

    cross, self1, self2 = blocks(with_bias, k, (k.q1, k.q2), (q1, q2)) if has_bias else k[:3]
    out = Dist(cross, self1, self2, None, q1, q2)
    if k.ntk is None:
        return out
    return out._replace(ntk=w2 * k.ntk + as_cov(out).cross)  # (K2)


def _root_difference(q1: Array, q2: Array) -> Array:
    """sqrt(q1) - sqrt(q2) without cancellation of the roots."""
    return safe_divide(q1 - q2, safe_sqrt(q1) + safe_sqrt(q2))


@distance_rule.register
def _nonlin(op: Nonlin, planner: Planner, key: Key) -> Step:
    x = key.u.args[0]
    return Step((Key(x, x, key.full),), lambda k: _nonlin_numbers(op.phi, k))


@jax.jit
def _nonlin_numbers(phi: Any, k: Dist) -> Dist:
    phi = in_dtype(phi, k.q1.dtype)
    new1, new2 = (duals.second_moment(phi, q) for q in (k.q1, k.q2))

    def distance(gap: Array, old: tuple[Array, Array], new: tuple[Array, Array]) -> Array:
        if phi.distance is not None:
            return phi.distance(gap, *phi.params)[0]
        dual = duals.dual(phi, *old, scale(*old) * (1 - gap))
        raw = 1 - safe_divide(dual, scale(*new))
        rounding = jnp.where((gap == 0) & (old[0] == old[1]), raw, jnp.minimum(raw, 0.0))  # equal stays equal
        return raw - jax.lax.stop_gradient(rounding)

    parts = blocks(distance, k, (k.q1, k.q2), (new1, new2))
    if k.ntk is None:
        return Dist(*parts, None, new1, new2)
    q1, q2 = outer(k.q1, k.q2, k.cross.ndim == 4)
    if phi.distance is not None:
        slope = phi.distance(k.cross, *phi.params)[1]
    else:
        slope = duals.slope(phi, q1, q2, scale(q1, q2) * (1 - k.cross))
    return Dist(*parts, slope * k.ntk, new1, new2)  # (K3)


@distance_rule.register
def _lincomb(op: LinComb, planner: Planner, key: Key) -> Step:
    terms = terms_of(op, key.u, planner)
    if any(a is not b for _, a, b in terms):  # correlated terms: what their covariances keep is all there is
        return distance_rule.dispatch(Op)(op, planner, key)
    coeffs = [c for c, _, _ in terms]

    def compute(*covs: Form) -> Form:
        if isinstance(covs[0], Data):
            return Data(*(safe_sqrt(jnp.asarray(coeffs[0])) * x for x in covs[0]))
        return _sum_numbers(coeffs, covs)

    return Step(tuple(Key(a, a, key.full) for _, a, _ in terms), compute, takes_data=len(terms) == 1)


@jax.jit
def _sum_numbers(coeffs: Sequence[Any], covs: Sequence[Dist]) -> Dist:
    """A sum of independent variables. (K9)

    s' d' = sum_i s_i d_i + sum_{i<j} (p_i1 p_j2 - p_j1 p_i2)^2 / (s' + sum_i s_i)
    """
    weights = [jnp.asarray(c, k.q1.dtype) for c, k in zip(coeffs, covs, strict=True)]
    qs = [(w * k.q1, w * k.q2) for w, k in zip(weights, covs, strict=True)]
    q1, q2 = sum(q for q, _ in qs), sum(q for _, q in qs)
    full = covs[0].cross.ndim == 4

    def distance(gaps: Sequence[Array], old: Sequence[tuple[Array, Array]], new: tuple[Array, Array]) -> Array:
        parts, now = [scale(*q) for q in old], scale(*new)
        roots = [tuple(map(safe_sqrt, q)) for q in old]
        total = now + sum(parts)
        spread = sum(
            safe_divide(a1 * b2 - b1 * a2, safe_sqrt(total)) ** 2 for (a1, a2), (b1, b2) in combinations(roots, 2)
        )
        return safe_divide(sum(s * gap for s, gap in zip(parts, gaps, strict=True)) + spread, now)

    cross = distance([k.cross for k in covs], [outer(*q, full) for q in qs], outer(q1, q2, full))
    self1, self2 = (
        zero_at_equal(
            distance([k[1 + i] for k in covs], [(q[i][:, None], q[i][None]) for q in qs], (new[:, None], new[None]))
        )
        if full
        else None
        for i, new in enumerate((q1, q2))
    )
    ntk = None if covs[0].ntk is None else sum(w * k.ntk for w, k in zip(weights, covs, strict=True))
    return Dist(cross, self1, self2, ntk, q1, q2)


@distance_rule.register
def _flatten(op: Flatten, planner: Planner, key: Key) -> Step:
    x = key.u.args[0]

    def compute(k: Form) -> Form:
        if isinstance(k, Data):
            return Data(*(part.reshape(part.shape[0], 1, -1) for part in k))
        assert isinstance(k, Dist)
        return _flatten_numbers(k)

    return Step((Key(x, x),), compute, takes_data=True)


@jax.jit
def _flatten_numbers(k: Dist) -> Dist:
    mean = partial(jnp.mean, axis=0, keepdims=True)
    q1, q2 = mean(k.q1), mean(k.q2)
    cross = from_half_distance(mean(half_distance(k.cross, *outer(k.q1, k.q2, False))), *outer(q1, q2, False))
    return Dist(cross, None, None, None if k.ntk is None else mean(k.ntk), q1, q2)


def half_distance(gap: Array, q1: Array, q2: Array) -> Array:
    """D = (q1 + q2) / 2 - K, half the mean squared distance, on which averages over positions act linearly."""
    return scale(q1, q2) * gap + _root_difference(q1, q2) ** 2 / 2


def from_half_distance(d: Array, q1: Array, q2: Array) -> Array:
    """The cosine distance of a half mean squared distance."""
    return jnp.clip(safe_divide(d - _root_difference(q1, q2) ** 2 / 2, scale(q1, q2)), 0.0, 2.0)  # outside by rounding


@distance_rule.register
def _mix(op: Mix, planner: Planner, key: Key) -> Step:
    x = key.u.args[0]
    chosen = _selected(op.matrix)

    def compute(k: Form) -> Form:
        if isinstance(k, Data):
            return Data(*(_mix_data(op.matrix, part) for part in k))
        assert isinstance(k, Dist)
        return _mix_numbers(op.matrix, k, key.full, planner.mode.same) if chosen is None else _take(k, chosen)

    return Step((Key(x, x, key.full if chosen is not None else True),), compute, takes_data=True)


def _selected(matrix: Any) -> Any:
    """Which position each row of `matrix` selects; None if it does more than select."""
    one_hot = ((matrix == 0) | (matrix == 1)).all() and (matrix.sum(1) == 1).all()
    return matrix.argmax(1) if one_hot else None


def _take(k: Dist, at: Any) -> Dist:
    def take(part: Array | None) -> Array | None:
        if part is None:
            return None
        return part[at][:, at] if k.cross.ndim == 4 else part[at]

    return Dist(*map(take, k[:4]), k.q1[at], k.q2[at])


@jax.jit
def _mix_data(matrix: Any, x: Array) -> Array:
    return jnp.einsum("op,npd->nod", jnp.asarray(matrix, x.dtype), x, precision=HIGHEST)


@partial(jax.jit, static_argnames=("full", "same"))
def _mix_numbers(matrix: Any, k: Dist, full: bool, same: bool) -> Dist:
    """z = M x: D' = M D M^T - (M D1 M^T + M D2 M^T)/2 on diagonals + (m1 - m2)(s1 - s2)/2, m = M 1, s = M q (K10)."""
    m = jnp.asarray(matrix, k.cross.dtype)
    distances = blocks(lambda gap, q: half_distance(gap, *q), k, (k.q1, k.q2))
    q1, q2 = (_both_sides(m, part, True) for part in as_cov(k)[1:3])
    own = tuple(_both_sides(m, part, True) for part in distances[1:])
    means = tuple(jnp.matmul(m, q, precision=HIGHEST) for q in (k.q1, k.q2))
    total = tuple(jnp.broadcast_to(m.sum(1)[:, None], part.shape) for part in own)

    def distance(part: Array, own: Any, s: Any, row: Any, new: Any) -> Array:
        moved = _both_sides(m, part, part.ndim == 4 and not full)
        d = moved - (own[0] + own[1]) / 2 + (row[0] - row[1]) * (s[0] - s[1]) / 2
        return from_half_distance(d, *new)

    mixed = k._replace(cross=distances[0], self1=distances[1], self2=distances[2])
    if full:
        cross, self1, self2 = blocks(distance, mixed, own, means, total, (q1, q2))
    else:
        cross, self1, self2 = (
            distance(mixed.cross, *(outer(*v, False) for v in (own, means, total, (q1, q2)))),
            None,
            None,
        )
    if same:
        at = jnp.eye(cross.shape[-1], dtype=bool)
        cross = jnp.where(at & jnp.eye(len(m), dtype=bool)[:, :, None, None] if full else at, 0.0, cross)
    ntk = None if k.ntk is None else _both_sides(m, k.ntk, not full)
    return Dist(cross, self1, self2, ntk, q1, q2)


def _both_sides(m: Array, part: Array, equal: bool) -> Array:
    return jnp.einsum("op,pq...,oq->o..." if equal else "op,pq...,rq->or...", m, part, m, precision=HIGHEST)
