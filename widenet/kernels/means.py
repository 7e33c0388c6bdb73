"""Means of variables over channels: what norms subtract, and what independent factors multiply (C7)."""

from __future__ import annotations

from functools import singledispatch

import jax.numpy as jnp

from widenet.activations import dual as duals
from widenet.kernels import mixing
from widenet.kernels.attention import scores_of, weights_of
from widenet.kernels.covariance import Cov, Data, Dist, Form, Mean, as_cov, variances
from widenet.kernels.independence import is_centred
from widenet.kernels.layout import equal
from widenet.kernels.position_rules import mean_over, norm_scales, sample_operators
from widenet.kernels.rules import in_dtype, scalar
from widenet.kernels.schedule import Context, Need, Pair, Planner, Step, mean_of, own, positions
from widenet.program.ops import (
    Attend,
    Concat,
    Dropout,
    Flatten,
    Input,
    LinComb,
    Mix,
    Nonlin,
    Normalize,
    Op,
    Product,
    SampleMix,
)
from widenet.program.var import Var, describe, is_gaussian


def mean_step(planner: Planner, u: Var) -> Step:
    """The step that makes the mean of u, at each of its positions."""
    if is_centred(u):
        return Step((own(u),), lambda _, q: Mean(*(jnp.zeros_like(part) for part in variances(q))))
    return mean_rule(u.op, planner, u)


@singledispatch
def mean_rule(op: Op, planner: Planner, u: Var) -> Step:
    """The rule of a primitive for the mean of u."""
    raise NotImplementedError(f"the mean of {describe(u)} has no closed form; use monte_carlo.")


@mean_rule.register
def _input(op: Input, planner: Planner, u: Var) -> Step:
    def compute(context: Context, data: Form) -> Mean:
        if not isinstance(data, Data):
            raise NotImplementedError("a repeated block takes the mean of what it is given: write its copies out.")
        return Mean(*(x.mean(-1).T for x in data))

    return Step((own(u),), compute, takes_data=True)


@mean_rule.register
def _nonlin(op: Nonlin, planner: Planner, u: Var) -> Step:
    if not is_gaussian(u.args[0]):
        return _self_product(planner, u)

    def compute(context: Context, q: Cov | Dist) -> Mean:
        phi = in_dtype(op.phi, q.cross.dtype)
        return Mean(*(duals.mean(phi, value) for value in variances(q)))

    return Step((own(u.args[0]),), compute)


def _self_product(planner: Planner, u: Var) -> Step:
    from widenet.kernels.joint import mean_by_integration

    return mean_by_integration(planner, u)


@mean_rule.register
def _lincomb(op: LinComb, planner: Planner, u: Var) -> Step:
    coeffs = [scalar(c) for c in op.coeffs]

    def compute(context: Context, *means: Mean) -> Mean:
        return Mean(
            *(
                sum(jnp.asarray(c, m.dtype) * m for c, m in zip(coeffs, side, strict=True))
                for side in zip(*means, strict=True)
            )
        )

    return Step(tuple(map(mean_of, u.args)), compute)


@mean_rule.register
def _mix(op: Mix, planner: Planner, u: Var) -> Step:
    m = mixing.matrices(op.matrices)
    return Step((mean_of(u.args[0]),), lambda _, mean: Mean(*(m.on(side, 0) for side in mean)))


@mean_rule.register
def _sample_mix(op: SampleMix, planner: Planner, u: Var) -> Step:
    def compute(context: Context, mean: Mean) -> Mean:
        operators = sample_operators(op, u, context, mean.m1.dtype)
        if op.kind == "mask":
            return Mean(*(a.T * m for a, m in zip(operators, mean, strict=True)))
        return Mean(*(jnp.einsum("iop,pi->oi", a, m) for a, m in zip(operators, mean, strict=True)))

    return Step((mean_of(u.args[0]),), compute)


@mean_rule.register
def _dropout(op: Dropout, planner: Planner, u: Var) -> Step:
    return Step((mean_of(u.args[0]),), lambda _, mean: mean)


@mean_rule.register
def _flatten(op: Flatten, planner: Planner, u: Var) -> Step:
    return Step((mean_of(u.args[0]),), lambda _, mean: Mean(*(m.mean(0, keepdims=True) for m in mean)))


@mean_rule.register
def _concat(op: Concat, planner: Planner, u: Var) -> Step:
    shares = [arg.channels.fraction(u.channels) for arg in u.args]

    def compute(context: Context, *means: Mean) -> Mean:
        return Mean(*(sum(f * m for f, m in zip(shares, side, strict=True)) for side in zip(*means, strict=True)))

    return Step(tuple(map(mean_of, u.args)), compute)


@mean_rule.register
def _normalize(op: Normalize, planner: Planner, u: Var) -> Step:
    x = u.args[0]

    def compute(context: Context, mean: Mean, q: Cov | Dist) -> Mean:
        shift = mean_over(op, mean) if op.centred else Mean(*map(jnp.zeros_like, mean))
        roots = norm_scales(op, q, mean if op.centred else None)
        return Mean(*((m - s) * r for m, s, r in zip(mean, shift, roots, strict=True)))

    return Step((mean_of(x), own(x)), compute)


@mean_rule.register
def _attend(op: Attend, planner: Planner, u: Var) -> Step:

    def compute(context: Context, mean: Mean, scores: Form) -> Mean:
        weights = weights_of(u, scores, context, planner)
        return Mean(*(jnp.einsum("nop,pn->on", w, m) for w, m in zip(weights, mean, strict=True)))

    return Step((mean_of(u.args[0]), scores_of(u, planner)), compute)


@mean_rule.register
def _product(op: Product, planner: Planner, u: Var) -> Step:
    """E[f g] is the covariance of f and g with one sample and position."""
    f, g = u.args
    if planner.is_zero(f, g):
        return Step((own(u),), lambda _, q: Mean(*(jnp.zeros_like(part) for part in variances(q))))

    def compute(context: Context, k: Cov | Dist) -> Mean:
        k = as_cov(k, equal(positions(u)))
        return Mean(k.self1, k.self2)

    return Step((Need(Pair(f, g), lambda _: equal(positions(u))),), compute)
