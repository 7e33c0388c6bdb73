"""What Gram matrices and targets must be, asked before any work."""

from __future__ import annotations

from typing import Any

import numpy as np

# Asymmetry that rounding leaves, in units of the largest entry.
SYMMETRIC = 1e-5
TILE = 256  # rows of a matrix and of its transpose that fit a cache


def gram_matrix(k: Any, name: str = "the kernel of the training samples") -> np.ndarray:
    """`k` as a symmetric float64 matrix `[n, n]`, a new one.

    Raises: ValueError for another shape, for NaN or infinity, or if it is not symmetric.
    """
    k = square(k, name)
    out = np.empty(k.shape)
    tiles = [slice(i, i + TILE) for i in range(0, len(k), TILE)]
    asymmetry, largest = [], []
    with np.errstate(invalid="ignore"):  # inf - inf: found below
        for i, rows in enumerate(tiles):
            for columns in tiles[i:]:
                above, below = k[rows, columns], k[columns, rows].T
                tile = np.add(above, below, dtype=np.float64)
                tile /= 2
                out[rows, columns], out[columns, rows] = tile, tile.T
                asymmetry.append(np.abs(tile - above).max())
                largest.append(np.abs(tile).max())
    if not np.isfinite(largest).all():
        finite(k, name)
    if 2 * np.max(asymmetry) > SYMMETRIC * np.max(largest):
        raise ValueError(f"{name} is not symmetric: compute it as kernel(net)(x), of the samples with themselves.")
    return out


def square(k: Any, name: str = "the kernel of the training samples") -> np.ndarray:
    """`k` as an array.  Raises: ValueError unless it is `[n, n]`."""
    k = np.asarray(k)
    if k.ndim != 2 or k.shape[0] != k.shape[1] or not len(k):
        raise ValueError(f"{name} must be a square matrix [n, n], but has shape {k.shape}.")
    return k


def finite(k: Any, name: str) -> np.ndarray:
    """`k` in float64.  Raises: ValueError naming rows with NaN or infinity."""
    k = np.asarray(k, np.float64)
    bad = np.flatnonzero(~np.isfinite(k).reshape(len(k), -1).all(1)) if k.ndim else np.array([])
    if len(bad):
        raise ValueError(f"{name} has NaN or infinite values in rows {', '.join(map(str, bad[:5]))}.")
    return k


def targets(y: Any, n: int) -> np.ndarray:
    """`y` as float64 `[n, outputs]`.  Raises: ValueError if it has another length."""
    y = finite(y, "y")
    if y.ndim not in (1, 2) or len(y) != n:
        raise ValueError(f"y has shape {y.shape}, but there are {n} training samples: give [{n}] or [{n}, outputs].")
    return y.reshape(n, -1)


def cross_matrix(k: Any, n: int) -> np.ndarray:
    """`k` as a float64 matrix `[m, n]` of test against training samples."""
    k = finite(k, "the kernel of test against training samples")
    if k.ndim != 2 or k.shape[1] != n:
        raise ValueError(
            f"the kernel of test against training samples has shape {k.shape}, "
            f"but needs {n} columns: kernel(net)(x_test, x_train)."
        )
    return k


def positive(value: float, name: str) -> float:
    """`value`, if it is not negative."""
    if not value >= 0:
        raise ValueError(f"{name} must be >= 0; got {value}.")
    return float(value)
