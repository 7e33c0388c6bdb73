"""How fast gradients grow with depth under batch normalization (B8)."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from widenet.activations import dual
from widenet.activations.activation import Activation, derivative
from widenet.batches.sphere import one_coordinate, two_coordinates
from widenet.precision import float64


def batch_norm_rate(phi: Activation, batch: float) -> float:
    """The factor by which the squared gradient norm grows per layer (dense, batch_norm, phi) of a deep network.

    At the fixed point of the covariance, and with z, z' two coordinates of the normalized channel (B8)

    rate = B/(B - 3) (E[(1 - (1 + z^2)/B) phi'(z)^2] + E[(1 + z z') phi'(z) phi'(z')]/B)
           / (E phi(z)^2 - E phi(z) phi(z'))

    which is (B - 2)/(B - 3) for the identity; for B -> inf it is E phi'^2 / Var phi of a standard normal, pi/(pi - 1)
    for relu.  Neither sigma_w nor sigma_b changes it.  Where phi' = 0, as for a step, it is 0.

    batch: the number of samples B (times positions) in a batch, 4 or more, or `math.inf`.
    Accuracy: two-dimensional quadrature that is split at the breakpoints of phi, 1e-8.
    Raises: ValueError for a batch below 4, whose gradients have infinite second moment, and for a constant phi.
    Source: yang2019bn; as one formula for any phi and B: widenet.

    >>> import math, widenet as wn
    >>> round(wn.batch_norm_rate(wn.identity, 8), 9), round(wn.batch_norm_rate(wn.relu, math.inf), 4)
    (1.2, 1.4669)
    """
    if not batch >= 4 or (np.isfinite(batch) and batch != int(batch)):
        raise ValueError(
            f"batch is a number of samples, 4 or more, or math.inf; got {batch}: with fewer the inverse variance of a "
            "batch has no mean, and gradients no finite second moment."
        )
    with float64():
        spread, slopes = _gaussian(phi) if np.isinf(batch) else _finite(phi, int(batch))
    if not spread > CONSTANT:
        raise ValueError(f"{phi.name} is constant on a normalized batch: its layer passes nothing on, and has no rate.")
    return float(slopes / spread)


CONSTANT = 1e-14  # rounding of E phi^2 - E phi phi'


class Moments(NamedTuple):
    """Numerator and denominator of the rate."""

    spread: float
    slopes: float


def _gaussian(phi: Activation) -> Moments:
    one = jnp.ones(())
    spread = dual.second_moment(phi, one) - dual.mean(phi, one) ** 2
    return Moments(float(spread), float(dual.second_moment(derivative(phi), one)))


def _finite(phi: Activation, batch: int) -> Moments:
    prime, kinks = derivative(phi), phi.breakpoints
    z, w = one_coordinate(batch, kinks)
    spread = w @ np.asarray(phi(z)) ** 2
    slopes = w @ ((1 - (1 + z**2) / batch) * np.asarray(prime(z)) ** 2)
    z, other, w = two_coordinates(batch, kinks)
    spread -= w @ (np.asarray(phi(z)) * np.asarray(phi(other)))
    slopes += w @ ((1 + z * other) * np.asarray(prime(z)) * np.asarray(prime(other))) / batch
    return Moments(float(spread), float(batch / (batch - 3) * slopes))
