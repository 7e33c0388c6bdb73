"""Which factors of a product depend on which: what depends on no common Gaussian is independent (K6)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from widenet.program.ops import (
    Attend,
    BatchNorm,
    Concat,
    DepthwiseConv,
    Dropout,
    Flatten,
    Input,
    LinComb,
    Mix,
    Nonlin,
    Normalize,
    Product,
    SampleMix,
)
from widenet.program.var import Var, describe, is_gaussian

if TYPE_CHECKING:
    from widenet.kernels.schedule import Planner


PASSES = (LinComb, Mix, SampleMix, Dropout, Flatten, Concat)


def is_centred(var: Var) -> bool:
    """Is the mean of `var` over channels zero, whatever the data?"""
    if isinstance(var.op, Input):
        return var.op.gaussian
    if isinstance(var.op, (DepthwiseConv, BatchNorm)) or is_gaussian(var):
        return True
    if isinstance(var.op, Normalize):
        return (var.op.centred and not var.op.positions) or is_centred(var.args[0])
    if isinstance(var.op, Attend):
        return is_centred(var.args[0])
    return isinstance(var.op, PASSES) and all(map(is_centred, var.args))


class Group(NamedTuple):
    """Dependent factors: those of the left variable and those of the right one."""

    left: tuple[Var, ...]
    right: tuple[Var, ...]


def factors(var: Var) -> tuple[Var, ...]:
    """The factors of a product, of a product of products, or the variable itself."""
    return tuple(f for arg in var.args for f in factors(arg)) if isinstance(var.op, Product) else (var,)


def independent_groups(planner: Planner, u: Var, v: Var) -> list[Group]:
    """The factors of both variables, grouped so that different groups are independent."""
    groups: list[Group] = []
    for side, var in enumerate((u, v)):
        for factor in factors(var):
            one = Group((factor,), ()) if side == 0 else Group((), (factor,))
            touching = [g for g in groups if any(dependent(planner, member, factor) for member in g.left + g.right)]
            groups = [g for g in groups if g not in touching]
            for g in touching:
                one = Group(g.left + one.left, g.right + one.right)
            groups.append(one)
    return groups


def dependent(planner: Planner, x: Var, y: Var) -> bool:
    """Are the coordinates of x and y functions of correlated Gaussian variables?"""
    return any(not planner.is_zero(g, h) for g in gaussians(x) for h in gaussians(y))


def gaussians(var: Var) -> list[Var]:
    """The Gaussian variables that the coordinates of `var` are functions of."""
    if is_gaussian(var):
        return [var]
    if isinstance(var.op, (Normalize, Attend)):  # deterministic scales and weights
        return gaussians(var.args[0])
    if not isinstance(var.op, (Nonlin, LinComb, Mix, SampleMix, Dropout, Product)):
        raise NotImplementedError(f"a product with {describe(var)} has no closed form; use monte_carlo.")
    return list(dict.fromkeys(g for arg in var.args for g in gaussians(arg)))


def has_centred_factor(planner: Planner, u: Var, v: Var) -> bool:
    """Is one factor Gaussian and independent of all others, so that the expectation of the product is zero?"""
    groups = [g.left + g.right for g in independent_groups(planner, u, v)]
    return any(len(members) == 1 and is_gaussian(members[0]) for members in groups)
