"""The rules of the kernel reading: the covariance of two variables from those of their arguments.

Every primitive has a rule, for any two variables: those of single positions are here, those that mix positions in
`position_rules.py`, products in `products.py`.  A variable with itself may have a second, more accurate rule in
`distance.py`.  The numbers are made by small jitted functions, so that compile time does not grow with depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, singledispatch
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
    as_cov,
    ends,
    ends_self,
    variances,
    with_diagonal,
)
from widenet.kernels.inputs import as_wanted, covariance_of, linear_features
from widenet.kernels.layout import Layout, equal
from widenet.kernels.schedule import Context, Need, Pair, Planner, Step, like, own, positions
from widenet.program.ops import (
    Attend,
    Concat,
    Dropout,
    Flatten,
    Input,
    LinComb,
    Linear,
    Mix,
    Nonlin,
    Normalize,
    Op,
    Product,
    Repeat,
    SampleMix,
)
from widenet.program.var import Var, describe, is_gaussian

PUSHED = (LinComb, Mix, SampleMix, Dropout, Attend, Normalize)  # linear in a variable: they act on either side


def pair_rule(planner: Planner, u: Var, v: Var) -> Step:
    """The step that makes the covariance of any two variables, in covariance form."""
    if u is v:
        return pair(u.op, planner, u, v)
    young, old = (u, v) if planner.index(u) > planner.index(v) else (v, u)
    for var in (young, old):
        if isinstance(var.op, PUSHED):
            return push(var.op, planner, u, v, var is u)
    for op in (Product, Nonlin):
        for var in (young, old):
            if isinstance(var.op, op):
                return pair(var.op, planner, u, v)
    return pair(young.op, planner, u, v)


@singledispatch
def pair(op: Op, planner: Planner, u: Var, v: Var) -> Step:
    """The rule of a primitive for u with v, at least one of which it made."""
    raise NotImplementedError(
        f"the kernel reading has no rule for {op.label} ({type(op).__name__}); use monte_carlo instead of kernel."
    )


@singledispatch
def push(op: Op, planner: Planner, u: Var, v: Var, left: bool) -> Step:
    """The rule of a linear primitive that made u (left) or v, with any other variable."""
    raise NotImplementedError(f"the kernel reading has no rule for {op.label} with another variable.")


@pair.register
def _input(op: Input, planner: Planner, u: Var, v: Var) -> Step:
    if u is not v:
        raise NotImplementedError(f"{describe(u)} and {describe(v)} have channels that cannot be compared.")

    def missing(context: Context) -> Cov:
        raise AssertionError("the covariance of the input must be given")

    return Step((), missing)


@pair.register
def _linear(op: Linear, planner: Planner, u: Var, v: Var) -> Step:
    assert isinstance(u.op, Linear)
    assert isinstance(v.op, Linear)
    a, b = u.args[0], v.args[0]
    sigmas = sigmas_of(u.op, v.op)
    if planner.is_zero(a, b):
        return Step((like(a, a),), lambda context, k: only_bias(sigmas, as_cov(k, context.layout)))

    def compute(context: Context, k: Form) -> Form:
        if isinstance(k, (Data, Features)):
            if u is v:
                return as_wanted(linear_features(sigmas[::2], k, u.op.has_bias), planner, u, context)
            k = covariance_of(k, context.layout, planner.mode.ntk, context.own)
        assert isinstance(k, (Cov, Dist))
        return linear_numbers(sigmas, as_cov(k, context.layout))

    return Step((like(a, b),), compute, takes_data=True)


def sigmas_of(u: Linear, v: Linear) -> tuple[Any, ...]:
    """The scales of weights and biases of two layers that share them."""
    assert u.weight is v.weight, "else zero"
    bias = (u.sigma_b, v.sigma_b) if u.has_bias and v.has_bias else (0.0, 0.0)
    return scalar(u.sigma_w), scalar(v.sigma_w), *map(scalar, bias)


def scalar(value: Any) -> Any:
    """A number as Python's own, so that it does not change the precision of what it multiplies."""
    return float(value) if isinstance(value, (int, float)) else value


def squared(sigma: Any, dtype: Any) -> Array:
    """sigma^2 in `dtype`, rounded once: 2, not 1.9999999, for the root of 2 in float32 a hundred times in a row."""
    return (jnp.asarray(sigma) ** 2).astype(dtype)


@jax.jit
def linear_numbers(sigmas: tuple[Any, ...], k: Cov) -> Cov:
    """sigma_w^2 K + sigma_b^2 and the source of Theta (K2); a window has summed K and Theta before."""
    sw_u, sw_v, sb_u, sb_v = (jnp.asarray(s, k.cross.dtype) for s in sigmas)
    cross, self1, self2 = jax.tree.map(lambda part: sw_u * sw_v * part + sb_u * sb_v, tuple(k[:3]))
    ntk = None if k.ntk is None else sw_u * sw_v * k.ntk + cross  # du/dW . dv/dW is K itself (K2)
    return Cov(cross, self1, self2, ntk)


def only_bias(sigmas: tuple[Any, ...], shape: Cov) -> Cov:
    """The covariance of two layers that share a weight, but read independent variables."""
    return linear_numbers(sigmas, jax.tree.map(jnp.zeros_like, shape))


@pair.register
def _nonlin(op: Nonlin, planner: Planner, u: Var, v: Var) -> Step:
    (phi, a), (psi, b) = ((w.op.phi, w.args[0]) if isinstance(w.op, Nonlin) else (None, w) for w in (u, v))
    if not (is_gaussian(a) and is_gaussian(b)):
        return joint_step(planner, u, v)
    needs = [own(a), own(b)]
    if not planner.is_zero(a, b):
        needs.append(like(a, b))

    def compute(context: Context, qa: Cov | Dist, qb: Cov | Dist, k: Cov | Dist | None = None) -> Cov:
        q = variances(qa)[0], variances(qa)[1], variances(qb)[0], variances(qb)[1]
        inner = None if k is None else as_cov(k, context.layout)
        return _nonlin_numbers(
            phi, None if u is v else psi, q, inner, u is v, context.layout, planner.mode.ntk, context.own
        )

    return Step(tuple(needs), compute)


@partial(jax.jit, static_argnames=("same_variable", "layout", "ntk"))
def _nonlin_numbers(
    phi: Any,
    psi: Any,
    q: tuple[Array, ...],
    k: Cov | None,
    same_variable: bool,
    layout: Layout,
    ntk: bool,
    own: Array | None,
) -> Cov:
    qa1, qa2, qb1, qb2 = q
    phi, psi = (in_dtype(f, qa1.dtype) for f in (phi, psi))

    def dual(q_u: Array, q_v: Array, c: Array | None) -> Array:
        c = jnp.zeros(jnp.broadcast_shapes(q_u.shape, q_v.shape), q_u.dtype) if c is None else c
        return duals.dual(phi, q_u, q_v, c) if same_variable else _cross(phi, psi, q_u, q_v, c)

    selfs = (None, None) if k is None else (k.self1, k.self2)
    if same_variable and layout.is_equal:
        self1, self2 = (duals.second_moment(phi, qa) for qa in (qa1, qa2))
    else:
        self1 = dual(*ends_self(layout, qa1, qb1), selfs[0])
        self2 = dual(*ends_self(layout, qa2, qb2), selfs[1])
    q_u, q_v = ends(layout, qa1, qb2)
    cross = with_diagonal(dual(q_u, q_v, None if k is None else k.cross), self1, own)
    if not ntk:
        return Cov(cross, self1, self2, None)
    if k is None:
        return Cov(cross, self1, self2, jnp.zeros_like(cross))
    slope = duals.slope(phi, q_u, q_v, k.cross) if same_variable else _cross_slope(phi, psi, q_u, q_v, k.cross)
    return Cov(cross, self1, self2, slope * k.ntk)  # (K3)


def in_dtype(phi: Any, dtype: Any) -> Any:
    """An activation whose parameters have the precision of what it acts on."""
    return jax.tree.map(lambda parameter: jnp.asarray(parameter, dtype), phi)


def _cross(phi: Any, psi: Any, q1: Array, q2: Array, k: Array) -> Array:
    return duals.cross_dual(*_or_identity(phi, psi), q1, q2, k)


def _cross_slope(phi: Any, psi: Any, q1: Array, q2: Array, k: Array) -> Array:
    return duals.cross_slope(*_or_identity(phi, psi), q1, q2, k)


def joint_step(planner: Planner, u: Var, v: Var) -> Step:
    """A function of several Gaussian variables."""
    from widenet.kernels import joint

    return joint.joint_step(planner, u, v)


def _or_identity(phi: Any, psi: Any) -> tuple[Any, Any]:
    from widenet.activations import identity

    return (identity if phi is None else phi), (identity if psi is None else psi)


@pair.register
def _lincomb(op: LinComb, planner: Planner, u: Var, v: Var) -> Step:
    terms = terms_of(op, u, planner)
    return _sum_step([(c, like(a, b)) for c, a, b in terms])


def terms_of(op: LinComb, var: Var, planner: Planner) -> list[tuple[Any, Var, Var]]:
    """The terms (coefficient, x_i, x_j) of the covariance of a linear combination with itself."""
    total: dict[Var, Any] = {}
    for c, arg in zip(op.coeffs, var.args, strict=True):  # h + h is 2 h
        total[arg] = total[arg] + scalar(c) if arg in total else scalar(c)
    return [(c * d, a, b) for a, c in total.items() for b, d in total.items() if not planner.is_zero(a, b)]


@push.register
def _push_lincomb(op: LinComb, planner: Planner, u: Var, v: Var, left: bool) -> Step:
    mine, other = (u, v) if left else (v, u)
    terms = [(scalar(c), a) for c, a in zip(op.coeffs, mine.args, strict=True) if not planner.is_zero(a, other)]
    return _sum_step([(c, like(a, v) if left else like(u, a)) for c, a in terms])


def _sum_step(terms: Sequence[tuple[Any, Need]]) -> Step:
    def compute(context: Context, *ks: Cov | Dist) -> Cov:
        return weighted([c for c, _ in terms], [as_cov(k, context.layout) for k in ks])

    return Step(tuple(need for _, need in terms), compute)


@jax.jit
def weighted(coeffs: Sequence[Any], covs: Sequence[Cov]) -> Cov:
    """sum_i coeffs[i] covs[i]."""
    return jax.tree.map(lambda *ks: sum(jnp.asarray(c, k.dtype) * k for c, k in zip(coeffs, ks, strict=True)), *covs)


@pair.register
def _flatten(op: Flatten, planner: Planner, u: Var, v: Var) -> Step:
    x, y = _same_layout(op, u, v)
    if positions(x) != positions(y):
        raise NotImplementedError(f"{u} and {v} share a weight but flatten differently many positions.")
    at = equal(positions(x))

    def compute(context: Context, k: Cov | Dist) -> Cov:
        return jax.tree.map(lambda part: jnp.mean(part, axis=0, keepdims=True), as_cov(k, at))

    return Step((Need(Pair(x, y), lambda _: at),), compute)


def _same_layout(op: Op, u: Var, v: Var) -> tuple[Var, ...]:
    if type(u.op) is not type(v.op):
        raise NotImplementedError(
            f"{u} and {v} lay out their channels differently, so their covariance is not defined by the limit: "
            "put a dense layer after the flatten or concatenate, or do not tie the layers that follow."
        )
    return u.args[0], v.args[0]


@pair.register
def _concat(op: Concat, planner: Planner, u: Var, v: Var) -> Step:
    _same_layout(op, u, v)
    blocks = list(zip(u.args, v.args, strict=True))
    if any(a.channels != b.channels for a, b in blocks):
        raise NotImplementedError(f"{u} and {v} share a weight but concatenate blocks of different sizes.")
    return _sum_step([(a.channels.fraction(u.channels), like(a, b)) for a, b in blocks if not planner.is_zero(a, b)])


@pair.register
def _dropout(op: Dropout, planner: Planner, u: Var, v: Var) -> Step:
    def compute(context: Context, k: Cov | Dist) -> Cov:
        return _dropout_numbers(op.rate, as_cov(k, context.layout), context.own, context.layout)

    return Step((like(u.args[0], u.args[0]),), compute)


@partial(jax.jit, static_argnums=3)
def _dropout_numbers(rate: float, k: Cov, own: Array | None, layout: Layout) -> Cov:
    at = layout.left == layout.right

    def boost(part: Array) -> Array:  # a coordinate with itself: E m^2 / (1 - rate)^2
        return jnp.where(at.reshape(-1, *[1] * (part.ndim - 1)), part / (1 - rate), part)

    def diagonal(part: Array) -> Array:
        return part if own is None else jnp.where(own, boost(part), part)

    ntk = None if k.ntk is None else diagonal(k.ntk)
    return Cov(diagonal(k.cross), boost(k.self1), boost(k.self2), ntk)


@push.register
def _push_dropout(op: Dropout, planner: Planner, u: Var, v: Var, left: bool) -> Step:
    # a mask has mean one and is independent of the other variable
    need = like(u.args[0], v) if left else like(u, v.args[0])
    return Step((need,), lambda context, k: as_cov(k, context.layout))


@pair.register
def _repeat(op: Repeat, planner: Planner, u: Var, v: Var) -> Step:
    from widenet.kernels.repeat import repeat_step

    return repeat_step(op, planner, u, v)
