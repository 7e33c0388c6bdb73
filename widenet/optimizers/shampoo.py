"""Shampoo with any exponents. (O7)"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from widenet.optimizers.adam import scale_by_adam
from widenet.optimizers.damping import Damping, relative_to_largest
from widenet.optimizers.factors import Blocks, Pair, every_so_often, gram, inverse_powers
from widenet.optimizers.leaves import PerLeaf, average, by_matrix, routed, unbiased

RELATIVE = relative_to_largest()


class ShampooState(NamedTuple):
    """Averages of the factors, and the powers of them that are in use."""

    factors: Pair
    powers: Pair


def scale_by_shampoo(
    exponents: float | tuple[float, float] = 0.25,
    *,
    beta: float = 0.95,
    damping: Damping = RELATIVE,
    block_size: int | None = None,
    every: int = 1,
    axes: PerLeaf = None,
    rest: Any = None,
) -> Any:
    """(L + d_L)^-e_in G (R + d_R)^-e_out, with averages L of G G^T and R of G^T G. (O7)

    The averages forget with `beta`, their bias undone; beta = 1 is the sum, as in the paper.  `exponents` are
    (e_in, e_out), or one number for both: 1/4 is the paper's, 1/2 undoes the whole gradient.

    Shapes: any; matrices G `[fan_in, fan_out]` as `axes` say (see `fans_of`), what is no matrix gets `rest`: by
    default `scale_by_adam()`.  With a `block_size`, blocks of at most this height and width have factors of their
    own.  The powers are computed at every `every`-th update.  Without momentum: chain it with `optax.trace`.
    Accuracy: that of an eigendecomposition; zero gradients give zero updates.
    Raises: ValueError for a beta out of [0, 1], an `every` or a block size below 1.
    Source: gupta2018, alg. 1.
    """
    both = exponents if isinstance(exponents, tuple) else (exponents, exponents)
    check_rates("scale_by_shampoo", beta, every)
    if block_size is not None and block_size < 1:
        raise ValueError(f"scale_by_shampoo: block_size is {block_size}; give a size of 1 or more, or None.")

    def init(matrices: Array) -> ShampooState:
        zeros = gram(jnp.zeros_like(Blocks(matrices.shape, block_size).split(matrices)))
        return ShampooState(zeros, zeros)

    def update(name: str, matrices: Array, state: ShampooState, count: Array) -> tuple[Array, ShampooState]:
        blocks = Blocks(matrices.shape, block_size)
        gradient = blocks.split(matrices)
        factors = Pair(*(average(old, new, beta) for old, new in zip(state.factors, gram(gradient), strict=True)))
        means = Pair(*(unbiased(factor, beta, count) for factor in factors))
        powers = every_so_often(every, count, lambda: inverse_powers(name, means, both, damping), state.powers)
        return blocks.join(powers.into @ gradient @ powers.out), ShampooState(factors, powers)

    return routed(by_matrix(init, update, axes), axes, scale_by_adam() if rest is None else rest)


def check_rates(who: str, beta: float, every: int) -> None:
    """Raise a ValueError for a beta out of [0, 1] or an `every` below 1."""
    if not 0 <= beta <= 1:
        raise ValueError(f"{who}: beta is {beta}; give the rate of an average, from 0 to 1.")
    if every < 1:
        raise ValueError(f"{who}: every is {every}; give a number of updates, 1 or more.")
