"""Solving with a Gram matrix that may be singular to rounding."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

# Jitter in units of the mean diagonal: from rounding of float64 to what still changes no prediction that matters.
LADDER = (0.0, 1e-14, 1e-12, 1e-10, 1e-8)


@dataclass(frozen=True)
class Factor:
    """A Cholesky factor of K + noise + jitter."""

    lower: np.ndarray
    jitter: float  # what had to be added to the diagonal

    def solve(self, b: np.ndarray) -> np.ndarray:
        """(K + noise + jitter)^-1 b."""
        return cho_solve((self.lower, True), b)

    def log_determinant(self) -> float:
        """log det (K + noise + jitter)."""
        return 2 * float(np.log(np.diag(self.lower)).sum())


def factor(gram: np.ndarray, noise: float = 0.0) -> Factor:
    """The Cholesky factor of gram + noise, with the least jitter of a ladder that makes it positive definite.

    Raises: ValueError naming the smallest eigenvalue, and equal rows if there are any.  Warns when jitter is used.
    """
    scale = float(np.trace(gram)) / len(gram)
    for step in LADDER:
        try:
            lower, _ = cho_factor(gram + (noise + step * scale) * np.eye(len(gram)), lower=True)
        except np.linalg.LinAlgError:
            continue
        if step:
            warnings.warn(f"the kernel is singular to rounding: added {step:g} of its mean diagonal.", stacklevel=3)
        return Factor(np.tril(lower), step * scale)
    raise ValueError(
        f"the kernel is not positive definite: its smallest eigenvalue is {np.linalg.eigvalsh(gram)[0]:.3g}"
        f"{_equal_rows(gram)}; add noise (now {noise:g}) or remove repeated samples."
    )


def _equal_rows(gram: np.ndarray) -> str:
    _, first, counts = np.unique(gram, axis=0, return_index=True, return_counts=True)
    repeated = np.sort(first[counts > 1])[:5]
    return f", and samples {', '.join(map(str, repeated))} are repeated" if len(repeated) else ""
