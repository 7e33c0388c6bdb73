"""Which parameters of a program are inside of residual branches, and how many branches follow each other."""

from __future__ import annotations

from collections.abc import Iterator

from widenet.finite.parameters import Owner, uses_by_owner
from widenet.program.ops import Input, LinComb, Repeat
from widenet.program.trace import Program
from widenet.program.var import Var


def branches_of(program: Program) -> tuple[frozenset[Owner], int]:
    """The owners of parameters in branches, and the number of branches, those in repeated blocks with their copies.

    A branch is what a sum adds to a variable that the branch itself starts from: x + f(x).  Branches in a branch count
    as one.  A repeated block has its owner here if all of its parameters are in branches of its own.
    """
    before = _ancestors(program)
    inside: set[Var] = set()
    tops: list[tuple[Var, set[Var]]] = [(var, part) for var in program.variables for part in _branches(var, before)]
    for _, part in tops:
        inside |= part
    count = sum(var not in inside for var, _ in tops)
    owners = {owner for owner, uses in uses_by_owner(program).items() if all(use in inside for use in uses)}
    for var in program.variables:
        if isinstance(var.op, Repeat) and var not in inside:
            body_owners, blocks = branches_of(var.op.body)
            count += var.op.times * blocks
            if body_owners and body_owners == set(uses_by_owner(var.op.body)):
                owners.add(var)
    return frozenset(owners), count


def _ancestors(program: Program) -> dict[Var, set[Var]]:
    before: dict[Var, set[Var]] = {}
    for var in program.variables:
        before[var] = set().union(*({arg} | before[arg] for arg in var.args))
    return before


def _branches(var: Var, before: dict[Var, set[Var]]) -> Iterator[set[Var]]:
    """The variables of each branch that `var` adds to something older."""
    if not isinstance(var.op, LinComb):
        return
    for branch in var.args:
        starts = [skip for skip in var.args if skip in before[branch]]
        if starts:
            longest = max(starts, key=lambda skip: len(before[skip]))
            part = ({branch} | before[branch]) - before[longest] - {longest}
            if not any(isinstance(v.op, Input) for v in part):
                yield part
