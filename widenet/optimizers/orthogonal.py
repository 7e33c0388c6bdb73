"""The orthogonal factor of a matrix: exactly, or by polynomials in products of matrices alone. (O3)"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.optimizers.leaves import divided, working

Quintic = tuple[float, float, float]
Orthogonalize = Callable[[Array], Array]

STEEP: Quintic = (3.4445, -4.7750, 2.0315)  # slope 3.4445 at 0; then between 0.68 and 1.21, without a limit
SURE: Quintic = (15 / 8, -10 / 8, 3 / 8)  # p(1) = 1, p'(1) = p''(1) = 0: three times the digits with every step


def newton_schulz(coefficients: Sequence[Quintic]) -> Orthogonalize:
    """The iteration X <- a X + b X X^T X + c (X X^T)^2 X, (a, b, c) from `coefficients`, of X = G / |G|_F. (O3)

    Shapes: the function takes and gives `[..., m, n]`; the zero matrix gives zero.
    """

    def orthogonalize(matrices: Array) -> Array:
        x = _of_norm_one(working(matrices))
        wide = x.shape[-2] <= x.shape[-1]
        x = x if wide else x.mT

        def step(x: Array, abc: Array) -> tuple[Array, None]:
            gram = x @ x.mT
            return abc[0] * x + (abc[1] * gram + abc[2] * gram @ gram) @ x, None

        x, _ = jax.lax.scan(step, x, jnp.asarray(coefficients, x.dtype))
        return (x if wide else x.mT).astype(matrices.dtype)

    return orthogonalize


def polar(matrices: Array) -> Array:
    """U_r V_r^T of the singular value decomposition, r the numerical rank. (O3)

    Shapes: `[..., m, n]` to the same.
    Accuracy: that of the decomposition.  Singular values below max(m, n) roundings of the largest are zero to it.
    """
    u, values, vt = jnp.linalg.svd(_of_norm_one(working(matrices)), full_matrices=False)
    cut = max(matrices.shape[-2:]) * np.finfo(u.dtype).eps * values[..., :1]
    return ((u * (values > cut)[..., None, :]) @ vt).astype(matrices.dtype)


def _of_norm_one(x: Array) -> Array:
    x = divided(x, jnp.max(jnp.abs(x), (-2, -1), keepdims=True))  # so that squares neither overflow nor vanish
    return divided(x, jnp.linalg.norm(x, axis=(-2, -1), keepdims=True))


standard = newton_schulz([STEEP] * 5)
accurate = newton_schulz([STEEP] * 8 + [SURE] * 4)
