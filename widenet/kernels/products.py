"""Products of variables: expectations that factorize over independent groups of factors (K6)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from widenet.activations import dual as duals
from widenet.kernels.covariance import Cov, Dist, as_cov, variances
from widenet.kernels.independence import Group, independent_groups
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
    match len(group.left), len(group.right):
        case 1, 1:
            return (Key(group.left[0], group.right[0], key.full),), lambda k: Moment(*as_cov(k))
        case 1, 0:
            return _mean(group.left[0], planner, key, left=True)
        case 0, 1:
            return _mean(group.right[0], planner, key, left=False)
        case 2, 0:
            return (Key(*group.left),), lambda k: _one_sided(as_cov(k).self1, as_cov(k).self2, key, True, planner)
        case 0, 2:
            return (Key(*group.right),), lambda k: _one_sided(as_cov(k).self1, as_cov(k).self2, key, False, planner)
    names = ", ".join(map(describe, dict.fromkeys(group.left + group.right)))
    raise NotImplementedError(
        f"the product of {names} has dependent factors, and the kernel reading multiplies independent ones only: "
        "give the gate weights of its own (do not tie it to the other branch), or use monte_carlo."
    )


def _mean(factor: Var, planner: Planner, key: Key, left: bool) -> Part:
    """E of a factor that is independent of all others, at the positions of its side."""
    terms = linear_terms(factor)
    assert terms, "a centred factor that is independent of all others: see Planner.is_zero"
    needs = tuple(Key(v.args[0], v.args[0]) for _, v in terms)

    def moment(*covs: Cov | Dist) -> Moment:
        means = []
        for side in (0, 1):
            parts = [
                c * duals.mean(in_dtype(v.op.phi, variances(k)[side].dtype), variances(k)[side])
                for (c, v), k in zip(terms, covs, strict=True)
            ]
            means.append(sum(parts[1:], parts[0]))
        return _one_sided(*means, key, left, planner)

    return needs, moment


def linear_terms(var: Var) -> list[tuple[float, Var]]:
    """`var` as a linear combination of elementwise variables; Gaussian terms are centred and left out."""
    if isinstance(var.op, Nonlin):
        return [(1.0, var)]
    if isinstance(var.op, LinComb):
        return [(c * d, v) for c, arg in zip(var.op.coeffs, var.args, strict=True) for d, v in linear_terms(arg)]
    if isinstance(var.op, Dropout):
        return linear_terms(var.args[0])
    if is_gaussian(var):
        return []
    raise NotImplementedError(f"the mean of {describe(var)} has no closed form; use monte_carlo.")


def _one_sided(value1: Array, value2: Array, key: Key, left: bool, planner: Planner) -> Moment:
    """A moment `[P, n1]` at x1 and `[P, n2]` at x2 of one side's factors, as a factor of a covariance."""
    if key.full:
        value1, value2 = (value[:, None] if left else value[None] for value in (value1, value2))
    cross = value1[..., :, None] if left else value2[..., None, :]
    ntk = jnp.zeros_like(cross) if planner.mode.ntk else None
    return Moment(cross, value1, value2, ntk)
