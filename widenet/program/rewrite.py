"""Rewriting: programs into equivalent programs that a reading can run better."""

from __future__ import annotations

from dataclasses import replace

from widenet.program.ops import Repeat
from widenet.program.trace import Program
from widenet.program.var import Var


def unroll_bypassed(program: Program) -> Program:
    """Write out each `Repeat` that something bypasses, so that every other one is a bottleneck.

    A covariance of the output of a bottleneck with a variable before it is never asked for; with a
    skip connection around a `Repeat` it is, and then the copies of its block must be seen.
    """
    bypassed = _bypassed(program)
    if not bypassed:
        return program
    new: dict[Var, Var] = {}
    for var in program.variables:
        args = tuple(new[arg] for arg in var.args)
        new[var] = _copies(var, args[0]) if var in bypassed else replace(var, args=args) if args else var
    return Program(program.input, new[program.output])


def _copies(var: Var, x: Var) -> Var:
    assert isinstance(var.op, Repeat)
    for _ in range(var.op.times):
        x = var.op.block(x)
    return x


def _bypassed(program: Program) -> set[Var]:
    """The Repeats that an edge from an older to a younger variable passes by."""
    last_use = {arg: i for i, var in enumerate(program.variables) for arg in var.args}
    found, reach = set(), -1  # reach: the youngest use of any variable older than the current one
    for i, var in enumerate(program.variables):
        if isinstance(var.op, Repeat) and reach > i:
            found.add(var)
        reach = max(reach, last_use.get(var, -1))
    return found
