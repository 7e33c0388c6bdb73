"""Fixed points of the q-map and the c-map, and how fast a deep network approaches them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from widenet.mean_field import quantities
from widenet.mean_field.family import Family, family_of
from widenet.mean_field.roots import bracketed
from widenet.program.trace import Net

LEAST, MOST = 1e-12, 1e12  # variances that are looked at; below or above is taken as 0 or infinity
START = 1.0  # the variance that a network is taken to begin with
NEUTRAL = 1e-12  # relative change of a variance that is rounding
ONE = 1e-7  # a slope, a correlation or a V(q)/q this close to 1 is 1: scales are given to some eight digits


class Correlation(NamedTuple):
    """A fixed point of the c-map at one variance."""

    c: float  # a correlation
    stability: str  # "stable", "unstable", "half-stable" (from one side) or "neutral" (neighbours are fixed too)
    slope: float  # C'(c) at fixed variance


class FixedPoint(NamedTuple):
    """A fixed point of the q-map, with all fixed points of the c-map there."""

    q: float  # a variance; 0 where the variance dies out
    stability: str  # as of `Correlation`
    chi_par: float  # V'(q)
    chi_perp: float  # dK/dk at c = 1, the factor of squared gradients
    correlations: tuple[Correlation, ...]  # ascending in c


class DepthScales(NamedTuple):
    """Layers in which a deviation from the fixed point falls by a factor e; inf at a critical point."""

    xi_q: float  # of the variance: -1/ln |V'(q)|
    xi_c: float  # of the correlation: -1/ln |C'(c)|
    q: float  # the fixed point that they belong to, reached from variance 1
    c: float


def fixed_points(block: Net, *, positions: tuple[int, ...] = ()) -> tuple[FixedPoint, ...]:
    """All fixed points q = V(q) of a block, ascending, with their stability and all c = C(c). (Q5)

    block, positions: as for `maps`.  Looked for between q = 1e-12 and 1e12, at 20 points a decade, and c = -1 and 1, at
    200 points; two roots closer than that may be missed, unless they touch (half-stable).  If V(q) = q for all q (relu
    at sigma_w^2 = 2), the one point q = 1 is "neutral".  Empty if the variance grows without bound.
    Source: poole2016, sec. 3; scan: widenet.

    >>> import widenet as wn
    >>> point, = wn.fixed_points(wn.serial(wn.dense(sigma_w=1.5, sigma_b=0.2), wn.tanh))
    >>> round(point.q, 4), point.stability, [round(c.c, 4) for c in point.correlations]
    (0.8709, 'stable', [0.4966, 1.0])
    """
    family = family_of(block, positions)
    return tuple(_described(family, *found) for found in _variances(family))


def depth_scales(block: Net, *, positions: tuple[int, ...] = ()) -> DepthScales:
    """xi_q = -1/ln |V'(q)|, xi_c = -1/ln |C'(c)|, in layers, at the fixed point that is reached from q = 1. (Q6)

    c is the smallest non-negative fixed point, which inputs with any smaller non-negative correlation approach.
    Raises: ValueError if the variance grows without bound, so that there is no fixed point.
    Source: schoenholz2017, eq. (9) and (11).

    >>> import widenet as wn
    >>> round(wn.depth_scales(wn.serial(wn.dense(sigma_w=1.3**0.5, sigma_b=0.05**0.5), wn.tanh)).xi_c, 2)
    7.83
    """
    state = reached(family_of(block, positions))
    q, c = float(state.q[0]), float(state.c[0])
    if np.isinf(q):
        raise ValueError(
            "the variance grows without bound, so there is no fixed point and no depth scale: look at "
            "maps(block).chi_perp(q) along the growing q, or lower sigma_w."
        )
    return DepthScales(float(scale(state.chi_par)[0]), float(scale(state.slope)[0]), q, c)


def scale(slope: np.ndarray) -> np.ndarray:
    """-1/ln |slope|: inf for a slope within rounding of 1."""
    size = np.abs(slope)
    with np.errstate(divide="ignore"):
        return np.where(np.abs(size - 1) < ONE, np.inf, -1 / np.log(size))


class State(NamedTuple):
    """Where networks of a family go from variance 1, `[n]` each."""

    q: np.ndarray  # 0 or inf where the variance dies out or grows without bound
    c: np.ndarray  # the smallest non-negative fixed point of the c-map; NaN where the variance grows
    chi_par: np.ndarray
    chi_perp: np.ndarray
    slope: np.ndarray  # C'(c); NaN where the variance grows


def reached(family: Family) -> State:
    """The fixed point that each member of the family approaches from variance 1. (Q5)"""
    q = reached_variance(family)
    at = np.clip(q, LEAST, MOST)
    chi_par, chi_perp = family(quantities.chi_par, at), family(quantities.chi_perp, at, 1.0)
    ratio = at / family(quantities.length, at)
    c = _reached_correlation(family, at, chi_perp * ratio)
    slope = np.where(c == 1, chi_perp, family(quantities.chi_perp, at, c)) * ratio
    fixed = np.isfinite(q)
    return State(q, np.where(fixed, c, np.nan), chi_par, chi_perp, np.where(fixed, slope, np.nan))


def reached_variance(family: Family) -> np.ndarray:
    """The first fixed point from q = 1 in the direction in which V(1) goes; 0 or inf if there is none."""
    start = family(quantities.length, np.full(_count(family), START)) / START - 1
    way = np.where(np.abs(start) < NEUTRAL, 0.0, np.sign(start))
    ladder = START * 10.0 ** (way[:, None] * np.arange(0, np.log10(MOST) + 0.1, 0.25))
    turned = (family(quantities.length, ladder) / ladder - 1) * way[:, None] <= 0
    first = turned.argmax(axis=1)
    rows = np.arange(len(way))
    root = bracketed(lambda q: family(quantities.length, q) / q - 1, ladder[rows, first - 1], ladder[rows, first])
    far = np.where(way > 0, np.inf, 0.0)
    return np.where(way == 0, START, np.where(turned.any(axis=1), root, far))


def _reached_correlation(family: Family, q: np.ndarray, slope: np.ndarray) -> np.ndarray:
    steepness = _steepness(family, q, slope)
    at_zero, at_one = steepness(np.zeros_like(q)), steepness(np.ones_like(q))
    inside = (at_zero < 0) & (at_one > ONE)
    if not inside.any():
        return np.where(at_one <= ONE, 1.0, 0.0)
    c = bracketed(steepness, np.where(inside, 0.0, np.nan), np.ones_like(q))
    return np.where(at_one <= ONE, 1.0, np.where(inside, c, 0.0))


def _steepness(family: Family, q: np.ndarray, slope: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """(1 - C(c))/(1 - c) - 1 as a function of c, and C'(1) - 1 at c = 1, from the slope C'(1).

    A root is a fixed point, and a simple one even at the edge of chaos.  Where C(1) < 1, as under dropout, it is
    infinite at c = 1.
    """
    lost = 1 - family(quantities.correlation, q, np.ones_like(q)) > ONE

    def steepness(c: np.ndarray) -> np.ndarray:
        inner = np.where(np.isnan(c), 0.0, c)
        chord = (1 - family(quantities.correlation, q, inner)) / np.where(inner == 1, 1.0, 1 - inner)
        value = np.where(inner == 1, np.where(lost, np.inf, slope), chord) - 1
        return np.where(np.isnan(c), np.nan, value)

    return steepness


def _count(family: Family) -> int:
    return 1 if family.sigmas is None else len(family.sigmas[0])


def _variances(family: Family) -> list[tuple[float, str]]:
    """The fixed points of the q-map and their stability, ascending."""

    def growth(q: np.ndarray) -> np.ndarray:
        return family(quantities.length, q) / q - 1

    ladder = np.geomspace(LEAST, MOST, 481)
    values = growth(ladder)
    if (np.abs(values) < NEUTRAL).all():
        return [(START, "neutral")]
    turns = _turns(family, ladder, values)
    at_turns = growth(turns)
    touching = [(float(q), "half-stable") for q in turns[np.abs(at_turns) < ONE]]
    ladder = np.append(ladder, turns)
    values = np.append(np.where(np.abs(values) < NEUTRAL, 0.0, values), np.where(np.abs(at_turns) < ONE, 0, at_turns))
    order = np.argsort(ladder)
    return sorted(_at_zero(family, values[order]) + touching + _crossings(growth, ladder[order], values[order]))


def _at_zero(family: Family, values: np.ndarray) -> list[tuple[float, str]]:
    """Zero, if V(0) = 0 and V is continuous there: a normalized block of variance zero is not."""
    if family(quantities.length, 0.0) > NEUTRAL * LEAST or abs(values[0] + 1) > 1 / np.sqrt(LEAST):
        return []
    return [(0.0, "stable" if values[np.flatnonzero(values)[0]] < 0 else "unstable")]


def _turns(family: Family, ladder: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where V(q)/q - 1 comes close to zero and turns back, so that two roots may be near or one."""
    left, middle, right = values[:-2], values[1:-1], values[2:]
    near = (left * middle > 0) & (middle * right > 0)
    near &= (np.abs(middle) <= np.abs(left)) & (np.abs(middle) <= np.abs(right)) & (np.abs(middle) > NEUTRAL)
    if not near.any():
        return np.zeros(0)

    def slope(q: np.ndarray) -> np.ndarray:
        return family(quantities.chi_par, q) - family(quantities.length, q) / q

    a, b, c = ladder[:-2][near], ladder[1:-1][near], ladder[2:][near]
    turns = bracketed(slope, np.append(a, b), np.append(b, c))
    return np.unique(turns[np.isfinite(turns)])


def _crossings(f: Callable[..., np.ndarray], ladder: np.ndarray, values: np.ndarray) -> list[tuple[float, str]]:
    """The roots of f between points of different sign; stable where f falls."""
    ladder, values = ladder[values != 0], values[values != 0]
    before = np.flatnonzero(values[:-1] * values[1:] < 0)
    if not len(before):
        return []
    roots = bracketed(f, ladder[before], ladder[before + 1])
    return [(float(x), "stable" if v > 0 else "unstable") for x, v in zip(roots, values[before], strict=True)]


def _described(family: Family, q: float, stability: str) -> FixedPoint:
    at = np.maximum(q, LEAST)
    chi_par, chi_perp = float(family(quantities.chi_par, at)), float(family(quantities.chi_perp, at, 1.0))
    if abs(chi_par) > 1 + ONE:
        stability = "unstable"  # also where V falls steeply and overshoots
    return FixedPoint(q, stability, chi_par, chi_perp, tuple(_correlations(family, at, chi_perp)))


def _correlations(family: Family, q: np.ndarray, chi_perp: float) -> list[Correlation]:
    """The fixed points of the c-map at q and their stability, ascending."""
    at = np.atleast_1d(q)
    ratio = float(q / family(quantities.length, q))
    steepness = _steepness(family, at, np.atleast_1d(chi_perp * ratio))

    def excess(c: np.ndarray) -> np.ndarray:  # of the sign of C(c) - c
        return -steepness(c)

    ladder = np.linspace(-1, 1, 201)
    values = excess(ladder)
    values[np.abs(values) < ONE] = 0.0
    if not values.any():
        return [Correlation(1.0, "neutral", 1.0)]
    found = _crossings(excess, ladder, values)
    signs = values[values != 0]
    ends = family(quantities.correlation, q, np.array([-1.0, 1.0]))
    if abs(ends[0] + 1) < ONE:
        found.insert(0, (-1.0, "unstable" if signs[0] > 0 else "stable"))
    if abs(ends[1] - 1) < ONE:
        found.append((1.0, "stable" if signs[-1] > 0 else "unstable"))
    slopes = [float(family(quantities.chi_perp, q, c)) * ratio for c, _ in found]
    return [
        Correlation(c, "unstable" if abs(slope) > 1 + ONE else stability, slope)
        for (c, stability), slope in zip(found, slopes, strict=True)
    ]
