"""One period at many scales: quantities as compiled functions of arrays."""

from __future__ import annotations

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
ROWS = 256  # evaluated at a time: some megabytes of quadrature points
FEWEST = 8  # rows that code is compiled for
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
        if not size:
            return np.zeros(shape)
        rows, sigmas = [_padded(a.ravel()) for a in arrays], None
        if self.sigmas is not None:
            sigmas = tuple(_padded(np.repeat(sigma, size // sigma.size)) for sigma in self.sigmas)
        with float64():
            made = np.asarray(_compiled(quantity, Structure(self.program))(numbers, sigmas, rows))[:size]
        return made.reshape((*shape, *made.shape[1:]))[()]


def _padded(row: np.ndarray) -> np.ndarray:
    """Repeat the last number up to a size that others have too, so that compiled code serves them all."""
    size = -(-row.size // ROWS) * ROWS if row.size > ROWS else max(FEWEST, 1 << (row.size - 1).bit_length())
    return np.pad(row, (0, size - row.size), mode="edge")


@lru_cache(maxsize=COMPILED)
def _compiled(quantity: Quantity, structure: Structure) -> Callable[..., Any]:
    """A quantity of programs of one structure as a compiled function of (numbers, scales, arguments)."""

    def evaluate(numbers: Any, sigmas: Any, rows: Any) -> Any:
        program = structure.program(numbers)

        def one(row: Any) -> Any:
            scales, arguments = row
            return quantity(program if scales is None else with_sigmas(program, *scales), *arguments)

        return jax.lax.map(one, (sigmas, rows), batch_size=ROWS)

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
