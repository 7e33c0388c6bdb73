"""The two factors of a preconditioner: second moments of the rows and of the columns of a gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from widenet.optimizers.damping import Damping


class Pair(NamedTuple):
    """Something of the side of the inputs, `[..., fan_in, fan_in]`, and of that of the outputs."""

    into: Array
    out: Array


def gram(matrices: Array) -> Pair:
    """G G^T and G^T G of matrices `[..., fan_in, fan_out]`."""
    return Pair(matrices @ matrices.mT, matrices.mT @ matrices)


def eigen(factors: Pair) -> tuple[Pair, Pair]:
    """Eigenvalues in rising order, negative roundings being 0, and eigenvectors as columns."""
    (a, va), (b, vb) = (jnp.linalg.eigh(factor) for factor in factors)
    return Pair(jnp.maximum(a, 0), jnp.maximum(b, 0)), Pair(va, vb)


def inverse_powers(name: str, factors: Pair, exponents: tuple[float, float], damping: Damping) -> Pair:
    """(A + d_A)^-e_A and (B + d_B)^-e_B; eigenvalues that are zero with the damping stay zero."""
    values, vectors = eigen(factors)
    roots = []
    for value, vector, exponent, more in zip(values, vectors, exponents, damping(name, *values), strict=True):
        damped = value + more[..., None]
        power = jnp.where(damped > 0, jnp.where(damped > 0, damped, 1) ** -exponent, 0)
        roots.append((vector * power[..., None, :]) @ vector.mT)
    return Pair(*roots)


def every_so_often(every: int, count: Array, compute: Callable[[], Any], old: Any) -> Any:
    """compute() at the counts 0, every, 2 every, ...; else what there is."""
    return compute() if every == 1 else jax.lax.cond(count % every == 0, compute, lambda: old)


@dataclass(frozen=True)
class Blocks:
    """Matrices `[copies, m, n]` cut into blocks `[all of them, height, width]`, filled up with zeros."""

    shape: tuple[int, ...]  # copies, m, n
    size: int | None

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width of a block."""
        height, width = (side if self.size is None else min(side, self.size) for side in self.shape[1:])
        return height, width

    @property
    def counts(self) -> tuple[int, int]:
        """How many blocks there are down and across."""
        (height, width), (_, m, n) = self.sides, self.shape
        return -(-m // height), -(-n // width)

    def split(self, matrices: Array) -> Array:
        """The blocks."""
        (height, width), (down, across), (_, m, n) = self.sides, self.counts, self.shape
        full = jnp.pad(matrices, ((0, 0), (0, down * height - m), (0, across * width - n)))
        return full.reshape(-1, down, height, across, width).swapaxes(2, 3).reshape(-1, height, width)

    def join(self, blocks: Array) -> Array:
        """The inverse of `split`."""
        (height, width), (down, across), (_, m, n) = self.sides, self.counts, self.shape
        full = blocks.reshape(-1, down, across, height, width).swapaxes(2, 3)
        return full.reshape(-1, down * height, across * width)[:, :m, :n]
