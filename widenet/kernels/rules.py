"""The rules of the kernel reading: the covariance of two variables from those of their arguments.

Every primitive has a rule here, for any two variables.  A variable with itself may have a second,
more accurate rule in `distance.py`.  The numbers are made by small jitted functions, so that compile
time does not grow with depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, singledispatch
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from widenet.activations import dual as duals
from widenet.kernels.covariance import Cov, Dist, as_cov, equal_positions, outer, outer_self, variances, with_diagonal
from widenet.kernels.schedule import Key, Planner, Step, positions
from widenet.program.ops import Concat, Dropout, Flatten, Input, LinComb, Linear, Mix, Nonlin, Op, Product, Repeat
from widenet.program.var import Var, describe


def pair_rule(planner: Planner, key: Key) -> Step:
    """The step that makes the covariance of any two variables, in covariance form."""
    u, v = key.u, key.v
    if u is v:
        return pair(u.op, planner, key)
    young, old = (u, v) if planner.index(u) > planner.index(v) else (v, u)
    for var in (young, old):
        if isinstance(var.op, (LinComb, Mix, Dropout)):
            return push(var.op, planner, key, var is u)
    for op in (Product, Nonlin):
        for var in (young, old):
            if isinstance(var.op, op):
                return pair(var.op, planner, key)
    return pair(young.op, planner, key)


@singledispatch
def pair(op: Op, planner: Planner, key: Key) -> Step:
    """The rule of a primitive for `key.u` with `key.v`, at least one of which it made."""
    raise NotImplementedError(
        f"the kernel reading has no rule for {type(op).__name__}; use monte_carlo, or add one to kernel/rules.py."
    )


@singledispatch
def push(op: Op, planner: Planner, key: Key, left: bool) -> Step:
    """The rule of a linear primitive that made `key.u` (left) or `key.v`, with any other variable."""
    raise NotImplementedError(f"the kernel reading has no rule for {type(op).__name__} with another variable.")


@pair.register
def _input(op: Input, planner: Planner, key: Key) -> Step:
    if key.u is not key.v:
        raise NotImplementedError(f"{describe(key.u)} and {describe(key.v)} have channels that cannot be compared.")

    def missing() -> Cov:
        raise AssertionError("the covariance of the input must be given")

    return Step((), missing)


@pair.register
def _linear(op: Linear, planner: Planner, key: Key) -> Step:
    u, v = key.u.op, key.v.op
    assert isinstance(u, Linear)
    assert isinstance(v, Linear)
    assert u.weight is v.weight, "else zero"
    bias = (u.sigma_b, v.sigma_b) if u.has_bias and v.has_bias else (0.0, 0.0)
    arguments = Key(key.u.args[0], key.v.args[0], key.full)
    sigmas = (scalar(u.sigma_w), scalar(v.sigma_w), *map(scalar, bias))
    if planner.is_zero(arguments.u, arguments.v):
        return Step((arguments._replace(v=arguments.u),), lambda like: _only_bias(sigmas, as_cov(like)))
    return Step((arguments,), lambda k: _linear_numbers(sigmas, as_cov(k)))


def scalar(value: Any) -> Any:
    """A number as Python's own, so that it does not change the precision of what it multiplies."""
    return float(value) if isinstance(value, (int, float)) else value


@jax.jit
def _linear_numbers(sigmas: tuple[Any, ...], k: Cov) -> Cov:
    sw_u, sw_v, sb_u, sb_v = (jnp.asarray(s, k.cross.dtype) for s in sigmas)
    cross, self1, self2 = (sw_u * sw_v * part + sb_u * sb_v for part in (k.cross, k.self1, k.self2))
    ntk = None if k.ntk is None else sw_u * sw_v * k.ntk + cross  # du/dW . dv/dW is K itself (K2)
    return Cov(cross, self1, self2, ntk)


def _only_bias(sigmas: tuple[Any, ...], like: Cov) -> Cov:
    return _linear_numbers(sigmas, jax.tree.map(jnp.zeros_like, like))


@pair.register
def _nonlin(op: Nonlin, planner: Planner, key: Key) -> Step:
    (phi, a), (psi, b) = ((w.op.phi, w.args[0]) if isinstance(w.op, Nonlin) else (None, w) for w in (key.u, key.v))
    needs = [Key(a, a), Key(b, b)]
    if not planner.is_zero(a, b):
        needs.append(Key(a, b, key.full))

    def compute(qa: Cov | Dist, qb: Cov | Dist, k: Cov | Dist | None = None) -> Cov:
        q = variances(qa)[0], variances(qa)[1], variances(qb)[0], variances(qb)[1]
        inner = None if k is None else as_cov(k)
        return _nonlin_numbers(phi, None if key.u is key.v else psi, q, inner, key.u is key.v, key.full, planner.mode)

    return Step(tuple(needs), compute)


@partial(jax.jit, static_argnames=("same_variable", "full", "mode"))
def _nonlin_numbers(
    phi: Any, psi: Any, q: tuple[Array, ...], k: Cov | None, same_variable: bool, full: bool, mode: Any
) -> Cov:
    qa1, qa2, qb1, qb2 = q
    phi, psi = (in_dtype(f, qa1.dtype) for f in (phi, psi))

    def dual(q_u: Array, q_v: Array, c: Array | None) -> Array:
        c = jnp.zeros(jnp.broadcast_shapes(q_u.shape, q_v.shape), q_u.dtype) if c is None else c
        return duals.dual(phi, q_u, q_v, c) if same_variable else _cross(phi, psi, q_u, q_v, c)

    selfs = (None, None) if k is None else (k.self1, k.self2)
    if same_variable and not full:
        self1, self2 = (duals.second_moment(phi, qa) for qa in (qa1, qa2))
    else:
        self1 = dual(*outer_self(qa1, qb1, full), selfs[0])
        self2 = dual(*outer_self(qa2, qb2, full), selfs[1])
    q_u, q_v = outer(qa1, qb2, full)
    cross = with_diagonal(dual(q_u, q_v, None if k is None else k.cross), self1, mode.same)
    if not mode.ntk:
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


def _or_identity(phi: Any, psi: Any) -> tuple[Any, Any]:
    from widenet.activations import identity

    return (identity if phi is None else phi), (identity if psi is None else psi)


@pair.register
def _lincomb(op: LinComb, planner: Planner, key: Key) -> Step:
    terms = terms_of(op, key.u, planner)
    return Step(tuple(Key(a, b, key.full) for _, a, b in terms), lambda *ks: weighted([c for c, _, _ in terms], ks))


def terms_of(op: LinComb, var: Var, planner: Planner) -> list[tuple[Any, Var, Var]]:
    """The terms (coefficient, x_i, x_j) of the covariance of a linear combination with itself."""
    total: dict[Var, Any] = {}
    for c, arg in zip(op.coeffs, var.args, strict=True):  # h + h is 2 h
        total[arg] = total[arg] + scalar(c) if arg in total else scalar(c)
    return [(c * d, a, b) for a, c in total.items() for b, d in total.items() if not planner.is_zero(a, b)]


@push.register
def _push_lincomb(op: LinComb, planner: Planner, key: Key, left: bool) -> Step:
    mine, other = (key.u, key.v) if left else (key.v, key.u)
    terms = [(scalar(c), a) for c, a in zip(op.coeffs, mine.args, strict=True) if not planner.is_zero(a, other)]
    needs = tuple(key._replace(u=a) if left else key._replace(v=a) for _, a in terms)
    return Step(needs, lambda *ks: weighted([c for c, _ in terms], ks))


@jax.jit
def weighted(coeffs: Sequence[Any], covs: Sequence[Cov | Dist]) -> Cov:
    """sum_i coeffs[i] covs[i]."""
    covs = [as_cov(k) for k in covs]
    return jax.tree.map(lambda *ks: sum(jnp.asarray(c, k.dtype) * k for c, k in zip(coeffs, ks, strict=True)), *covs)


@pair.register
def _mix(op: Mix, planner: Planner, key: Key) -> Step:
    x = key.u.args[0]
    both = "op,pq...,rq->or..." if key.full else "op,pq...,oq->o..."

    def compute(k: Cov | Dist) -> Cov:
        return jax.tree.map(lambda part: _contract(both, op.matrix, part), as_cov(k))

    return Step((Key(x, x, True),), compute)


@push.register
def _push_mix(op: Mix, planner: Planner, key: Key, left: bool) -> Step:
    mine = key.u if left else key.v
    need = (key._replace(u=mine.args[0]) if left else key._replace(v=mine.args[0]))._replace(full=True)
    spec = "op,pq...->oq..." if left else "op,qp...->qo..."

    def compute(k: Cov | Dist) -> Cov:
        out = jax.tree.map(lambda part: _contract(spec, op.matrix, part), as_cov(k))
        return out if key.full else equal_positions(out)

    return Step((need,), compute)


@partial(jax.jit, static_argnums=0)
def _contract(spec: str, matrix: Any, k: Array) -> Array:
    matrix = jnp.asarray(matrix, k.dtype)
    operands = (matrix, k, matrix) if spec.count(",") == 2 else (matrix, k)
    return jnp.einsum(spec, *operands, precision=jax.lax.Precision.HIGHEST)


@pair.register
def _flatten(op: Flatten, planner: Planner, key: Key) -> Step:
    x, y = _same_layout(op, key)
    if positions(x) != positions(y):
        raise NotImplementedError(f"{key.u} and {key.v} share a weight but flatten differently many positions.")

    def compute(k: Cov | Dist) -> Cov:
        return jax.tree.map(lambda part: jnp.mean(part, axis=0, keepdims=True), as_cov(k))

    return Step((Key(x, y),), compute)


def _same_layout(op: Op, key: Key) -> tuple[Var, ...]:
    if type(key.u.op) is not type(key.v.op):
        raise NotImplementedError(
            f"{key.u} and {key.v} lay out their channels differently, so their covariance is not defined by the limit: "
            "put a dense layer after the flatten or concatenate, or do not tie the layers that follow."
        )
    return key.u.args[0], key.v.args[0]


@pair.register
def _concat(op: Concat, planner: Planner, key: Key) -> Step:
    _same_layout(op, key)
    blocks = list(zip(key.u.args, key.v.args, strict=True))
    if any(a.channels != b.channels for a, b in blocks):
        raise NotImplementedError(f"{key.u} and {key.v} share a weight but concatenate blocks of different sizes.")
    kept = [(a.channels.fraction(key.u.channels), a, b) for a, b in blocks if not planner.is_zero(a, b)]
    return Step(tuple(Key(a, b, key.full) for _, a, b in kept), lambda *ks: weighted([f for f, _, _ in kept], ks))


@pair.register
def _dropout(op: Dropout, planner: Planner, key: Key) -> Step:
    x = key.u.args[0]
    return Step((Key(x, x, key.full),), lambda k: _dropout_numbers(op.rate, as_cov(k), planner.mode.same, key.full))


@partial(jax.jit, static_argnums=(2, 3))
def _dropout_numbers(rate: float, k: Cov, same: bool, full: bool) -> Cov:
    def boost(part: Array) -> Array:  # a coordinate with itself: E m^2 / (1 - rate)^2
        at = jnp.eye(part.shape[0], dtype=bool)[:, :, None] if full else True
        return jnp.where(at, part / (1 - rate), part)

    def diagonal(part: Array) -> Array:
        return with_diagonal(part, boost(jnp.einsum("...nn->...n", part)) if same else None, same)

    ntk = None if k.ntk is None else diagonal(k.ntk)
    return Cov(diagonal(k.cross), boost(k.self1), boost(k.self2), ntk)


@push.register
def _push_dropout(op: Dropout, planner: Planner, key: Key, left: bool) -> Step:
    mine = key.u if left else key.v  # a mask has mean one and is independent of the other variable
    need = key._replace(u=mine.args[0]) if left else key._replace(v=mine.args[0])
    return Step((need,), as_cov)


@pair.register
def _repeat(op: Repeat, planner: Planner, key: Key) -> Step:
    from widenet.kernels.repeat import repeat_step

    return repeat_step(op, planner, key)
