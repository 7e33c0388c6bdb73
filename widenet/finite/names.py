"""Names of parameters: by order of first use, so that they are the same whenever a network is traced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from widenet.program.ops import Linear, Repeat
from widenet.program.trace import Program


def names(program: Program) -> Mapping[Any, str]:
    """The entry of `params` of each weight ('dense1', or the weight's own name) and each repeat ('repeat1')."""
    found: dict[Any, str] = {}
    taken: dict[str, int] = {}
    for var in program.variables:
        if isinstance(var.op, Linear) and var.op.weight not in found:
            found[var.op.weight] = _unique(var.op.weight.name or "dense", var.op.weight.name is None, taken)
        elif isinstance(var.op, Repeat):
            found[var] = _unique("repeat", True, taken)
    return found


def _unique(stem: str, numbered: bool, taken: dict[str, int]) -> str:
    taken[stem] = taken.get(stem, 0) + 1
    return f"{stem}{taken[stem]}" if numbered or taken[stem] > 1 else stem
