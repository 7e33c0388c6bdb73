"""How fast finite networks come close to their limit."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float


class Slope(NamedTuple):
    """A fitted power, and the half-width of its interval of 95 % confidence."""

    value: float
    half_width: float


def error_slope(sizes: Any, errors: Float[Any, "sizes draws"]) -> Slope:
    """The power p of a fit  sqrt(E error^2) = c size^p,  such as -1/2 in width.

    log mean_i e_i^2 is fitted by a line in log size, each weighted by 1/s^2, s^2 = var(e^2) / (m mean(e^2)^2)        (Z7)

    errors: of m independent networks of each size; of one each, they are exact and weigh the same, and the interval
    comes from the scatter about the line.
    Raises: ValueError for fewer than two sizes, three where there is one draw each, and for an error of zero.
    """
    errors = np.asarray(errors, float).reshape(len(sizes), -1)
    draws = errors.shape[1]
    if len(set(sizes)) < 2 + (draws == 1):
        raise ValueError(f"a slope needs two sizes, three where each has one draw; got {len(set(sizes))}.")
    squares = errors**2
    mean = squares.mean(1)
    if not np.all(mean > 0) or not np.all(np.isfinite(mean)):
        raise ValueError("errors must be finite and not all zero at any size: a logarithm is taken.")
    design = np.stack([np.ones(len(sizes)), np.log(np.asarray(sizes, float))], axis=1)
    target = np.log(mean) / 2
    sems = np.ones(len(sizes)) if draws == 1 else squares.std(1, ddof=1) / (2 * mean * np.sqrt(draws))
    normal = np.linalg.inv(design.T @ (design / sems[:, None] ** 2))
    fit = normal @ design.T @ (target / sems**2)
    variance = normal[1, 1]
    if draws == 1:
        variance *= np.sum((target - design @ fit) ** 2) / (len(sizes) - 2)
    return Slope(float(fit[1]), float(1.96 * np.sqrt(variance)))
