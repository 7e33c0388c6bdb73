"""One period at many scales: quantities as compiled functions of arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from widenet.checks import is_traced
from widenet.mean_field import quantities
from widenet.mean_field.period import period_of, with_sigmas
from widenet.precision import float64
from widenet.program.structure import Structure, numbers_of
from widenet.program.trace import Net, Program

Quantity = Callable[..., Any]
ROWS, POSITIONS = 64, 4096  # evaluated at a time, at most: some megabytes of quadrature points
COMPILED = 128  # functions that are kept
UNIFORM = 1e-9  # relative difference between positions that is rounding


@dataclass(frozen=True)
class Family:
    """A period and the scales `[n]` at which it is looked at; without scales, those that it was written with."""

    program: Program
    sigmas: tuple[np.ndarray, np.ndarray] | None = None

    def __call__(self, quantity: Quantity, *arguments: Any) -> Any:
        """`quantity` of the period at `arguments`, which broadcast; at row i of them with scale i if there are any.

        Shapes: numbers or arrays; with scales `[n]` or `[n, m]`.  Numpy float64, whatever jax's configuration; traced
        numbers or arguments give traced results in their own precision.
        """
        numbers = numbers_of(self.program)
        if any(map(is_traced, (*numbers, *arguments))):
            traced = jnp.broadcast_arrays(*map(jnp.asarray, arguments))
            flat = jax.vmap(partial(quantity, self.program))(*map(jnp.ravel, traced))
            return flat.reshape((*traced[0].shape, *flat.shape[1:]))
        arrays = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in arguments))
        shape, size = arrays[0].shape, arrays[0].size
        rows = [a.ravel() for a in arrays]
        scales = [] if self.sigmas is None else [np.repeat(sigma, size // sigma.size) for sigma in self.sigmas]
        count = max(1, min(ROWS, POSITIONS // math.prod(self.program.input.positions)))
        evaluate = _compiled(quantity, Structure(self.program), bool(scales))
        with float64():
            parts = [
                evaluate(numbers, *(_padded(row[start : start + count], count) for row in (*scales, *rows)))
                for start in range(0, size, count)
            ]
            made = np.concatenate(parts)[:size] if parts else np.zeros(0)
        return made.reshape((*shape, *made.shape[1:]))[()]


def _padded(row: np.ndarray, size: int) -> np.ndarray:
    """Repeat the last number up to the one size that code is compiled for."""
    return np.pad(row, (0, size - row.size), mode="edge")


@lru_cache(maxsize=COMPILED)
def _compiled(quantity: Quantity, structure: Structure, scaled: bool) -> Callable[..., Any]:
    """A quantity of programs of one structure, compiled: a function of numbers, both scales if `scaled`, and rows."""

    def one(numbers: Any, *row: Any) -> Any:
        program = structure.program(numbers)
        if scaled:
            program, row = with_sigmas(program, *row[:2]), row[2:]
        return quantity(program, *row)

    def evaluate(numbers: Any, *rows: Any) -> Any:
        return jax.vmap(partial(one, numbers))(*rows)

    return jax.jit(evaluate)


def family_of(block: Net, positions: tuple[int, ...] = (), sigmas: Any = None) -> Family:
    """The family of a block, after the check that equal positions stay equal.

    Raises: ValueError for a block under which a uniform state does not stay uniform, or whose variance is not a number.
    """
    family = Family(period_of(block, positions), sigmas)
    quantities.plan_of(family.program)
    if not any(map(is_traced, numbers_of(family.program))):
        _check(Family(family.program)(quantities.lengths, 1.0))
    return family


def _check(after: np.ndarray) -> None:
    if not np.isfinite(after).all():
        raise ValueError("the block makes variances that are not finite (NaN or infinity) of variance 1.")
    if np.ptp(after) > UNIFORM * np.max(after):
        raise ValueError(
            "the block treats its positions differently (a border?), so no uniform state stays uniform: use "
            "padding='CIRCULAR'."
        )
