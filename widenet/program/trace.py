"""Tracing: an ordinary Python function of a variable becomes a program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from widenet.program.ops import Conv, Embed, Heads, Input, Linear, Table, Weight
from widenet.program.var import Channels, Var, describe, order, shape_text

Net = Callable[[Var], Var]


@dataclass(frozen=True, eq=False)
class Program:
    """A traced architecture: its input, its output, and every variable in between, oldest first."""

    input: Var
    output: Var

    @cached_property
    def variables(self) -> list[Var]:
        """All variables, each after its arguments."""
        return order(self.output)

    @cached_property
    def index(self) -> dict[Var, int]:
        """The place of each variable: a larger index is younger."""
        return {var: i for i, var in enumerate(self.variables)}

    @cached_property
    def weights(self) -> dict[Weight, list[Var]]:
        """The variables that each weight makes, oldest first; weights by first use."""
        uses: dict[Weight, list[Var]] = {}
        for var in self.variables:
            if isinstance(var.op, (Linear, Embed, Table, Heads)):
                uses.setdefault(var.op.weight, []).append(var)
        return uses


def trace(net: Net, shape: Sequence[int]) -> Program:
    """The program that `net` makes of data of `shape`, `[n, d]`, `[n, t, d]` or `[n, h, w, d]`.

    Raises: ValueError for a shape without features; TypeError if `net` does not return a variable;
    ValueError if it uses a variable that is not made from its argument, or ties a weight to
    layers of different fan-in.
    """
    if len(shape) < 2:
        raise ValueError(f"data must be [n, ..., d], but has shape {tuple(shape)}; for one sample write x[None].")
    x = Var(Input(), (), tuple(shape[1:-1]), Channels(0, shape[-1]))
    return _program(net, x)


def trace_block(block: Net, like: Var, *, gaussian: bool) -> Program:
    """The program of a block whose argument has the shape of `like`."""
    return _program(block, Var(Input(gaussian), (), like.positions, like.channels))


def is_self_contained(block: Net, like: Var, *, gaussian: bool) -> bool:
    """Does `block` make its own weights at every call and use no variable from outside?"""
    once, again = (_program(block, Var(Input(gaussian), (), like.positions, like.channels), False) for _ in "12")
    foreign = any(isinstance(var.op, Input) and var is not once.input for var in once.variables)
    return not foreign and not set(once.weights) & set(again.weights)


def _program(net: Net, x: Var, check: bool = True) -> Program:
    output = net(x)
    if not isinstance(output, Var):
        raise TypeError(f"an architecture must return a variable, but returned {output!r}: does it end in `return`?")
    program = Program(x, output)
    if check:
        _check_inputs(program)
        _check_weights(program)
    return program


def _check_inputs(program: Program) -> None:
    for var in program.variables:
        if isinstance(var.op, Input) and var is not program.input:
            user = next(v for v in program.variables if var in v.args)
            raise ValueError(
                f"{describe(user)} uses a variable that was never bound in this architecture (an input of shape "
                f"{shape_text(var)}, made elsewhere): build it from the argument, which is {shape_text(program.input)}."
            )


def _check_weights(program: Program) -> None:
    for uses in program.weights.values():
        for use in uses[1:]:
            if _form(use) != _form(uses[0]):
                raise ValueError(
                    f"{describe(uses[0])} and {describe(use)} share one Weight, but are not of one kind (the same "
                    "layer with a window of the same size): make a second Weight()."
                )
            if use.args and use.args[0].channels != uses[0].args[0].channels:
                raise ValueError(
                    f"{describe(uses[0])} and {describe(use)} share one Weight, but are given {uses[0].args[0]} and "
                    f"{use.args[0]}: tied layers need equally many input channels; make a second Weight()."
                )


def _form(var: Var) -> tuple[Any, ...]:
    """What layers that share a weight must have in common beside the channels."""
    op = var.op
    if isinstance(op, Conv):
        return type(op), op.window.sizes, op.groups
    return (type(op),)
