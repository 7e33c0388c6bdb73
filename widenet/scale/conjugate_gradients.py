"""Iterative solutions: one pass over the tiles an iteration (L2), (L3)."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.linalg import cholesky as dense_cholesky
from scipy.linalg import solve_triangular

from widenet.progress import progress
from widenet.scale.solution import Solution, system
from widenet.scale.tiles import Tiles

RANK = 200  # columns of the Nystrom sketch, if nobody says
Preconditioner = Callable[[np.ndarray], np.ndarray]  # v `[n, columns]` to about (K + noise)^-1 v, up to a factor


def conjugate_gradients(
    k: Tiles,
    b: Any,
    noise: float = 0.0,
    *,
    preconditioner: Callable[[Tiles, float], Preconditioner] | None = None,
    tolerance: float = 1e-8,
    iterations: int = 1000,
) -> Solution:
    """(K + noise)^-1 b by preconditioned conjugate gradients, all columns of b in one pass over K an iteration.

    x += a p,  r -= a (K + noise) p,  p = P^-1 r + (r.P^-1 r / last r.P^-1 r) p,  a = r.P^-1 r / p.(K + noise) p   (L2)

    Shapes: k symmetric `[n, n]` on disk; b `[n]` or `[n, columns]`.  In memory are a few copies of b.
    preconditioner: `nystrom`, or a function of (k, noise) that gives v -> P^-1 v.  Stops when |r| / |b| of every
    column is below `tolerance`; warns if `iterations` are not enough.  `.residuals` is the history.
    Source: hestenes1952, sec. 3.
    """
    columns, noise = system(k, b, noise)
    invert = (lambda v: v) if preconditioner is None else preconditioner(k, noise)
    x, r = np.zeros_like(columns), columns.copy()
    size = np.linalg.norm(columns, axis=0)
    z = p = invert(r)
    weight = _dots(r, z)
    history = [_worst(r, size)]
    passes = iter(range(iterations))  # an iterator: how many it will take is not known
    for _ in progress(passes, "passes of conjugate gradients"):
        if history[-1] <= tolerance:
            break
        q = k @ p + noise * p
        step = _ratio(weight, _dots(p, q))
        x += step * p
        r = r - step * q  # not in place: without a preconditioner z is r
        z = invert(r)
        before, weight = weight, _dots(r, z)
        p = z + _ratio(weight, before) * p
        history.append(_worst(r, size))
    if history[-1] > tolerance:
        warnings.warn(
            f"conjugate gradients reached a residual of {history[-1]:.1e}, not {tolerance:.1e}, in {iterations} "
            "iterations: add noise, raise the rank of the preconditioner, or allow more iterations.",
            stacklevel=2,
        )
    return Solution(x.reshape(np.shape(b)), tuple(history))


def nystrom(k: Tiles, noise: float, *, rank: int = RANK, key: int = 0) -> Preconditioner:
    """The randomized Nystrom preconditioner of K + noise, from one pass over K.

    P^-1 = (l + noise) U (L + noise)^-1 U^T + 1 - U U^T,   U L U^T = K W (W^T K W)^-1 W^T K,   l = min L         (L3)

    W is `[n, rank]`, orthonormal and random.  Takes out the `rank` largest eigenvalues: choose as many as are above
    the noise, if memory has 16 n rank bytes.  Raises: ValueError for a rank outside of 1 to n, or without noise.
    Source: frangella2023, alg. 2.1, sec. 5.
    """
    if not 1 <= rank <= len(k):
        raise ValueError(f"the rank must be from 1 to {len(k)}; got {rank}.")
    if not noise > 0:
        raise ValueError("a Nystrom preconditioner needs noise > 0: it is the floor of the eigenvalues that it leaves.")
    w = np.linalg.qr(np.random.default_rng(key).normal(size=(len(k), rank)))[0]
    sketch = k @ w
    shift = np.finfo(np.float64).eps * np.linalg.norm(sketch)  # keeps the small matrix definite; taken off again below
    sketch += shift * w
    small = w.T @ sketch
    root = solve_triangular(dense_cholesky((small + small.T) / 2), sketch.T, trans="T").T
    u, singular, _ = np.linalg.svd(root, full_matrices=False)
    values = np.maximum(singular**2 - shift, 0.0)
    weights = ((values[-1] + noise) / (values + noise) - 1)[:, None]
    return lambda v: v + u @ (weights * (u.T @ v))


def _dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->j", a, b)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, and 0 for columns that are solved exactly."""
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def _worst(r: np.ndarray, size: np.ndarray) -> float:
    return float(_ratio(np.linalg.norm(r, axis=0), size).max())
