"""Batch normalization without an activation: one-dimensional integrals instead of draws (B6)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Nodes of the trapezoid rule in x = log t.  The integrands are analytic for |Im x| < pi/2, so a step of 0.2 errs by
# exp(-pi^2 / 0.2) = 4e-22, and they fall like exp(x) below and exp(-x/2) above, where 1/t is the smallest eigenvalue.
STEP, LOW, HIGH = 0.2, -45.0, 120.0


class Spectrum(NamedTuple):
    """The positive eigenvalues `[k]` of a centred covariance P K P and their eigenvectors `[N, k]`."""

    values: np.ndarray
    vectors: np.ndarray


def moment(spectrum: Spectrum, eps: float) -> np.ndarray:
    """E z z^T, z = y / sqrt(|y|^2 / N + eps), y ~ N(0, P K P): `[N, N]`. (B6)

    In the eigenbasis it is diagonal, N int_0^inf exp(-t N eps) lambda_i / (1 + 2 t lambda_i) D(t) dt with
    D(t) = prod_j (1 + 2 t lambda_j)^(-1/2).
    """
    v = spectrum.vectors
    return len(v) * (v * _integrals(spectrum, eps).one) @ v.T


def tangent(spectrum: Spectrum, eps: float, theta: np.ndarray) -> np.ndarray:
    """E[J Theta J^T], J = dz/dh, `[N, N]`, of centred Theta. (B6)

    N E[Theta/r - (y y^T Theta + Theta y y^T)/r^2 + y y^T Theta y y^T / r^3], r = |y|^2 + N eps.
    """
    v, n = spectrum.vectors, len(spectrum.vectors)
    part = _integrals(spectrum, eps)
    inside = v.T @ theta @ v
    single = (v * part.single) @ (v.T @ theta)
    # E y_i y_k y_l y_j / r^3 pairs its indices: (ik)(lj) and (il)(kj) give 2 M o Theta, (ij)(kl) the diagonal
    double = 2 * part.double * inside + np.diag(part.double @ np.diag(inside))
    return n * (part.inverse * theta - single - single.T + v @ double @ v.T)


class Integrals(NamedTuple):
    """Expectations in the eigenbasis, r = |y|^2 + N eps."""

    one: np.ndarray  # E y_i^2 / r
    inverse: float  # E 1 / r
    single: np.ndarray  # E y_i^2 / r^2
    double: np.ndarray  # E y_i^2 y_j^2 / r^3, its diagonal a third of that


def _integrals(spectrum: Spectrum, eps: float) -> Integrals:
    floor = len(spectrum.vectors) * eps
    scale = max(spectrum.values.max(initial=0.0), floor)
    values, floor = spectrum.values / scale, floor / scale
    t = np.exp(np.arange(LOW, HIGH, STEP))
    damped = t * STEP * np.exp(-t * floor - np.log1p(2 * t[:, None] * values).sum(1) / 2)
    share = values / (1 + 2 * t[:, None] * values)
    return Integrals(
        damped @ share,
        damped.sum() / scale,
        (damped * t) @ share / scale,
        (share * (damped * t**2 / 2)[:, None]).T @ share / scale,
    )
