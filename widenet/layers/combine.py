"""Layers that combine branches or thin them out."""

from __future__ import annotations

from typing import Any

from widenet.layers.layer import layer
from widenet.program import var as program_var
from widenet.program.ops import Dropout
from widenet.program.trace import Net
from widenet.program.var import Var, below_structure


@layer
def scale(x: Var, factor: Any) -> Var:
    """factor x; factor is a number or a traced scalar."""
    return program_var.linear_combination((factor,), (x,))


def residual(branch: Net, *, scale: Any = 1.0) -> Net:
    """x + scale branch(x): a skip connection around `branch`."""
    return lambda x: program_var.linear_combination((1.0, scale), (x, branch(x)))


def add_up(*args: Var) -> Var:
    """The sum of several variables of one shape."""
    return program_var.linear_combination((1.0,) * len(args), args)


def concatenate(*args: Var) -> Var:
    """The channels of all arguments side by side, at equal positions.

    In the limit a block of channels weighs as its share of all channels.
    """
    if len(args) < 2:
        raise ValueError(f"concatenate joins two or more variables, but was given {len(args)}.")
    return program_var.concatenate(*args)


@layer
def dropout(x: Var, rate: float) -> Var:
    """Zero each coordinate with probability `rate` and divide the others by 1 - rate.

    Masks are drawn anew for every sample, position and channel: a sample agrees with itself only in part,
    and two samples are masked independently even where their values are equal.
    Raises: ValueError unless 0 <= rate < 1.
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout after {x}: rate is the probability of zeroing and must be in [0, 1); got {rate}.")
    return below_structure(lambda a: Var(Dropout(float(rate)), (a,), a.positions, a.channels), x)
