"""Which sigma_w keeps signals and gradients: a number, or the activation that it is for."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq

from widenet.activations import NAMED, Activation, activation, derivative
from widenet.activations.dual import second_moment
from widenet.precision import float64

Gain = Any  # a number, an Activation, or an elementwise function

ROUNDING = 1e-9  # of moments in float64
TINY = 1e-30  # a variance that is as good as 0
PROBES = np.geomspace(1e-4, 10, 6)  # variances at which phi shows how it bends


class Point(NamedTuple):
    """Weight and bias scales, and the variance that they keep."""

    sigma_w: float
    sigma_b: float
    q: float


def as_activation(phi: Any) -> Activation:
    """`phi` as data: itself, the named one that a function of `jax.nn` is, or any smooth elementwise function.

    Raises: TypeError for what is not callable.
    """
    if isinstance(phi, Activation):
        return phi
    if not callable(phi):
        raise TypeError(f"{phi!r} is neither an activation nor an elementwise function.")
    named = [known for known in NAMED.values() if known.fn is phi]
    return named[0] if named else activation(phi)


def as_gain(gain: Gain) -> Any:
    """sigma_w: a number as it is, an activation's critical one.

    Raises: ValueError for a number that is not positive, or an activation with no critical point.
    """
    if isinstance(gain, Activation) or callable(gain):
        return critical_point(gain).sigma_w
    if isinstance(gain, jax.Array):
        return gain
    if not 0 < gain < math.inf:
        raise ValueError(f"the gain is {gain}, but must be positive and finite: it multiplies every weight.")
    return float(gain)


def moments(phi: Activation, q: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """E phi(u)^2, its derivative in q, and E phi'(u)^2, u ~ N(0, q), in float64. (I9)

    Shapes: that of q.
    """
    with jax.ensure_compile_time_eval(), float64():  # initializers are often made while a module is being traced
        x = jnp.asarray(q, jnp.float64)
        second, change = jax.jvp(lambda x: second_moment(phi, x), (x,), (jnp.ones_like(x),))
        return np.asarray(second), np.asarray(change), np.asarray(second_moment(derivative(phi), x))


def edge_of_chaos(phi: Any, q: float = 1.0) -> Point:
    """sigma_w and sigma_b that keep the variance `q` and gradients: chi_1 = 1 there. (I9)

    sigma_w^2 = 1 / E phi'(u)^2,   sigma_b^2 = q - sigma_w^2 E phi(u)^2,   u ~ N(0, q).

    Raises: ValueError for a q that is not positive, or one at which sigma_b^2 is negative.
    Source: poole2016; schoenholz2017.
    """
    phi = as_activation(phi)
    if not 0 < q < math.inf:
        raise ValueError(f"edge_of_chaos: q is {q}, but must be positive and finite.")
    second, _, steep = map(float, moments(phi, q))
    if not steep > 0:
        raise ValueError(f"{phi.name} is flat almost everywhere: no weights keep its gradients; use another activation.")
    b2 = q - second / steep
    if b2 < -ROUNDING * q:
        raise ValueError(
            f"{phi.name} is not critical at variance {q:g}: with sigma_w^2 = {1 / steep:.6g} it needs sigma_b^2 = "
            f"{b2:.6g}, which is negative. Try another q, or critical_point, which looks for one."
        )
    return Point(steep**-0.5, math.sqrt(max(b2, 0.0)), float(q))


def critical_point(phi: Any) -> Point:
    """sigma_w, sigma_b and the variance at which variances and gradients are both kept. (I10)

    - phi(a u) = a phi(u) for a > 0 (relu): any variance, sigma_w^2 = 1 / E phi'^2, sigma_b = 0;
    - phi(0) = 0 and variances that slowly fall to 0 (tanh): sigma_w = 1 / |phi'(0)|, sigma_b = 0;
    - else (gelu) the least variance in [1e-3, 300] at which both slopes are 1.

    Raises: ValueError if there is none.
    Source: roberts2022, ch. 5.
    """
    return _critical_point(as_activation(phi))


@lru_cache(maxsize=128)
def _critical_point(phi: Activation) -> Point:
    second, _, steep = moments(phi, PROBES)
    if steep.min() > 0 and np.ptp(steep) < ROUNDING * steep[0] and np.ptp(second / PROBES) < ROUNDING * steep[0]:
        return edge_of_chaos(phi, 1.0)
    with jax.ensure_compile_time_eval(), float64():
        at_zero = jnp.asarray(0.0)
        centred, start = float(phi.fn(at_zero, *phi.params)) == 0, float(second_moment(derivative(phi), at_zero + TINY))
    bent = [ratio for ratio in second / PROBES / max(start, TINY) - 1 if abs(ratio) > ROUNDING]
    if centred and start > 0 and bent and bent[0] < 0:
        return Point(start**-0.5, 0.0, 0.0)
    return _half_stable(phi)


def _half_stable(phi: Activation) -> Point:
    grid = np.geomspace(1e-3, 300, 120)
    _, change, steep = moments(phi, grid)
    gap = np.where(steep > 0, change / np.where(steep > 0, steep, 1) - 1, np.nan)
    crossing = np.flatnonzero(gap[:-1] * gap[1:] < 0)

    def signed(q: float) -> float:
        _, change, steep = moments(phi, q)
        return float(change / steep - 1)

    for i in crossing:
        try:
            return edge_of_chaos(phi, float(brentq(signed, grid[i], grid[i + 1], xtol=1e-12)))
        except ValueError:  # a negative sigma_b^2
            continue
    raise ValueError(
        f"{phi.name} has no critical point: nowhere in [1e-3, 300] are the slopes of the variance and of the "
        "correlation both 1. Give sigma_w as a number, take edge_of_chaos(phi, q), which keeps one variance, or "
        "transform the activation with initializers.dks."
    )
