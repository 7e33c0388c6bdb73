"""Adam in the eigenbasis of Shampoo's factors. (O8)"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from widenet.optimizers.adam import scale_by_adam
from widenet.optimizers.factors import Pair, eigen, every_so_often, gram
from widenet.optimizers.leaves import PerLeaf, average, by_matrix, divided, routed, unbiased
from widenet.optimizers.shampoo import check_rates

RELATIVE_EPS = 1e-5  # so that in float32 what rounding leaves of absent directions moves by less than 1 %


class SoapState(NamedTuple):
    """Averages of the factors, of the gradient, of its squares in the eigenbasis, and that basis."""

    factors: Pair
    mu: Array
    nu: Array
    basis: Pair


def scale_by_soap(
    b1: float = 0.95,
    b2: float = 0.95,
    *,
    eps: float = RELATIVE_EPS,
    every: int = 10,
    axes: PerLeaf = None,
    rest: Any = None,
) -> Any:
    """U (m' / (sqrt(v') + eps |sqrt(v')|_F)) V^T, where m' = U^T m V, and v' averages (U^T G V)^2. (O8)

    U and V are eigenvectors of averages of G G^T and G^T G, computed at every `every`-th update.  All averages but
    that of the gradient, which forgets with `b1`, forget with `b2`.  Two things differ from the paper: `eps` is
    relative to the gradient, so that the update does not change when the gradient is multiplied by a number; and v'
    turns with the basis, as the variances of uncorrelated entries do, so that no order or sign of the eigenvectors
    matters.

    Shapes: any; matrices as `axes` say (see `fans_of`), what is no matrix gets `rest`: by default `scale_by_adam()`.
    Accuracy: that of an eigendecomposition, where the paper follows the basis by one power step.
    Raises: ValueError for a b1 or b2 out of [0, 1], or an `every` below 1.
    Source: vyas2025.
    """
    for beta in (b1, b2):
        check_rates("scale_by_soap", beta, every)

    def init(matrices: Array) -> SoapState:
        zeros = jnp.zeros_like(matrices)
        return SoapState(gram(zeros), zeros, zeros, gram(zeros))

    def update(_: str, gradient: Array, state: SoapState, count: Array) -> tuple[Array, SoapState]:
        factors = Pair(*(average(old, new, b2) for old, new in zip(state.factors, gram(gradient), strict=True)))

        def turn() -> tuple[Pair, Array]:
            basis = eigen(factors)[1]
            into, out = ((new.mT @ old) ** 2 for new, old in zip(basis, state.basis, strict=True))
            return basis, into @ state.nu @ out.mT

        basis, nu = every_so_often(every, count, turn, (state.basis, state.nu))
        mu = average(state.mu, gradient, b1)
        nu = average(nu, _turned(gradient, basis) ** 2, b2)
        root = jnp.sqrt(unbiased(nu, b2, count))
        m = unbiased(_turned(mu, basis), b1, count)
        direction = divided(m, root + eps * jnp.linalg.norm(root, axis=(-2, -1), keepdims=True))
        return basis.into @ direction @ basis.out.mT, SoapState(factors, mu, nu, basis)

    return routed(by_matrix(init, update, axes), axes, scale_by_adam() if rest is None else rest)


def _turned(matrices: Array, basis: Pair) -> Array:
    return basis.into.mT @ matrices @ basis.out
