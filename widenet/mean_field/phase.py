"""The phase diagram of a block over grids of sigma_w and sigma_b."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from widenet.activations import Activation
from widenet.layers.dense import dense
from widenet.layers.layer import serial
from widenet.mean_field import quantities
from widenet.mean_field.family import Family, family_of
from widenet.mean_field.fixed_points import LEAST, MOST, reached, reached_variance, scale
from widenet.mean_field.period import has_sigmas
from widenet.mean_field.roots import bracketed
from widenet.program.trace import Net
from widenet.progress import progress

SAME = 1e-11  # a chi_1 this close to 1 is 1: at sigma_b = 0 it is taken at q = 1e-12
SIGMA_W, SIGMA_B = np.linspace(0.5, 3.0, 51), np.linspace(0.0, 1.0, 21)


@dataclass(frozen=True)
class Phase:
    """Where a deep network goes from variance 1, for all pairs of scales; arrays `[sigma_w, sigma_b]`."""

    name: str
    sigma_w: np.ndarray  # standard deviations of weights, times sqrt(fan-in)
    sigma_b: np.ndarray  # standard deviations of biases
    q: np.ndarray  # the variance that it approaches; 0: dies out, inf: grows without bound
    c: (
        np.ndarray
    )  # the correlation that it approaches: 1 in the ordered phase, below in the chaotic one; NaN at q = inf
    chi_1: np.ndarray  # chi_perp there, the factor of the squared gradient norm per layer
    chi_par: np.ndarray  # V' there
    xi_q: np.ndarray  # depth scales, in layers; inf at criticality, NaN at q = inf
    xi_c: np.ndarray
    critical_sigma_w: np.ndarray  # `[sigma_b]`: where chi_1 reaches 1, or jumps past it; NaN: not on the grid

    def plot(self, path: str | Path) -> Path:
        """Draw chi_1, the correlation and its depth scale, with the critical line; the kind of file is by its name."""
        from widenet.mean_field.draw import draw

        return draw(self, Path(path))


def phase(
    net: Net | Activation, *, sigma_w: Any = SIGMA_W, sigma_b: Any = SIGMA_B, positions: tuple[int, ...] = ()
) -> Phase:
    """The phase diagram of an activation, or of a block all of whose dense and convolutional layers take these scales.

    q = V(q) reached from q = 1, c = C(c), chi_1 = dK/dk at c = 1; critical where chi_1 = 1        (Q5), (Q8)

    sigma_w, sigma_b: ascending grids `[n]`, `[m]`; results are `[n, m]`.  positions: as for `maps`.  Where the variance
    grows without bound (q = inf), chi_1 and chi_par are those at q = 1e12; where it dies out, all are at q = 1e-12.
    Raises: ValueError for a grid that is not ascending, finite and positive (sigma_b: or zero), and for a block without
    a layer whose scales could vary.
    Source: poole2016, fig. 1; schoenholz2017, fig. 1 and 2.

    >>> import widenet as wn
    >>> p = wn.phase(wn.tanh, sigma_w=[0.5, 1.5, 2.5], sigma_b=[0.0, 0.1])
    >>> p.chi_1.round(3).tolist(), p.critical_sigma_w.round(4).tolist()
    ([[0.25, 0.244], [1.139, 1.129], [1.607, 1.605]], [1.0, 1.1934])
    """
    name = net.name if isinstance(net, Activation) else "the block"
    block = serial(net, dense()) if isinstance(net, Activation) else net
    sigma_w, sigma_b = _grid("sigma_w", sigma_w), _grid("sigma_b", sigma_b)
    program = family_of(block, positions).program
    if not has_sigmas(program):
        raise ValueError("the block has no dense or convolutional layer, so there is no sigma_w and sigma_b to vary.")
    columns = [
        reached(Family(program, (sigma_w, np.full_like(sigma_w, bias)))) for bias in progress(sigma_b, "phase diagram")
    ]
    q, c, chi_par, chi_1, slope = (np.stack(parts, axis=1) for parts in zip(*columns, strict=True))
    line = _critical_line(program, sigma_w, sigma_b, chi_1)
    xi_q = np.where(np.isinf(q), np.nan, scale(chi_par))
    return Phase(name, sigma_w, sigma_b, q, c, chi_1, chi_par, xi_q, scale(slope), line)


def _grid(name: str, values: Any) -> np.ndarray:
    grid = np.asarray(values, np.float64)
    if grid.ndim != 1 or not grid.size:
        raise ValueError(f"{name} must be a grid [n] of at least one number; got shape {grid.shape}.")
    if not np.isfinite(grid).all() or (np.diff(grid) <= 0).any():
        raise ValueError(f"{name} must be a grid of finite, ascending numbers without repetition; got {values!r}.")
    if grid[0] < 0 or (name == "sigma_w" and grid[0] == 0):
        raise ValueError(f"{name} is a standard deviation, and starts at {grid[0]:g}; begin the grid above.")
    return grid


def _critical_line(program: Any, sigma_w: np.ndarray, sigma_b: np.ndarray, chi_1: np.ndarray) -> np.ndarray:
    """Where the ordered phase chi_1 < 1 ends for each sigma_b, by a bracket of the grid. (Q8)"""
    ordered = chi_1 < 1 - SAME
    crossed = ordered[:-1] & ~ordered[1:]
    if not crossed.any():
        return np.full(len(sigma_b), np.nan)
    first = crossed.argmax(axis=0)
    start = np.where(crossed.any(axis=0), sigma_w[:-1][first], np.nan)

    def excess(scales: np.ndarray) -> np.ndarray:
        family = Family(program, (np.where(np.isnan(scales), 1.0, scales), sigma_b))
        chi = family(quantities.chi_perp, np.clip(reached_variance(family), LEAST, MOST), 1.0)
        return np.where(np.isnan(scales), np.nan, np.where(np.abs(chi - 1) < SAME, 0.0, chi - 1))

    return bracketed(excess, start, sigma_w[1:][first])
