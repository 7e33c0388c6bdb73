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
    Cov,
    Data,
    Dist,
    Features,
    Form,
    Mean,
    as_dist,
    between,
    cosine_distance,
    ends,
    ends_self,
    half_distance,
    restrict,
    roots,
    safe_divide,
    safe_sqrt,
    scale,
    zero_at_equal,
)
from widenet.kernels.independence import is_centred
from widenet.kernels.inputs import as_wanted, distance_of, formed, linear_features
from widenet.kernels.layout import Layout, equal
from widenet.kernels.means import mean_step
from widenet.kernels.position_rules import norm_scales
from widenet.kernels.repeat import repeat_step
from widenet.kernels.rules import in_dtype, pair_rule, scalar, squared, terms_of
from widenet.kernels.schedule import (
    Context,
    Mode,
    Need,
    Places,
    Planner,
    Step,
    alike,
    like,
    only_between,
    own,
    positions,
)
from widenet.program.ops import Flatten, LinComb, Linear, Mix, Nonlin, Normalize, Op, Repeat
from widenet.program.var import Var, is_gaussian


def rule(planner: Planner, u: Var, v: Var | None) -> Step:
    """The step that makes a mean or the covariance of two variables, in distance form where that is better."""
    if v is None:
        return _without_data(_in_covariances(mean_step(planner, u)), planner.mode)
    from widenet.kernels.shifts import shifted_step

    plain = _plain_rule(planner, u, v)
    return shifted_step(planner, u, plain) or plain if u is v and isinstance(u.op, Mix) else plain


def _plain_rule(planner: Planner, u: Var, v: Var) -> Step:
    if u in planner.tail and v in planner.tail:
        return _between_samples(pair_rule(planner, u, v), planner.mode)
    if u is v and planner.mode.distance:
        return _without_data(distance_rule(u.op, planner, u), planner.mode)
    return _without_data(_in_covariances(pair_rule(planner, u, v)), planner.mode)


def _in_covariances(step: Step) -> Step:
    """A step whose arguments are wanted at the same pairs within a sample as between samples."""
    return step._replace(needs=tuple(map(alike, step.needs)))


def _without_data(step: Step, mode: Mode) -> Step:
    """The same for arguments that may be the data, or features of them."""
    if step.takes_data:
        return step

    def compute(context: Context, *covs: Form) -> Form:
        ready = [formed(k, need.wanted(context.at), mode, context) for need, k in zip(step.needs, covs, strict=True)]
        return step.compute(context, *ready)

    return step._replace(compute=compute)


def _between_samples(step: Step, mode: Mode) -> Step:
    """A linear step of which nobody asks for variances."""
    in_covariances = mode._replace(distance=False)

    def argument(context: Context, need: Need, k: Form) -> Form:
        if step.takes_data and isinstance(k, (Data, Features)):
            return k
        at = need.wanted(context.at)
        return between(formed(k, at, in_covariances, context), at.between)

    def compute(context: Context, *covs: Form) -> Form:
        made = step.compute(context, *(argument(context, need, k) for need, k in zip(step.needs, covs, strict=True)))
        return made if isinstance(made, Features) else between(made, context.layout)

    return step._replace(needs=tuple(map(only_between, step.needs)), compute=compute)


@singledispatch
def distance_rule(op: Op, planner: Planner, u: Var) -> Step:
    """The rule of a primitive in distance form; by default its covariance, converted."""
    step = _in_covariances(pair_rule(planner, u, u))

    def compute(context: Context, *covs: Form) -> Form:
        made = step.compute(context, *covs)
        if not isinstance(made, Cov):
            return made
        return restrict(as_dist(made, context.layout, context.own), Places(context.layout, context.layout), context.at)

    return step._replace(compute=compute, covers=True)


def blocks(
    fn: Callable[..., Array], k: Dist, at: Places, *samples: tuple[Array, Array]
) -> tuple[Array, Array | None, Array | None]:
    """fn(distance, left and right values of each of `samples`) for the cross block and the two blocks of one sample.

    at: the pairs of positions of the cross block and of the other two.  samples: pairs of values `[P, n1]`, `[P, n2]`,
    shaped to broadcast over each block.
    """
    layout, selfs = at
    cross = fn(k.cross, *(ends(layout, v1, v2) for v1, v2 in samples))
    if selfs.is_equal:
        return cross, None, None
    return cross, *(
        zero_at_equal(fn(part, *(ends_self(selfs, v[i], v[i]) for v in samples)), selfs)
        for i, part in enumerate((k.self1, k.self2))
    )


@distance_rule.register
def _linear(op: Linear, planner: Planner, u: Var) -> Step:
    x = u.args[0]
    sigmas = scalar(op.sigma_w), scalar(op.sigma_b)

    def compute(context: Context, k: Form) -> Form:
        if isinstance(k, (Data, Features)):
            return as_wanted(linear_features(sigmas, k, op.has_bias), planner, u, context)
        assert isinstance(k, Dist)
        return _linear_numbers(sigmas, k, op.has_bias, context.at)

    return Step((like(x, x),), compute, takes_data=True)


def first_linear(sigmas: tuple[Any, Any], data: Data, has_bias: bool, at: Places, ntk: bool, own: Array | None) -> Dist:
    """A dense layer on data (K1)."""
    return distance_of(linear_features(sigmas, data, has_bias), at, ntk, own)


@partial(jax.jit, static_argnames=("has_bias", "at"))
def _linear_numbers(sigmas: tuple[Any, Any], k: Dist, has_bias: bool, at: Places) -> Dist:
    w2, b2 = (squared(s, k.q1.dtype) for s in sigmas)
    q1, q2 = w2 * k.q1 + b2, w2 * k.q2 + b2

    def with_bias(gap: Array, old: tuple[Array, Array], new: tuple[Array, Array]) -> Array:
        (p1, p2), (new1, new2) = (map(safe_sqrt, ends) for ends in (old, new))  # one root for a row, not for an entry
        was, now = w2 * (p1 * p2), new1 * new2
        grown = was * gap + w2 * b2 * (p1 - p2) ** 2 / (now + was + b2)
        return grown * (safe_divide(1.0, new1) * safe_divide(1.0, new2))

    cross, self1, self2 = blocks(with_bias, k, at, (k.q1, k.q2), (q1, q2)) if has_bias else k[:3]
    out = Dist(cross, self1, self2, None, q1, q2)
    if k.ntk is None:
        return out
    return out._replace(ntk=w2 * k.ntk + between(out, at[0]).cross)  # (K2)


@distance_rule.register
def _nonlin(op: Nonlin, planner: Planner, u: Var) -> Step:
    x = u.args[0]
    if not is_gaussian(x):
        return distance_rule.dispatch(Op)(op, planner, u)
    return Step((like(x, x),), lambda context, k: _nonlin_numbers(op.phi, k, context.at))


@partial(jax.jit, static_argnames="at")
def _nonlin_numbers(phi: Any, k: Dist, at: Places) -> Dist:
    phi = in_dtype(phi, k.q1.dtype)
    new1, new2 = (duals.second_moment(phi, q) for q in (k.q1, k.q2))

    def distance(gap: Array, old: tuple[Array, Array], new: tuple[Array, Array]) -> Array:
        if phi.distance is not None:
            return phi.distance(gap, *phi.params)[0]
        dual = duals.dual(phi, *old, scale(*old) * (1 - gap))
        raw = 1 - safe_divide(dual, scale(*new))
        rounding = jnp.where((gap == 0) & (old[0] == old[1]), raw, jnp.minimum(raw, 0.0))  # equal stays equal
        return raw - jax.lax.stop_gradient(rounding)

    parts = blocks(distance, k, at, (k.q1, k.q2), (new1, new2))
    if k.ntk is None:
        return Dist(*parts, None, new1, new2)
    q1, q2 = ends(at[0], k.q1, k.q2)
    if phi.distance is not None:
        slope = phi.distance(k.cross, *phi.params)[1]
    else:
        slope = duals.slope(phi, q1, q2, scale(q1, q2) * (1 - k.cross))
    return Dist(*parts, slope * k.ntk, new1, new2)  # (K3)


@distance_rule.register
def _repeat(op: Repeat, planner: Planner, u: Var) -> Step:
    return repeat_step(op, planner, u, u)


@distance_rule.register
def _lincomb(op: LinComb, planner: Planner, u: Var) -> Step:
    terms = terms_of(op, u, planner)
    if any(a is not b for _, a, b in terms):  # correlated terms: what their covariances keep is all there is
        return distance_rule.dispatch(Op)(op, planner, u)
    coeffs = [c for c, _, _ in terms]

    def compute(context: Context, *covs: Form) -> Form:
        if isinstance(covs[0], Data):
            return Data(*(safe_sqrt(jnp.asarray(coeffs[0])) * x for x in covs[0]))
        return _sum_numbers(coeffs, covs, context.at)

    return Step(tuple(like(a, a) for _, a, _ in terms), compute, takes_data=len(terms) == 1)


@partial(jax.jit, static_argnames="at")
def _sum_numbers(coeffs: Sequence[Any], covs: Sequence[Dist], at: Places) -> Dist:
    """A sum of independent variables. (K9)

    s' d' = sum_i s_i d_i + sum_{i<j} (p_i1 p_j2 - p_j1 p_i2)^2 / (s' + sum_i s_i)
    """
    layout, selfs = at
    weights = [jnp.asarray(c, k.q1.dtype) for c, k in zip(coeffs, covs, strict=True)]
    qs = [(w * k.q1, w * k.q2) for w, k in zip(weights, covs, strict=True)]
    q1, q2 = sum(q for q, _ in qs), sum(q for _, q in qs)

    def distance(gaps: Sequence[Array], old: Sequence[tuple[Array, Array]], new: tuple[Array, Array]) -> Array:
        parts, now = [scale(*q) for q in old], scale(*new)
        ends_of = [tuple(map(safe_sqrt, q)) for q in old]
        total = now + sum(parts)
        spread = sum(
            safe_divide(a1 * b2 - b1 * a2, safe_sqrt(total)) ** 2 for (a1, a2), (b1, b2) in combinations(ends_of, 2)
        )
        return safe_divide(sum(s * gap for s, gap in zip(parts, gaps, strict=True)) + spread, now)

    cross = distance([k.cross for k in covs], [ends(layout, *q) for q in qs], ends(layout, q1, q2))
    self1, self2 = (
        None
        if selfs.is_equal
        else zero_at_equal(
            distance([k[1 + i] for k in covs], [ends_self(selfs, q[i], q[i]) for q in qs], ends_self(selfs, new, new)),
            selfs,
        )
        for i, new in enumerate((q1, q2))
    )
    ntk = None if covs[0].ntk is None else sum(w * k.ntk for w, k in zip(weights, covs, strict=True))
    return Dist(cross, self1, self2, ntk, q1, q2)


@distance_rule.register
def _flatten(op: Flatten, planner: Planner, u: Var) -> Step:
    x = u.args[0]
    at = equal(positions(x))

    def compute(context: Context, k: Form) -> Form:
        if isinstance(k, Data):
            return Data(*(part.reshape(part.shape[0], 1, -1) for part in k))
        assert isinstance(k, Dist)
        return _flatten_numbers(k, at)

    return Step((own(x),), compute, takes_data=True)


@partial(jax.jit, static_argnames="at")
def _flatten_numbers(k: Dist, at: Layout) -> Dist:
    mean = partial(jnp.mean, axis=0, keepdims=True)
    q1, q2, one = mean(k.q1), mean(k.q2), equal(1)
    d = mean(half_distance(k.cross, *ends(at, *roots(k.q1, k.q2))))
    cross = cosine_distance(d, *ends(one, *roots(q1, q2)))
    return Dist(cross, None, None, None if k.ntk is None else mean(k.ntk), q1, q2)


@distance_rule.register
def _normalize(op: Normalize, planner: Planner, u: Var) -> Step:
    x = u.args[0]
    if op.centred and not is_centred(x):
        return distance_rule.dispatch(Op)(op, planner, u)

    def compute(context: Context, k: Dist, q: Dist) -> Dist:
        return _rescale_numbers(k, norm_scales(op, q, None), context.layout)

    return Step((like(x, x), own(x)), compute)


@partial(jax.jit, static_argnames="layout")
def _rescale_numbers(k: Dist, scales: Mean, layout: Layout) -> Dist:
    """Scales leave cosines alone."""
    r1, r2 = ends(layout, *scales)
    ntk = None if k.ntk is None else k.ntk * r1 * r2
    return k._replace(ntk=ntk, q1=k.q1 * scales.m1**2, q2=k.q2 * scales.m2**2)
