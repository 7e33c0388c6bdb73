"""Slopes of logarithms over sizes, with confidence intervals. (V3)"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

CONFIDENCE = 0.95


class Slope(NamedTuple):
    """The power of the size with which a quantity grows, and an interval that holds it with 95 % confidence."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """As +0.43 [+0.39, +0.47]."""
        return f"{self.value:+.2f} [{self.low:+.2f}, {self.high:+.2f}]"


def slope(sizes: np.ndarray, values: np.ndarray) -> Slope:
    """Least squares of log2 values `[sizes, seeds]` over log2 sizes `[sizes]`, one slope a seed. (V3)

    The value is their mean, the interval that of Student's t; a zero or infinite value makes it infinite.
    """
    logs = log2(values)
    if not np.isfinite(logs).all():
        return Slope(*(_infinite(logs),) * 3)
    found = slopes(log2(np.asarray(sizes)), logs)
    half = half_width(found)
    mean = float(found.mean())
    return Slope(mean, mean - half, mean + half)


def slopes(at: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """The slope of every column of `[points, columns]`."""
    centred = at - at.mean()
    return centred @ logs / (centred @ centred)


def half_width(samples: np.ndarray) -> float:
    """Half of the 95 % interval of a mean, by Student's t; not a number for a single sample."""
    from scipy.stats import t

    n = len(samples)
    if n < 2:
        return float("nan")
    return float(t.ppf((1 + CONFIDENCE) / 2, n - 1) * samples.std(ddof=1) / np.sqrt(n))


def log2(values: np.ndarray) -> np.ndarray:
    """Of zeros -inf, of what is not finite inf, without warnings."""
    with np.errstate(divide="ignore"):
        return np.log2(np.where(np.isfinite(values), np.asarray(values, np.float64), np.inf))


def _infinite(logs: np.ndarray) -> float:
    """The direction in which values leave the finite ones."""
    if (logs == np.inf).any():
        return np.inf
    return np.nan if (logs == -np.inf).all() else -np.inf
