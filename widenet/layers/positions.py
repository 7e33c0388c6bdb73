"""Layers that act on positions: readouts and selection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from widenet.layers.layer import layer
from widenet.program import var as program_var
from widenet.program.ops import Mix
from widenet.program.var import Var, below_structure


@layer
def flatten(x: Var) -> Var:
    """Positions become channels: `[n, *positions, c]` to `[n, prod(positions) c]`."""
    return program_var.flatten(x) if x.positions else x


@layer
def mix_positions(x: Var, matrix: Any, positions: tuple[int, ...], *, name: str = "mix") -> Var:
    """z[p] = sum_q matrix[p, q] x[q] over flattened positions.

    matrix: `[prod(positions), prod(x.positions)]`, numpy or scipy.sparse; positions: the shape of the new positions.
    """
    needed = (math.prod(positions), math.prod(x.positions))
    if matrix.shape != needed:
        raise ValueError(f"{name} after {x} needs a matrix of shape {needed}, but was given {matrix.shape}.")
    return mix(x, (matrix,), positions, name)


def mix(x: Var, matrices: tuple[Any, ...], positions: tuple[int, ...], name: str) -> Var:
    """The positions of x mixed by one matrix for each axis, or by one for all of them."""
    return below_structure(lambda a: Var(Mix(matrices, name), (a,), positions, a.channels), x)


@layer
def position_mean(x: Var) -> Var:
    """The mean over all positions: global average pooling."""
    return _pool(x, 1 / math.prod(x.positions), "position_mean")


@layer
def position_sum(x: Var) -> Var:
    """The sum over all positions: global sum pooling."""
    return _pool(x, 1.0, "position_sum")


@layer
def select(x: Var, position: int | Sequence[int]) -> Var:
    """The value at one position, given as an integer or as one index per position axis."""
    index = (position,) if isinstance(position, int) else tuple(position)
    if len(index) != len(x.positions):
        raise ValueError(f"select after {x} needs {len(x.positions)} indices, one per position axis; got {index}.")
    if any(not -size <= i < size for i, size in zip(index, x.positions, strict=True)):
        raise ValueError(f"select after {x}: position {index} is out of range for positions {x.positions}.")
    rows = tuple(np.eye(size)[i : i + 1 or None] for i, size in zip(index, x.positions, strict=True))
    return mix(x, rows, (), f"select{list(index)}")


@layer
def time_step(x: Var, t: int) -> Var:
    """The variable at index `t` of the first position axis; further position axes stay."""
    length, rest = x.positions[0], x.positions[1:]
    if not 0 <= t < length:
        raise ValueError(f"step {t} of {x} is out of range: it has {length} steps.")
    return mix(x, (np.eye(length)[t : t + 1], *map(np.eye, rest)), rest, f"step[{t}]")


def _pool(x: Var, weight: float, name: str) -> Var:
    if not x.positions:
        raise ValueError(f"{name} after {x}: there are no positions to pool; leave it out.")
    return mix(x, (np.full((1, math.prod(x.positions)), weight),), (), name)
