"""One period of a deep network of equal blocks, as a program that begins and ends at one and the same variable."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from widenet.kernels.kernel import check_samples_apart
from widenet.program.ops import Input, Linear, Nonlin, Repeat
from widenet.program.rewrite import unroll_bypassed
from widenet.program.runs import find_runs
from widenet.program.trace import Net, Program, is_self_contained, trace_block
from widenet.program.var import Channels, Var, is_gaussian, shape_text


def period_of(block: Net, positions: tuple[int, ...] = ()) -> Program:
    """The program of `block`, cut at its preactivations (Q1); a readout at its end counts as a layer of any width.

    Raises: ValueError for a block that changes the shape of its argument or shares weights between its copies;
    NotImplementedError for one that couples the samples of a batch.
    """
    like = Var(Input(True), (), tuple(positions), Channels(1, 0))
    program = _traced(block, like, gaussian=True)
    cut = _preactivations(program)
    if cut is not program.output and program.output.channels != like.channels:
        raise ValueError(_not_a_period(program.output, like))
    if cut is not None:
        program = _rotated(program, cut)
    elif not is_gaussian(program.output):
        program = _traced(block, like, gaussian=False)
    program = find_runs(unroll_bypassed(program))
    check_samples_apart(program)
    return program


def _traced(block: Net, like: Var, *, gaussian: bool) -> Program:
    program = trace_block(block, like, gaussian=gaussian)
    output = program.output
    if program.input not in program.index:
        raise ValueError("the block does not use its argument, so there is nothing to follow through it.")
    if output.positions != like.positions:
        raise ValueError(_not_a_period(output, like))
    if not is_self_contained(block, like, gaussian=gaussian):
        raise ValueError("the block uses the same Weight in every copy; make the Weight inside of the block.")
    return program


def _not_a_period(output: Var, like: Var) -> str:
    return (
        f"mean field follows one block through many equal layers, but the block makes {output} of {shape_text(like)}: "
        "give one block that keeps the shape, without strides, pooling or width=."
    )


def _preactivations(program: Program) -> Var | None:
    """The youngest output of a weight that is all that later variables read, if there is one."""
    variables, index = program.variables, program.index
    oldest = len(variables)  # what is read by the variables after the one at hand
    for var in reversed(variables):
        if isinstance(var.op, Linear) and is_gaussian(var) and oldest >= index[var]:
            return var
        oldest = min([oldest, *(index[arg] for arg in var.args)])
    return None


def _rotated(program: Program, cut: Var) -> Program:
    """What comes after `cut`, then what comes before it."""
    if cut is program.output:
        return program
    at = program.index[cut]
    start = Var(Input(True), (), cut.positions, cut.channels)
    ends = _copied(program.variables[at + 1 :], {cut: start})
    begins = _copied(program.variables[1 : at + 1], {program.input: ends[program.output]})
    return Program(start, begins[cut])


def _copied(variables: list[Var], new: dict[Var, Var]) -> dict[Var, Var]:
    for var in variables:
        new[var] = replace(var, args=tuple(new[arg] for arg in var.args))
    return new


def with_sigmas(program: Program, sigma_w: Any, sigma_b: Any) -> Program:
    """The program with these scales in every dense and convolutional layer."""
    new = {program.input: Var(program.input.op, (), program.input.positions, program.input.channels)}
    for var in program.variables[1:]:
        op: Any = var.op
        if isinstance(op, Linear):
            op = replace(op, sigma_w=sigma_w, sigma_b=sigma_b)
        elif isinstance(op, Repeat):
            op = replace(op, body=with_sigmas(op.body, sigma_w, sigma_b))
        new[var] = Var(op, tuple(new[arg] for arg in var.args), var.positions, var.channels)
    return Program(new[program.input], new[program.output])


def ops_of(program: Program) -> Iterator[Any]:
    """All primitives of a program, those inside of repeated blocks included."""
    for var in program.variables:
        yield var.op
        if isinstance(var.op, Repeat):
            yield from ops_of(var.op.body)


def has_sigmas(program: Program) -> bool:
    """Is there a dense or convolutional layer, whose scales can be varied?"""
    return any(isinstance(op, Linear) for op in ops_of(program))


def jumps(program: Program) -> bool:
    """Does an activation jump, so that the closest inputs are torn apart?"""
    return any(isinstance(op, Nonlin) and not op.phi.continuous for op in ops_of(program))
