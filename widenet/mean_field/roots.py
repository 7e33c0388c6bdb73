"""Roots of many functions at once, each in a bracket of its own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

WIDTH = 4 * np.finfo(np.float64).eps  # of a bracket, relative: rounding
STEPS = 100  # 53 halvings of a bracket reach rounding, and interpolation at worst doubles that


def bracketed(f: Callable[[np.ndarray], np.ndarray], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A root of row i of f between a[i] and b[i], by Chandrupatla's mixture of bisection and interpolation.

    f takes `[n]` to `[n]`, row by row.  A row whose ends are NaN, or have values of one sign, gives NaN.
    Accuracy: rounding of the larger end of a bracket.
    Source: chandrupatla1997, sec. 3.
    """
    a, b = np.array(a, np.float64), np.array(b, np.float64)
    fa, fb = f(a), f(b)
    valid = fa * fb <= 0
    c, fc, t = a.copy(), fa.copy(), np.full(a.shape, 0.5)
    for _ in range(STEPS):
        best = np.where(np.abs(fa) < np.abs(fb), a, b)
        tolerance = WIDTH * np.maximum(np.abs(a), np.abs(b))
        done = ~valid | (np.abs(b - a) <= tolerance) | (fa == 0) | (fb == 0)
        if done.all():
            break
        x = np.where(done, best, a + t * (b - a))
        fx = f(x)
        same = np.sign(fx) == np.sign(fa)
        c, fc = np.where(same, a, b), np.where(same, fa, fb)
        b, fb = np.where(same, b, a), np.where(same, fb, fa)
        a, fa = x, fx
        t = np.clip(_fraction(a, b, c, fa, fb, fc), *_margins(a, b))
    return np.where(valid, np.where(np.abs(fa) < np.abs(fb), a, b), np.nan)


def _margins(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How near to the ends of a bracket the next point may be."""
    gap = np.where(a == b, 1.0, np.abs(b - a))
    least = np.minimum(0.5, WIDTH * np.maximum(np.abs(a), np.abs(b)) / 2 / gap)
    return least, 1 - least


def _fraction(a: np.ndarray, b: np.ndarray, *rest: np.ndarray) -> np.ndarray:
    """Where between a and b to look next: inverse quadratic interpolation where it can be trusted, else the middle."""
    c, fa, fb, fc = rest
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        xi, phi = (a - b) / (c - b), (fa - fb) / (fc - fb)
        trusted = (phi**2 < xi) & ((1 - phi) ** 2 < 1 - xi)
        t = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
    return np.where(trusted & np.isfinite(t), t, 0.5)
