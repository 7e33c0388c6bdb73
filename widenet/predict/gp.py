"""Gaussian-process regression with a kernel of a network."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from widenet.predict.arrays import cross_matrix, finite, gram_matrix, positive, square, targets
from widenet.predict.cholesky import Factor, factor


class Posterior(NamedTuple):
    """The posterior of the function at test samples."""

    mean: np.ndarray  # [m] or [m, outputs], as y
    variance: np.ndarray | None  # [m], or the covariance [m, m]; None if the prior of the test samples was not given
    jitter: float  # what rounding made necessary on the diagonal


def gp(k: Any, y: Any, k_test: Any, prior: Any = None, *, noise: float = 0.0) -> Posterior:
    """Posterior mean, and variance if the prior is given, of a Gaussian process (P1).

    mean = K_*X (K + noise)^-1 y,   cov = K_** - K_*X (K + noise)^-1 K_X*

    Shapes: k `[n, n]`, y `[n]` or `[n, outputs]`, k_test `[m, n]`, prior `[m]` (the diagonal of K_**: gives the
    variances) or `[m, m]` (gives the covariance).  noise: variance of the noise, absolute; see `relative_noise`.
    The NNGP gives the Bayesian posterior, the NTK the mean of trained networks.  float64 throughout.
    Raises: ValueError for shapes that do not fit, or if K + noise is not positive definite to rounding.
    Source: rasmussen2006, eq. (2.22)-(2.24); lee2018, eq. (8).
    """
    k = gram_matrix(k)
    columns = targets(y, len(k))
    k_test = cross_matrix(k_test, len(k))
    factored = factor(k, positive(noise, "noise"))
    mean = k_test @ factored.solve(columns)
    variance = None if prior is None else _variance(finite(prior, "the prior"), k_test, factored)
    return Posterior(mean.reshape(len(k_test), *np.shape(y)[1:]), variance, factored.jitter)


def _variance(prior: np.ndarray, k_test: np.ndarray, factored: Factor) -> np.ndarray:
    if len(prior) != len(k_test):
        raise ValueError(f"the prior has {len(prior)} test samples, the kernel of test against training {len(k_test)}.")
    white = factored.whiten(k_test.T)
    if prior.ndim == 1:
        return np.maximum(prior - np.einsum("ij,ij->j", white, white), 0.0)  # rounding makes an exact fit negative
    return prior - white.T @ white


def log_marginal_likelihood(k: Any, y: Any, *, noise: float = 0.0) -> float:
    """log p(y) of all outputs: -(y^T (K + noise)^-1 y + log det (K + noise) + n log 2 pi) / 2 (P2).

    Source: rasmussen2006, eq. (2.30).
    """
    k = gram_matrix(k)
    columns = targets(y, len(k))
    factored = factor(k, positive(noise, "noise"))
    quadratic = float(np.sum(factored.whiten(columns) ** 2))
    constant = factored.log_determinant() + len(columns) * np.log(2 * np.pi)
    return -0.5 * (quadratic + columns.shape[1] * constant)


def relative_noise(k: Any, fraction: float) -> float:
    """A noise variance as a fraction of the mean diagonal of K."""
    diagonal = finite(square(k).diagonal(), "the diagonal of the kernel")
    return positive(fraction, "the fraction") * float(diagonal.mean())
