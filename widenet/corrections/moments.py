"""The Gaussian expectations of one activation that the 1/width expansion consists of. (W3)

Second derivatives of kinks and all third derivatives are integrated by parts, so nothing that is not there is asked
for: a function that is continuous has all of them but those with phi''^2, and these exist if phi' is continuous.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from widenet.activations import dual
from widenet.activations.activation import Activation, derivative

STEP = 1e-6  # a jump is looked for between b - STEP and b + STEP
JUMP = 1e-3  # a slope that bends changes less within them


class Moments(NamedTuple):
    """Expectations at variance K of z, with s = phi(z), p = phi'(z), r = phi''(z)."""

    s2: Array
    s4: Array
    p2: Array
    p4: Array
    s2p2: Array
    par: Array  # <z s p>/K = d<s^2>/dK
    h2: Array  # <z p r>/K = d<p^2>/dK
    curve: Array  # d^2<s^2>/dK^2
    sr: Array  # <s r>
    srp2: Array  # <s r p^2>
    r2: Array  # <r^2>
    r2p2: Array  # <r^2 p^2>
    tp: Array  # <phi''' p>
    tp3: Array  # <phi''' p^3>


@dataclass(frozen=True)
class Products:
    """All integrands of `Moments`, stacked; equal for equal activations."""

    phi: Activation

    def __call__(self, z: Array, q: Array) -> Array:
        """The integrands `[14, *z.shape]` at variance q."""
        prime = derivative(self.phi)
        s, p, r = self.phi(z), prime(z) + 0 * z, derivative(prime)(z) + 0 * z
        y = z / q
        he2, he4 = y * z - 1, (y * z) ** 2 - 6 * y * z + 3
        rows = (
            *(s**2, s**4, p**2, p**4, (s * p) ** 2, y * s * p),
            *(he2 * p**2 / (2 * q), he4 * s**2 / (4 * q**2)),
            *(y * s * p - p**2, (y * s * p**3 - p**4) / 3),
            *(r**2, (r * p) ** 2, y * r * p - r**2, y * r * p**3 - 3 * (r * p) ** 2),
        )
        return jnp.stack(rows)


def moments(phi: Activation, q: Array) -> Moments:
    """The expectations at variance q > 0; a scalar each."""
    integrand = Activation(phi.name, Products(phi), (q,), kinks=phi.breakpoints)
    return Moments(*dual.mean(integrand, q))


def bends(phi: Activation) -> bool:
    """Does phi' jump somewhere, as that of relu does?"""
    prime = derivative(phi)
    return any(_jumps(prime, float(b)) for b in phi.breakpoints)


def _jumps(prime: Activation, at: float) -> bool:
    return abs(float(prime(jnp.asarray(at + STEP))) - float(prime(jnp.asarray(at - STEP)))) > JUMP
