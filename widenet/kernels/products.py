"""Products of variables: expectations that factorize over independent groups of factors (K6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from widenet.kernels.covariance import Cov, Dist, Mean, as_cov
from widenet.kernels.independence import Group, factors, independent_groups
from widenet.kernels.joint import joint_step
from widenet.kernels.layout import Layout, equal
from widenet.kernels.rules import pair
from widenet.kernels.schedule import Context, Need, Pair, Planner, Step, like, mean_of, positions
from widenet.program.ops import Product
from widenet.program.var import Var, product


class Moment(NamedTuple):
    """E of the factors of one group, at x1 (left) and x2 (right), at x1 twice, at x2 twice, and its NTK."""

    cross: Array
    self1: Array
    self2: Array
    ntk: Array | None


Part = tuple[tuple[Need, ...], Callable[..., Moment]]


@pair.register
def _product(op: Product, planner: Planner, u: Var, v: Var) -> Step:
    groups = independent_groups(planner, u, v)
    if any(not simple(group, u, v) for group in groups) and len(groups) == 1:
        return joint_step(planner, u, v)
    parts = [_part(group, planner, u, v) for group in groups]
    needs = tuple(need for part_needs, _ in parts for need in part_needs)

    def compute(context: Context, *covs: Cov | Dist | Mean) -> Cov:
        moments, rest = [], list(covs)
        for part_needs, moment in parts:
            taken, rest = rest[: len(part_needs)], rest[len(part_needs) :]
            moments.append(moment(context, *taken))
        return _multiply(moments)

    return Step(needs, compute)


def _multiply(moments: Sequence[Moment]) -> Cov:
    """E of a product over independent groups, and the product rule for its NTK."""
    total = moments[0]
    for moment in moments[1:]:
        ntk = None
        if total.ntk is not None and moment.ntk is not None:
            ntk = total.ntk * moment.cross + total.cross * moment.ntk
        total = Moment(total.cross * moment.cross, total.self1 * moment.self1, total.self2 * moment.self2, ntk)
    return Cov(*total)


def simple(group: Group, u: Var, v: Var) -> bool:
    """Is the expectation of this group a covariance or a mean that the recursion knows?"""
    left, right = group
    if len(left) + len(right) <= 2:
        return True
    # one factor against the whole other product: their covariance, which a sum can be pulled out of
    one_left = len(left) == 1 and left[0] is not u and set(right) == set(factors(v))
    one_right = len(right) == 1 and right[0] is not v and set(left) == set(factors(u))
    return one_left or one_right


def _part(group: Group, planner: Planner, u: Var, v: Var) -> Part:
    left, right = group
    match len(left), len(right):
        case 1, 1:
            return _joint(left[0], right[0])
        case 1, 0:
            return (mean_of(left[0]),), lambda context, m: _one_sided(m, context.layout, True, planner)
        case 0, 1:
            return (mean_of(right[0]),), lambda context, m: _one_sided(m, context.layout, False, planner)
        case 2, 0:
            return _pair_on_one_side(left, planner, True)
        case 0, 2:
            return _pair_on_one_side(right, planner, False)
    if simple(group, u, v):
        return _joint(left[0], v) if len(left) == 1 else _joint(u, right[0])
    if not left or not right:
        whole = _times(left or right)
        return (mean_of(whole),), lambda context, m: _one_sided(m, context.layout, bool(left), planner)
    return _joint(_times(left), _times(right))


def _times(factors_: Sequence[Var]) -> Var:
    """The product of some factors, as a variable of its own."""
    total = factors_[0]
    for factor in factors_[1:]:
        total = product(total, factor)
    return total


def _joint(a: Var, b: Var) -> Part:
    return (like(a, b),), lambda context, k: Moment(*as_cov(k, context.layout))


def _pair_on_one_side(pair_: tuple[Var, ...], planner: Planner, left: bool) -> Part:
    at = equal(positions(pair_[0]))

    def moment(context: Context, k: Cov | Dist) -> Moment:
        k = as_cov(k, at)
        return _one_sided(Mean(k.self1, k.self2), context.layout, left, planner)

    return (Need(Pair(*pair_), lambda _: at),), moment


def _one_sided(mean: Mean, layout: Layout, left: bool, planner: Planner) -> Moment:
    """A moment `[P, n1]` at x1 and `[P, n2]` at x2 of one side's factors, as a factor of a covariance."""
    value1, value2 = (layout.at_left(m) if left else layout.at_right(m) for m in mean)
    cross = value1[..., :, None] if left else value2[..., None, :]
    ntk = jnp.zeros_like(cross) if planner.mode.ntk else None
    return Moment(cross, value1, value2, ntk)
