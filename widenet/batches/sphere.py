"""Coordinates of a normalized channel: z = sqrt(B) times a uniform direction orthogonal to (1, ..., 1) (B8)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import numpy as np

NODES = 64  # of a panel: 64 against 96 differ by less than 1e-8
REACH = 13.0  # beyond it the density of a coordinate is below exp(-84)


def one_coordinate(batch: int, kinks: Iterable[float]) -> tuple[np.ndarray, np.ndarray]:
    """Points z and weights of E f(z), f smooth except at the kinks. (B8)

    z = sqrt(B - 1) sin a with density cos(a)^(B - 3): a coordinate of a uniform direction in B - 1 dimensions.
    Shapes: `[nodes]` both.
    """
    scale = np.sqrt(batch - 1)
    a, w = _panels([_arcsin(kink / scale) for kink in kinks], _reach(scale))
    w = w * _density(a, batch - 3)
    return scale * np.sin(a), w / w.sum()


def two_coordinates(batch: int, kinks: Iterable[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points z, z' and weights of E f(z, z'), f smooth except where z or z' is at a kink. (B8)

    z' = sqrt(B - 1) (rho sin a + sqrt(1 - rho^2) cos a sin b), rho = -1/(B - 1), b with density cos(b)^(B - 4).
    Shapes: `[nodes]`, all three.
    """
    scale, kinks = np.sqrt(batch - 1), tuple(kinks)
    reach, tilt = _reach(scale), np.arcsin(-1 / (batch - 1))
    a, w = _panels([cut for kink in kinks for cut in _outer_cuts(kink / scale, tilt)], reach)
    w = w * _density(a, batch - 3)
    rows = [_row(angle, weight, batch, kinks) for angle, weight in zip(a, w, strict=True)]
    z, other, weights = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return z, other, weights / w.sum()


def _row(a: float, weight: float, batch: int, kinks: tuple[float, ...]) -> tuple[np.ndarray, ...]:
    """All z' at one z."""
    scale, rho = np.sqrt(batch - 1), -1 / (batch - 1)
    width = np.sqrt(1 - rho**2) * np.cos(a)
    cuts = [_arcsin((kink / scale - rho * np.sin(a)) / width) for kink in kinks]
    b, w = _panels(cuts, _reach(scale))
    w = w * _density(b, batch - 4)
    other = scale * (rho * np.sin(a) + width * np.sin(b))
    return np.full_like(b, scale * np.sin(a)), other, weight * w / w.sum()


def _outer_cuts(level: float, tilt: float) -> list[float]:
    """Where z is at a kink, and where the kink of z' enters or leaves the range of b: sin(a +- ...) = level."""
    if abs(level) >= 1:
        return []
    turn = np.arccos(level)
    ends = [sign * turn + side for sign in (1, -1) for side in (tilt, -tilt, np.pi - tilt, tilt - np.pi)]
    return [_arcsin(level), *ends]


def _arcsin(x: float) -> float:
    return float(np.arcsin(np.clip(x, -1, 1)))


def _reach(scale: float) -> float:
    return _arcsin(REACH / scale)


def _density(angle: np.ndarray, power: int) -> np.ndarray:
    return np.exp(power * np.log(np.cos(angle))) if power else np.ones_like(angle)


def _panels(cuts: Iterable[float], reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights on [-reach, reach], split at 0 and at the cuts inside."""
    ends = np.unique([-reach, 0.0, reach, *(cut for cut in cuts if -reach < cut < reach)])
    x, w = _rule()
    half, middle = np.diff(ends)[:, None] / 2, (ends[1:] + ends[:-1])[:, None] / 2
    return (middle + half * x).ravel(), (half * w).ravel()


@lru_cache
def _rule() -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre in u with x = (15 u - 10 u^3 + 3 u^5) / 8, which smooths roots at the ends of a panel."""
    u, w = np.polynomial.legendre.leggauss(NODES)
    return (15 * u - 10 * u**3 + 3 * u**5) / 8, w * 15 / 8 * (1 - u**2) ** 2
