"""Densities near a normal one. (W6)"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from numpy.polynomial.hermite_e import hermeval

from widenet.activations import dual
from widenet.activations.activation import Activation, Times
from widenet.precision import float64

NORMAL = (3.0, 15.0)  # fourth and sixth moments of a normal variable


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


def one_hidden_cumulants(
    phi: Activation, width: int, *, q: float, sigma_w: float = 1.0, readout: tuple[float, float] = NORMAL
) -> Cumulants:
    """The exact cumulants of the output of one hidden layer of Gaussian weights. (W7)

    The output is a sum of n independent terms v_j phi(z_j).  With m_k = E phi^2k and b_4, b_6 the moments of v,
    k4 = (b_4 m_2/m_1^2 - 3)/n and k6 = (b_6 m_3/m_1^3 - 15 b_4 m_2/m_1^2 + 30)/n^2.

    q: variance of the hidden preactivations.  readout: b_4 and b_6, the fourth and sixth moments of the readout's
    weights over powers of their variance; their law is symmetric: (3, 15) if normal, (9/5, 27/7) if uniform, (1, 1)
    for signs.
    Raises: ValueError for a width below one, a phi that vanishes, or moments that no law has.
    """
    if width < 1 or not q > 0:
        raise ValueError(f"one_hidden_cumulants needs a width of at least one and q > 0; got {width} and {q}.")
    fourth, sixth = readout
    if not (fourth >= 1 and sixth >= fourth**2):
        raise ValueError(f"readout: no law has b_4 = {fourth} and b_6 = {sixth}, for b_4 >= 1 and b_6 >= b_4^2.")
    with float64():
        m1, m2, m3 = (float(dual.mean(_power(phi, 2 * k), jnp.asarray(q))) for k in (1, 2, 3))
    if not m1 > 0:
        raise ValueError(f"{phi.name} vanishes at variance {q}: its output is zero and has no cumulants.")
    tail, far = fourth * m2 / m1**2, sixth * m3 / m1**3
    return Cumulants(sigma_w**2 * m1, (tail - 3) / width, (far - 15 * tail + 30) / width**2)


def _power(phi: Activation, power: int) -> Activation:
    return Activation(f"{phi.name}^{power}", Times(phi.fn, power=power), phi.params, kinks=phi.breakpoints)
