"""Scales of weights and biases at which a deep network keeps lengths of gradients in all directions. (J6)"""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.optimize import brentq

from widenet.activations.activation import Activation
from widenet.corrections.moments import Moments, moments
from widenet.precision import float64

LOWEST, HIGHEST, GRID = 1e-8, 1e2, 201  # variances that are tried
MARGINAL = 1e-12  # rounding of the slope of the variance map


class Isometry(NamedTuple):
    """Scales for orthogonal weights, the variance of the layers, and that of the squared singular values."""

    sigma_w: float
    sigma_b: float
    q: float
    variance: float


def isometric_init(phi: Activation, depth: int, target: float = 0.25, *, ensemble: str = "orthogonal") -> Isometry:
    """sigma_w and sigma_b of a critical network whose squared singular values have mean 1 and variance `target`. (J6)

    chi_1 = sigma_w^2 E phi'^2 = 1,  q = sigma_w^2 E phi^2 + sigma_b^2,  depth (E phi'^4/(E phi'^2)^2 - 1) = target,

    at the largest stable q at which that holds, furthest from linear.  depth: how many activations.

    Orthogonal weights can do it for tanh, erf, sin and hard_tanh, whose slopes become one as q -> 0; for relu the
    variance is `depth` whatever the scales are, and for independent weights it is above `depth` for every activation.
    Feed it inputs of variance q, or |x|^2/d = (q - sigma_b^2)/sigma_w^2.
    Raises: ValueError where the target cannot be reached, with the least variance that can.
    Source: pennington2017, pennington2018.

    >>> import widenet as wn
    >>> s = wn.isometric_init(wn.tanh, 100, 0.25)
    >>> net = wn.zoo.mlp(wn.tanh, 100, sigma_w=s.sigma_w, sigma_b=s.sigma_b)
    >>> round(wn.jacobian_spectrum(net, ensemble="orthogonal").variance, 5)
    0.25
    """
    if depth < 1 or not target > 0:
        raise ValueError(f"isometric_init needs a depth of one or more and a positive target; got {depth}, {target}.")
    if ensemble == "iid":
        raise ValueError(
            f"with independent weights the variance is at least the depth, {depth}, for every activation: the spectrum "
            "of a Gaussian matrix is wide by itself. Take orthogonal weights."
        )
    if ensemble != "orthogonal":
        raise ValueError(f"isometric_init is for orthogonal weights; got the ensemble {ensemble!r}.")
    if not isinstance(phi, Activation):
        raise TypeError(f"isometric_init needs an activation, such as wn.tanh or wn.activation(f); got {phi!r}.")
    if not phi.continuous:
        raise ValueError(f"{phi.name} jumps, and has no Jacobian: take a smooth function, such as erf(10 z) for sign.")
    with float64():
        q = _largest(phi, depth, target)
        sigma_w2, sigma_b2, variance = map(float, _scales(phi, depth, q)[:3])
    return Isometry(math.sqrt(sigma_w2), math.sqrt(max(sigma_b2, 0.0)), q, variance)


def _largest(phi: Activation, depth: int, target: float) -> float:
    """The largest variance at which the target holds."""
    grid = np.geomspace(LOWEST, HIGHEST, GRID)
    _, sigma_b2, variance, slope = (
        np.asarray(part) for part in jax.vmap(partial(_scales, phi, depth))(jnp.asarray(grid))
    )
    possible = (sigma_b2 >= -MARGINAL * grid) & (slope <= 1 + MARGINAL) & np.isfinite(variance)
    if not possible.any():
        raise ValueError(f"{phi.name} has no stable fixed point with chi_1 = 1: no scales make it critical.")
    good = possible & (variance <= target)
    if not good.any():
        raise ValueError(
            f"{phi.name} at depth {depth} has variance {variance[possible].min():.4g} or more on its critical line, "
            f"above {target}: take a larger target, or tanh, erf or hard_tanh, whose variance goes to 0 with q."
        )
    last = np.flatnonzero(good)[-1]
    if good[possible].all():
        return float(min(grid[possible], key=lambda q: abs(math.log(q))))
    if last + 1 == GRID or not possible[last + 1]:
        return float(grid[last])
    start, end = np.log(grid[last : last + 2])
    return math.exp(brentq(lambda x: float(_scales(phi, depth, math.exp(x))[2]) - target, start, end, xtol=1e-13))


def _scales(phi: Activation, depth: int, q: Array | float) -> tuple[Array, Array, Array, Array]:
    """sigma_w^2 and sigma_b^2 with chi_1 = 1 at q, the variance of the spectrum, and dq'/dq."""
    m = _moments(phi, q)
    sigma_w2 = 1 / m.p2
    return sigma_w2, q - sigma_w2 * m.s2, depth * (m.p4 / m.p2**2 - 1), sigma_w2 * m.par


@jax.jit
def _moments(phi: Activation, q: Array | float) -> Moments:
    return moments(phi, jnp.asarray(q))
