"""Architectures with other scales of their layers and branches, and where their signals are compared. (S4)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from widenet.program.ops import Input, LinComb, Linear
from widenet.program.trace import Net, Program
from widenet.program.var import Var


class Scales(NamedTuple):
    """Standard deviations of weights, times sqrt(fan-in), and of biases."""

    sigma_w: Any
    sigma_b: Any


class Values(NamedTuple):
    """The numbers of an architecture: scales of its layers with weights, oldest first, and of its branches."""

    layers: list[Scales]
    multiplier: Any = None  # of the branches of skip connections; None for their own


class Skip(NamedTuple):
    """A sum of a branch and the variable that the branch is made of."""

    total: Var
    shortcut: Var
    branch: Var
    weights: tuple[Var, ...]  # dense layers and convolutions of the branch, the last one last


def skips_of(program: Program) -> tuple[Skip, ...]:
    """The skip connections of an unrolled program, those inside of another's branch left out."""
    above = {var: _ancestors(var, {}) for var in program.variables if isinstance(var.op, LinComb)}
    found: list[Skip] = []
    for total in above:
        if len(total.args) != 2:
            continue
        for kept, branch in (total.args, total.args[::-1]):
            shortcut = _without_factors(kept)[-1]
            inside = _ancestors(branch, above) - _ancestors(shortcut, above)
            weights = tuple(var for var in program.variables if var in inside and isinstance(var.op, Linear))
            if shortcut in _ancestors(branch, above) and weights:
                found.append(Skip(total, shortcut, branch, weights))
    nested = {inner.total for inner in found for outer in found if _is_inside(inner, outer)}
    return tuple(skip for skip in found if skip.total not in nested)


def _is_inside(inner: Skip, outer: Skip) -> bool:
    """Is the sum part of the other's branch?"""
    return (
        inner.total is not outer.total
        and inner.total in _ancestors(outer.branch, {})
        and inner.total not in _ancestors(outer.shortcut, {})
    )


def _ancestors(var: Var, known: Mapping[Var, set[Var]]) -> set[Var]:
    """What `var` is made of, itself included."""
    if var in known:
        return known[var]
    seen, stack = {var}, [var]
    while stack:
        new = set(stack.pop().args) - seen
        seen |= new
        stack.extend(new)
    return seen


def stations(program: Program) -> list[Var]:
    """Where signals are compared: the sums of skip connections, else the layers with weights; the readout last."""
    linears, skips = layers_of(program), skips_of(program)
    trunk = [skip.shortcut for skip in skips[:1] if not isinstance(skip.shortcut.op, Input)]
    trunk += [skip.total for skip in skips]
    if len(trunk) < 2:
        return linears
    return [*trunk, linears[-1]] if linears[-1].age > trunk[-1].age else trunk


def layers_of(program: Program) -> list[Var]:
    """Dense layers and convolutions, oldest first."""
    return [var for var in program.variables if isinstance(var.op, Linear)]


def rewritten(program: Program, values: Values) -> Net:
    """The architecture of an unrolled program with these numbers."""
    skips = () if values.multiplier is None else skips_of(program)
    scales = dict(zip(layers_of(program), values.layers, strict=True))
    sums = {skip.total: skip for skip in skips}
    own = {factor for skip in skips for factor in _without_factors(skip.branch)[:-1]}

    def coefficients(var: Var) -> tuple[Any, ...]:
        assert isinstance(var.op, LinComb)
        if var in own:
            return (1.0,)
        if var not in sums:
            return var.op.coeffs
        pairs = zip(var.args, var.op.coeffs, strict=True)
        return tuple(values.multiplier if arg is sums[var].branch else c for arg, c in pairs)

    def net(x: Var) -> Var:
        new: dict[Var, Var] = {program.input: x}
        for var in program.variables:
            if var is program.input:
                continue
            op = var.op
            if isinstance(op, Linear):
                sigma_w, sigma_b = scales[var]
                op = replace(op, sigma_w=sigma_w, sigma_b=sigma_b)
            elif isinstance(op, LinComb):
                op = replace(op, coeffs=coefficients(var))
            new[var] = Var(op, tuple(new[arg] for arg in var.args), var.positions, var.channels)
        return new[program.output]

    return net


def _without_factors(var: Var) -> list[Var]:
    """The variable, what is left without the number that it is multiplied by, and so on."""
    found = [var]
    while isinstance(var.op, LinComb) and len(var.args) == 1:
        (var,) = var.args
        found.append(var)
    return found
