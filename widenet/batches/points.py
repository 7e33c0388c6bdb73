"""Points of randomized quasi-Monte Carlo: scrambled Sobol points as standard normals (B4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import ndtri
from scipy.stats import chi2, qmc

BITS = 30  # of a Sobol coordinate in scipy; half a cell is added, so that 0, whose normal is -inf, does not occur


@dataclass(frozen=True)
class Points:
    """One scramble: as many points as asked, in any dimension, the same whenever they are asked for.

    count: points, a power of two.  key, scramble: what they are drawn from; other scrambles are independent.
    """

    count: int
    key: int
    scramble: int

    def normals(self, dimension: int) -> np.ndarray:
        """`[count, dimension]` standard normals; the first coordinates are the most even."""
        return _normals(self, dimension)

    def radii(self, rank: int, dimension: int) -> np.ndarray:
        """`[count]` squared radii, distributed as chi^2 with `rank` degrees of freedom, of the points in `dimension`.

        From a coordinate of its own: independent of `normals(dimension)`.
        """
        return chi2.ppf(_uniforms(self, dimension)[:, dimension], rank)


@lru_cache(maxsize=2)
def _uniforms(points: Points, dimension: int) -> np.ndarray:
    rng = np.random.default_rng([points.key, points.scramble])
    sobol = qmc.Sobol(dimension + 1, scramble=True, bits=BITS, seed=rng)
    return sobol.random(points.count) + 0.5 / 2**BITS


@lru_cache(maxsize=2)
def _normals(points: Points, dimension: int) -> np.ndarray:
    return ndtri(_uniforms(points, dimension)[:, :dimension])


def scrambled_mean(
    function: Callable[[Points], tuple[np.ndarray, ...]], count: int, scrambles: int, key: int
) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Means of `function` over independent scrambles, and their standard errors. (B4)

    mean = (1/R) sum_r f_r,   error = sqrt(sum_r (f_r - mean)^2 / (R (R - 1)))
    """
    runs = [function(Points(count, key, scramble)) for scramble in range(scrambles)]
    stacks = [np.stack(parts) for parts in zip(*runs, strict=True)]
    spreads = [stack - stack[0] for stack in stacks]  # exactly zero where nothing was integrated
    means = tuple(stack[0] + spread.mean(0) for stack, spread in zip(stacks, spreads, strict=True))
    return means, tuple(spread.std(0, ddof=1) / np.sqrt(scrambles) for spread in spreads)
