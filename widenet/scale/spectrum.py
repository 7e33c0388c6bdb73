"""The top of a kernel's spectrum, from a subsample, and the preconditioner of stochastic descent that it gives."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

TRUSTED = 5  # a subsample of s knows eigenvalues above TRUSTED beta / s; as in the authors' code
ROUNDING = np.finfo(np.float32).eps  # of the largest eigenvalue, for kernels of either precision


class Top(NamedTuple):
    """What is kept of a subsample."""

    values: np.ndarray  # the q + 1 largest eigenvalues of K / s, from large to small
    vectors: np.ndarray  # [s, q]
    beta: float  # the largest K(x, x)


class Spectrum(Top):
    """The q largest eigenvalues, the one below, and what follows for stochastic descent (L4), (L5)."""

    @property
    def q(self) -> int:
        """How many eigenvalues are flattened."""
        return self.vectors.shape[1]

    @property
    def s(self) -> int:
        """Samples of the subsample."""
        return self.vectors.shape[0]

    @property
    def critical_batch_sgd(self) -> float:
        """beta / lambda_1: without a preconditioner larger batches do not save steps."""
        return self.beta / float(self.values[0])

    @property
    def critical_batch(self) -> float:
        """beta / lambda_(q+1): the same with it."""
        return self.beta / float(self.values[-1])

    @cached_property
    def weights(self) -> np.ndarray:
        """(1 - lambda_(q+1) / lambda_i) / (s lambda_i), `[q]`."""
        top, tail = self.values[:-1], self.values[-1]
        return (1 - tail / top) / top / self.s

    def step(self, batch: int) -> float:
        """The step for gradients that are summed over a batch: min(1 / beta, 2 / (beta + (m - 1) lambda_(q+1)))."""
        return min(1 / self.beta, 2 / (self.beta + (batch - 1) * float(self.values[-1])))

    def correction(self, gradient: np.ndarray) -> np.ndarray:
        """V D V^T K(X_s, X_b) g: what a step takes back, as weights on the subsample `[s, outputs]`."""
        return self.vectors @ self.coefficients(gradient)

    def coefficients(self, gradient: np.ndarray) -> np.ndarray:
        """D V^T K(X_s, X_b) g, `[q, outputs]`."""
        return self.weights[:, None] * (self.vectors.T @ gradient)


def spectrum(k: np.ndarray, beta: float, q: int | None) -> Spectrum:
    """The spectrum of the kernel of a subsample `[s, s]`; q=None takes the eigenvalues that s samples can know.

    Raises: ValueError for q outside of 0 to s - 1, or if fewer than q eigenvalues are above rounding.
    """
    s = len(k)
    if q is not None and not 0 <= q < s:
        raise ValueError(f"q must be from 0 to s - 1 = {s - 1}, of a subsample of s; got {q}: lower q or raise s.")
    most = s // 4 if q is None else q
    values, vectors = eigh((k + k.T) / (2 * s), subset_by_index=(s - 1 - most, s - 1))
    values, vectors = values[::-1], vectors[:, ::-1]
    if not values[0] > 0:
        raise ValueError("the kernel of the subsample has no positive eigenvalue: is it a kernel?")
    floor = ROUNDING * values[0]
    if q is None:
        q = int(np.sum(values[:-1] > max(floor, TRUSTED * beta / s)))
    elif q and not values[q - 1] > floor:
        known = int(np.sum(values > floor))
        raise ValueError(f"only {known} eigenvalues of the subsample are above rounding; q must not be more, got {q}.")
    return Spectrum(np.maximum(values[: q + 1], floor), vectors[:, :q], beta)
