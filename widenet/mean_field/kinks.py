"""Where a function that nobody has described jumps, or its derivative does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from widenet.activations import Activation, activation, derivative
from widenet.precision import float64

GRID = np.linspace(-8.0, 8.0, 4097)
HALVINGS = 45  # of a step of the grid: to rounding
LEAST = 1e-6  # a smaller jump is none
DIGITS = 10  # of a place


def described(fn: Callable[..., Any]) -> Activation:
    """The activation of an elementwise function, with the kinks between -8 and 8 found by bisection.

    Raises: ValueError if fn itself jumps.
    """
    phi = activation(fn)
    prime = derivative(phi)
    with float64():
        if len(_jumps(phi.fn)):
            raise ValueError(f"{phi.name} has no critical point: it jumps, so close inputs are torn apart.")
        return activation(fn, breakpoints=[float(u) for u in _jumps(prime.fn)])


def _jumps(f: Callable[..., Any]) -> np.ndarray:
    """The points at which f jumps."""
    a, b = GRID[:-1] - np.pi * 1e-5, GRID[1:] - np.pi * 1e-5  # kinks are at round numbers, and so not on the grid
    fa, fb = np.asarray(f(a)), np.asarray(f(b))
    for _ in range(HALVINGS):
        middle = (a + b) / 2
        fm = np.asarray(f(middle))
        left = np.abs(fm - fa) > np.abs(fb - fm)
        a, fa = np.where(left, a, middle), np.where(left, fa, fm)
        b, fb = np.where(left, middle, b), np.where(left, fm, fb)
    return np.unique(np.round(b[np.abs(fb - fa) > LEAST], DIGITS) + 0.0)
