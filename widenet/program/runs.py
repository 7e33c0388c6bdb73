"""Finding repeated blocks: a chain of equal layers, written out by a loop, becomes one `Repeat`.

A block is some consecutive variables of which only the last one is read by later ones, and which read nothing older
than the last variable of the block before.  Copies are equal up to their weights, which must be their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import jax
import numpy as np

from widenet.program.ops import Input, Op, Repeat, Weight
from widenet.program.trace import Program
from widenet.program.var import Var, is_gaussian

LONGEST = 12  # variables in a block that is looked for
FEWEST = 3  # copies that are worth a loop


def find_runs(program: Program) -> Program:
    """The same program with every chain of equal blocks as a `Repeat`."""
    variables = program.variables
    bottlenecks = _bottlenecks(program)
    new: dict[Var, Var] = {}
    i = 0
    while i < len(variables):
        length, times = _run_at(program, i, bottlenecks)
        if times:
            new[variables[i + length * times - 1]] = _repeated(variables[i : i + length], times, new[variables[i - 1]])
            i += length * times
        else:
            var = variables[i]
            new[var] = replace(var, args=tuple(new[arg] for arg in var.args)) if var.args else var
            i += 1
    return Program(program.input, new[program.output])


def _bottlenecks(program: Program) -> list[bool]:
    """Is variable i all that the variables after it read of those up to it?"""
    index, reach = program.index, [0] * len(program.variables)
    oldest = len(program.variables)
    for i in range(len(program.variables) - 1, -1, -1):
        reach[i] = oldest  # the oldest variable that anything younger than i reads
        oldest = min([oldest, *(index[arg] for arg in program.variables[i].args)])
    return [reach[i] >= i for i in range(len(program.variables))]


def _run_at(program: Program, start: int, bottlenecks: Sequence[bool]) -> tuple[int, int]:
    """The length of the block that begins at `start`, and how often it follows there; 0 times if it does not."""
    variables = program.variables
    if start == 0 or not bottlenecks[start - 1] or isinstance(variables[start].op, Input):
        return 0, 0
    before = variables[start - 1]
    for length in range(1, min(LONGEST, (len(variables) - start) // FEWEST) + 1):
        last = variables[start + length - 1]
        if (
            not bottlenecks[start + length - 1]
            or _shape(last) != _shape(before)
            or is_gaussian(last) != is_gaussian(before)
        ):
            continue
        times = 1
        while _is_copy(program, start, length, start + times * length):
            times += 1
        if times >= FEWEST and _owns_weights(program, start, length * times):
            return length, times
    return 0, 0


def _shape(var: Var) -> tuple[Any, ...]:
    return var.positions, var.channels


def _is_copy(program: Program, start: int, length: int, other: int) -> bool:
    """Is the block at `other` that at `start`?"""
    variables, index, shift = program.variables, program.index, other - start
    if other + length > len(variables):
        return False
    weights: dict[Weight, Weight] = {}
    for a, b in zip(variables[start : start + length], variables[other : other + length], strict=True):
        same_args = [index[arg] + shift for arg in a.args] == [index[arg] for arg in b.args]
        if not (a.args and same_args and _shape(a) == _shape(b) and _equal_ops(a.op, b.op, weights)):
            return False
    return True


def _equal_ops(a: Op, b: Op, weights: dict[Weight, Weight]) -> bool:
    if type(a) is not type(b) or isinstance(a, Repeat):
        return False
    return all(_equal(getattr(a, f.name), getattr(b, f.name), weights) for f in fields(a))  # type: ignore[arg-type]


def _equal(a: Any, b: Any, weights: dict[Weight, Weight]) -> bool:
    if isinstance(a, Weight) and isinstance(b, Weight):
        return weights.setdefault(a, b) is b and a.width == b.width
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(_equal(x, y, weights) for x, y in zip(a, b, strict=True))
    if a is b:
        return True
    if any(isinstance(x, (np.ndarray, jax.Array)) or hasattr(x, "tocsr") for x in (a, b)):
        return False  # two arrays of equal entries are two
    leaves = jax.tree.leaves((a, b))
    if a is not None and leaves != [a, b]:  # an activation: equal parameters of one function
        flat: Any = [jax.tree.flatten(x) for x in (a, b)]
        (of_a, tree_a), (of_b, tree_b) = flat
        return bool(tree_a == tree_b) and all(_equal(x, y, weights) for x, y in zip(of_a, of_b, strict=True))
    return type(a) is type(b) and bool(a == b)


def _owns_weights(program: Program, start: int, count: int) -> bool:
    """Does each weight of these variables make one of them only?"""
    inside = set(program.variables[start : start + count])
    return all(len(uses) == 1 or not inside & set(uses) for uses in program.weights.values())


def _repeated(block: Sequence[Var], times: int, x: Var) -> Var:
    """`block`, applied `times` times to x."""
    start = Var(Input(is_gaussian(x)), (), x.positions, x.channels)
    before = next(_outside(block))
    new = {before: start}
    for var in block:
        new[var] = replace(var, args=tuple(new[arg] for arg in var.args))
    body = Program(start, new[block[-1]])
    return Var(Repeat(_no_block, body, times), (x,), x.positions, x.channels)


def _outside(block: Sequence[Var]) -> Iterator[Var]:
    return (arg for var in block for arg in var.args if arg not in block)


def _no_block(x: Var) -> Var:
    raise AssertionError("a run that was found is a bottleneck, and never written out")
