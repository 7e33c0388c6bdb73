"""Roots of covariances that may be singular: repeated samples, few features, a mean that is taken out (B4)."""

from __future__ import annotations

import numpy as np

from widenet.batches.linear import Spectrum

# Eigenvalues below N * ROUNDING * (largest variance) are rounding of the symmetric eigenproblem, and of P K P itself.
ROUNDING = 4 * np.finfo(np.float64).eps


def spectrum(k: np.ndarray, scale: float) -> Spectrum:
    """The positive eigenvalues of a covariance, falling; `scale` is the largest variance that it was made from."""
    values, vectors = np.linalg.eigh((k + k.T) / 2)
    kept = values > len(k) * ROUNDING * scale
    return Spectrum(values[kept][::-1], vectors[:, kept][:, ::-1])


def root(k: np.ndarray, scale: float) -> np.ndarray:
    """R with R R^T = k and zero columns last, `[N, N]`: the first normals carry most of the variance."""
    values, vectors = spectrum(k, scale)
    return np.pad(vectors * np.sqrt(values), ((0, 0), (0, len(k) - len(values))))


def regressor(k: np.ndarray, scale: float) -> np.ndarray:
    """S with S R = projection on the range of k: cov(h, g) S^T xi is the mean of h given g = R xi."""
    values, vectors = spectrum(k, scale)
    return np.pad(vectors / np.sqrt(values), ((0, 0), (0, len(k) - len(values)))).T


def centre(k: np.ndarray, left: bool, right: bool) -> np.ndarray:
    """P k, k P or P k P, P = I - 1 1^T / N: the mean over the batch taken out on these sides. (B2)"""
    if left:
        k = k - k.mean(axis=0, keepdims=True)
    return k - k.mean(axis=1, keepdims=True) if right else k
