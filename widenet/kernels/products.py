"""Products of variables: expectations that factorize over independent groups of factors (K6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from widenet.activations import dual as duals
from widenet.kernels.covariance import Cov, Dist, as_cov, variances
from widenet.kernels.independence import Group, dependent, factors, independent_groups
from widenet.kernels.rules import in_dtype, pair
from widenet.kernels.schedule import Key, Planner, Step
from widenet.program.ops import Dropout, LinComb, Nonlin, Product
from widenet.program.var import Var, describe, is_gaussian

Part = tuple[tuple[Key, ...], Callable[..., "Moment"]]


class Moment(NamedTuple):
    """E of the factors of one group, at x1 (left) and x2 (right), at x1 twice, at x2 twice, and its NTK."""

    cross: Array
    self1: Array
    self2: Array
    ntk: Array | None


@pair.register
def _product(op: Product, planner: Planner, key: Key) -> Step:
    groups = [_parts(group, planner, key) for group in independent_groups(planner, key.u, key.v)]
    needs = tuple(need for part_needs, _ in groups for need in part_needs)

    def compute(*covs: Cov | Dist) -> Cov:
        moments, rest = [], list(covs)
        for part_needs, moment in groups:
            taken, rest = rest[: len(part_needs)], rest[len(part_needs) :]
            moments.append(moment(*taken))
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


def _parts(group: Group, planner: Planner, key: Key) -> Part:
    left, right = group
    match len(left), len(right):
        case 1, 1:
            return _joint(Key(left[0], right[0], key.full))
        case 1, 0:
            return _mean(left[0], planner, key, left=True)
        case 0, 1:
            return _mean(right[0], planner, key, left=False)
        case 2, 0:
            return (Key(*left),), lambda k: _one_sided(as_cov(k).self1, as_cov(k).self2, key, True, planner)
        case 0, 2:
            return (Key(*right),), lambda k: _one_sided(as_cov(k).self1, as_cov(k).self2, key, False, planner)
    # one factor against the whole other product: their covariance, which a sum can be pulled out of
    if len(left) == 1 and left[0] is not key.u and set(right) == set(factors(key.v)):
        return _joint(Key(left[0], key.v, key.full))
    if len(right) == 1 and right[0] is not key.v and set(left) == set(factors(key.u)):
        return _joint(Key(key.u, right[0], key.full))
    names = ", ".join(map(describe, dict.fromkeys(left + right)))
    raise NotImplementedError(
        f"the product of {names} has dependent factors, and the kernel reading multiplies independent ones only: "
        "give the gate weights of its own (do not tie it to the other branch), or use monte_carlo."
    )


def _joint(key: Key) -> Part:
    return (key,), lambda k: Moment(*as_cov(k))


def _mean(factor: Var, planner: Planner, key: Key, left: bool) -> Part:
    """E of a factor that is independent of all others, at the positions of its side."""
    elementwise = _elementwise(factor)
    needs = tuple(Key(v.args[0], v.args[0]) for v in elementwise)

    def moment(*covs: Cov | Dist) -> Moment:
        known = dict(zip(elementwise, covs, strict=True))
        values = [_mean_of(factor, planner, known, {}, side) for side in (0, 1)]
        return _one_sided(*values, key, left, planner)

    return needs, moment


def _elementwise(var: Var) -> list[Var]:
    """The elementwise variables that `var` is a polynomial of."""
    if isinstance(var.op, Nonlin):
        return [var]
    if is_gaussian(var):
        return []
    if not isinstance(var.op, (LinComb, Dropout, Product)):
        raise NotImplementedError(f"the mean of {describe(var)} has no closed form; use monte_carlo.")
    return list(dict.fromkeys(v for arg in var.args for v in _elementwise(arg)))


def _mean_of(var: Var, planner: Planner, known: Mapping[Var, Cov | Dist], memo: dict[Var, Array], side: int) -> Array:
    """E of a variable `[P, n]`: sums by linearity, products of independent factors, Gaussian variables are centred."""
    if var in memo:
        return memo[var]

    def mean(arg: Var) -> Array:
        return _mean_of(arg, planner, known, memo, side)

    if isinstance(var.op, Nonlin):
        q = variances(known[var])[side]
        value = duals.mean(in_dtype(var.op.phi, q.dtype), q)
    elif is_gaussian(var):
        value = jnp.zeros_like(variances(next(iter(known.values())))[side])
    elif isinstance(var.op, LinComb):
        value = sum(c * mean(arg) for c, arg in zip(var.op.coeffs, var.args, strict=True))
    elif isinstance(var.op, Dropout):
        value = mean(var.args[0])
    else:
        value = _mean_of_product(var, planner, mean)
    memo[var] = value
    return value


def _mean_of_product(var: Var, planner: Planner, mean: Callable[[Var], Array]) -> Array:
    parts = factors(var)
    if any(dependent(planner, a, b) for a, b in combinations(parts, 2)):
        raise NotImplementedError(f"the mean of {describe(var)} has dependent factors; use monte_carlo.")
    return math.prod((mean(part) for part in parts[1:]), start=mean(parts[0]))


def _one_sided(value1: Array, value2: Array, key: Key, left: bool, planner: Planner) -> Moment:
    """A moment `[P, n1]` at x1 and `[P, n2]` at x2 of one side's factors, as a factor of a covariance."""
    if key.full:
        value1, value2 = (value[:, None] if left else value[None] for value in (value1, value2))
    cross = value1[..., :, None] if left else value2[..., None, :]
    ntk = jnp.zeros_like(cross) if planner.mode.ntk else None
    return Moment(cross, value1, value2, ntk)
