"""Densities near a normal one. (W6)"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.polynomial.hermite_e import hermeval

from widenet.activations import dual
from widenet.activations.activation import Activation, Times
from widenet.precision import float64


class Cumulants(NamedTuple):
    """Of a symmetric law: its variance, excess kurtosis and normalized sixth cumulant."""

    variance: float
    fourth: float
    sixth: float


def edgeworth(z: Any, variance: float, fourth: float, sixth: float | None = None) -> np.ndarray:
    """The Edgeworth density of a symmetric law at z, by its cumulants over powers of the variance. (W6)

    p(z) = N(z) (1 + k4 He_4(u)/24),  u = z / sqrt(variance), and with the sixth cumulant, an order higher in 1/width,
    + k6 He_6(u)/720 + k4^2 He_8(u)/1152 inside the brackets.

    It integrates to one, but may be negative in the tails if k4 is not small.
    Shapes: that of z.
    Raises: ValueError for a variance that is not positive.
    Source: antognini2019.
    """
    if not variance > 0:
        raise ValueError(f"a density needs a positive variance; got {variance}.")
    u = np.asarray(z, float) / np.sqrt(variance)
    series = np.zeros(9)
    series[[0, 4]] = 1, fourth / 24
    if sixth is not None:
        series[[6, 8]] = sixth / 720, fourth**2 / 1152
    return np.exp(-(u**2) / 2) / np.sqrt(2 * np.pi * variance) * hermeval(u, series)


def one_hidden_cumulants(phi: Activation, width: int, *, q: float, sigma_w: float = 1.0) -> Cumulants:
    """The exact cumulants of the output of one hidden layer of Gaussian weights. (W7)

    Given the hidden layer the output is normal with variance s = sigma_w^2 mean phi(z_j)^2, so k4 = 3 Var(s)/s^2 and
    k6 = 15 kappa_3(s)/s^3 with the mean s in the denominators: of order 1/n and 1/n^2.

    q: variance of the hidden preactivations.
    Raises: ValueError for a width below one, or a phi that vanishes.
    """
    if width < 1 or not q > 0:
        raise ValueError(f"one_hidden_cumulants needs a width of at least one and q > 0; got {width} and {q}.")
    with float64():
        m1, m2, m3 = (float(dual.mean(_power(phi, 2 * k), jnp.asarray(q))) for k in (1, 2, 3))
    if not m1 > 0:
        raise ValueError(f"{phi.name} vanishes at variance {q}: its output is zero and has no cumulants.")
    third = m3 - 3 * m1 * m2 + 2 * m1**3
    return Cumulants(sigma_w**2 * m1, 3 * (m2 / m1**2 - 1) / width, 15 * third / m1**3 / width**2)


def _power(phi: Activation, power: int) -> Activation:
    return Activation(f"{phi.name}^{power}", Times(phi.fn, power=power), phi.params, kinks=phi.breakpoints)
