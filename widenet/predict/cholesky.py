"""Solving with a Gram matrix that may be singular to rounding."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dpotrf

# Jitter in units of the mean diagonal: from rounding of float64 to what still changes no prediction that matters.
LADDER = (0.0, 1e-14, 1e-12, 1e-10, 1e-8)
BLOCK = 512  # columns that are factored at once
LAPACK_ROWS = 8192


@dataclass(frozen=True)
class Factor:
    """A Cholesky factor L of K + noise + jitter = L L^T."""

    lower: np.ndarray  # L, with anything above its diagonal
    jitter: float  # what had to be added to the diagonal

    def whiten(self, b: np.ndarray) -> np.ndarray:
        """L^-1 b."""
        return solve_triangular(self.lower, b, lower=True, check_finite=False)

    def solve(self, b: np.ndarray) -> np.ndarray:
        """(K + noise + jitter)^-1 b."""
        return solve_triangular(self.lower, self.whiten(b), lower=True, trans="T", check_finite=False)

    def log_determinant(self) -> float:
        """log det (K + noise + jitter)."""
        return 2 * float(np.log(np.diag(self.lower)).sum())


def factor(gram: np.ndarray, noise: float = 0.0) -> Factor:
    """The Cholesky factor of gram + noise, with the least jitter of a ladder that makes it positive definite.

    gram: symmetric, in float64; it is overwritten by the factor.
    Raises: ValueError naming the smallest eigenvalue, and equal rows if there are any.  Warns when jitter is used.
    """
    diagonal = gram.diagonal().copy()
    scale = float(diagonal.mean())
    for step in LADDER:
        np.fill_diagonal(gram, diagonal + (noise + step * scale))
        try:
            _factor_in_place(gram)
        except np.linalg.LinAlgError:
            _mirror_upper(gram)
            continue
        if step:
            warnings.warn(f"the kernel is singular to rounding: added {step:g} of its mean diagonal.", stacklevel=3)
        return Factor(gram, step * scale)
    np.fill_diagonal(gram, diagonal)
    raise ValueError(
        f"the kernel is not positive definite: its smallest eigenvalue is {np.linalg.eigvalsh(gram)[0]:.3g}"
        f"{_equal_rows(gram)}; add noise (now {noise:g}) or remove repeated samples."
    )


def _factor_in_place(a: np.ndarray) -> None:
    """Write L over the diagonal and what is below it: blocks of columns from left to right.

    L_kk L_kk^T = A_kk - sum_(m < k) L_km L_km^T,  L_jk = (A_jk - sum_(m < k) L_jm L_km^T) L_kk^-T (L1)

    LAPACK's own, for as many rows as its threads bear: they fail beyond 16000 in common builds of OpenBLAS.
    """
    if len(a) <= LAPACK_ROWS and a.flags.c_contiguous:
        _, failed = dpotrf(a.T, lower=0, clean=0, overwrite_a=1)  # of the transpose, which Fortran finds in place
        if failed:
            raise np.linalg.LinAlgError(f"the leading {failed} rows are not positive definite")
        return
    for rows, rest in _blocks(a):
        before = slice(rows.start)
        column = a[rows.start :, rows] - a[rows.start :, before] @ a[rows, before].T
        corner = np.linalg.cholesky(column[: len(column.T)])
        a[rows, rows] = corner + np.triu(a[rows, rows], 1)
        below = column[len(corner) :].T
        a[rest, rows] = solve_triangular(corner, below, lower=True, overwrite_b=True, check_finite=False).T


def _mirror_upper(a: np.ndarray) -> None:
    """Make the matrix symmetric again, but for its diagonal, by what is above that."""
    for rows, rest in _blocks(a):
        a[rest, rows] = a[rows, rest].T
        above = np.triu(a[rows, rows], 1)
        a[rows, rows] = above + above.T


def _blocks(a: np.ndarray) -> list[tuple[slice, slice]]:
    """The rows of each block on the diagonal, and those below."""
    return [(slice(i, min(i + BLOCK, len(a))), slice(min(i + BLOCK, len(a)), None)) for i in range(0, len(a), BLOCK)]


def _equal_rows(gram: np.ndarray) -> str:
    _, first, counts = np.unique(gram, axis=0, return_index=True, return_counts=True)
    repeated = np.sort(first[counts > 1])[:5]
    return f", and samples {', '.join(map(str, repeated))} are repeated" if len(repeated) else ""
