"""Gaussian-process regression with kernels on disk."""

from __future__ import annotations

from typing import Any

import numpy as np

from widenet.predict import Posterior
from widenet.predict.arrays import finite, targets
from widenet.scale.cholesky import cholesky
from widenet.scale.solution import Solver
from widenet.scale.tiles import Tiles


def gp(
    k: Tiles, y: Any, k_test: Tiles | np.ndarray, prior: Any = None, *, noise: float = 0.0, solve: Solver = cholesky
) -> Posterior:
    """`widenet.predict.gp` with kernels on disk: posterior mean, and variance if the prior is given (P1).

    mean = K_*X (K + noise)^-1 y,   variance = prior - diag(K_*X (K + noise)^-1 K_X*)

    Shapes: k symmetric `[n, n]`, y `[n]` or `[n, outputs]`, k_test `[m, n]`, prior `[m]`, the diagonal of K_**.  The
    variances take K_*X into memory and solve for its m rows: give fewer test samples at a time where that is much.
    solve: `cholesky`, `stored_cholesky(path)`, or `conjugate_gradients` with its options by functools.partial.
    Raises: ValueError for shapes that do not fit, or if K + noise is not positive definite to rounding.
    Source: rasmussen2006, eq. (2.22)-(2.24).
    """
    b = targets(y, len(k))
    if k_test.shape[1] != len(k):
        raise ValueError(
            f"the kernel of test against training samples has shape {k_test.shape}, but needs {len(k)} columns: "
            "scale.kernel(net, x_test, x_train, store=...)."
        )
    outputs, block = b.shape[1], None
    if prior is not None:
        block, prior = np.asarray(k_test), finite(prior, "the prior")
        if prior.shape != (len(block),):
            raise ValueError(f"the prior has shape {prior.shape}, but there are {len(block)} test samples.")
        b = np.concatenate([b, block.T], axis=1)
    solved = solve(k, b, noise).x
    mean = (k_test @ solved[:, :outputs]).reshape(k_test.shape[0], *np.shape(y)[1:])
    if block is None:
        return Posterior(mean, None, 0.0)
    variance = prior - np.einsum("ij,ji->i", block, solved[:, outputs:])
    return Posterior(mean, np.maximum(variance, 0.0), 0.0)  # rounding makes an exact fit negative
