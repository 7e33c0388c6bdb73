"""What solvers of (K + noise) x = b take and give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from widenet.predict.arrays import positive, targets
from widenet.scale.tiles import SYMMETRIC, Tiles


class Solution(NamedTuple):
    """The solution of a linear system, and how it was reached."""

    x: np.ndarray  # [n] or [n, columns], as b
    residuals: tuple[float, ...] = ()  # |b - (K + noise) x| / |b| of the worst column, at every iteration


Solver = Callable[[Tiles, Any, float], Solution]  # solver(k, b, noise)


def system(k: Tiles, b: Any, noise: float) -> tuple[np.ndarray, float]:
    """b as columns `[n, columns]`, and the noise.  Raises: ValueError if K, b and noise make no system."""
    if k.kind != SYMMETRIC:
        raise ValueError(f"{k.path} is not a kernel of samples with themselves: its kind is {k.kind}.")
    return targets(b, len(k)), positive(noise, "noise")


def not_positive(k: Tiles, at: slice, noise: float) -> ValueError:
    """The error of a matrix that has no Cholesky factor."""
    return ValueError(
        f"{k.path} + noise is not positive definite to rounding, as rows {at.start} to {at.stop - 1} show: add noise "
        f"(now {noise:g}; the mean of its diagonal is {k.diagonal().mean():.3g}) or remove repeated samples."
    )
