"""The relu family as maps of the cosine distance, 1 - cos(theta) before to 1 - cos after (D3, D4).

These activations are homogeneous, so the angle after depends on the angle before alone, not on the variances;
and near theta = 0 the distance is what keeps its digits, where the cosine does not.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.activations.arccos_table import P_DOUBLE, P_SINGLE, R_DOUBLE, R_SINGLE
from widenet.activations.numerics import horner, ratio, root

# In units of the precision: what rounding leaves of the angle of a sample with itself after a hundred layers.  Below it
# the change of the distance is rounding too, and dividing one by the other would give anything.
ROUNDING = 64


@jax.custom_jvp
def arc_cosine(gap: Array) -> tuple[Array, Array, Array]:
    """(sin t - t cos t) / pi of the angle t to the nearer pole, theta / pi, and kappa_0 = 1 - theta / pi. (D2)

    cos(theta) = 1 - gap.  Each is accurate relative to itself.  Source: Cho & Saul 2009, eq. (6).
    """
    m = jnp.minimum(gap, 2 - gap)
    double = gap.dtype == jnp.float64
    small = np.sqrt(2).item() / np.pi * root(m) * horner(P_DOUBLE if double else P_SINGLE, m)
    excess = m * root(m) * horner(R_DOUBLE if double else R_SINGLE, m) / np.pi
    near = gap <= 1
    return excess, jnp.where(near, small, 1 - small), jnp.where(near, 1 - small, small)


@arc_cosine.defjvp
def _arc_cosine_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Any, Any]:
    """d excess = t sin(t) dt / pi;  dtheta = dgap / sin(theta), 0 at the poles: the mean of a cone's slopes."""
    (gap,), (change,) = primals, tangents
    excess, turned, rest = arc_cosine(gap)
    square = gap * (2 - gap)
    turn = jnp.where(square > (ROUNDING * jnp.finfo(gap.dtype).eps) ** 2, ratio(change, np.pi * root(square)), 0)
    return (excess, turned, rest), (jnp.where(gap <= 1, turned, -rest) * change, turn, -turn)


def two_slopes_distance(gap: Array, a: Any, b: Any) -> tuple[Array, Array]:
    """For phi(u) = a min(u, 0) + b max(u, 0): the cosine distance after, and E[phi'(u) phi'(v)]. (D4)

    gap' = (a b gap + (b - a)^2 (1 - kappa_1) / 2) / ((a^2 + b^2) / 2),  slope = a b + (b - a)^2 kappa_0 / 2.
    """
    excess, _, kappa_0 = arc_cosine(gap)
    norm, jump = jnp.asarray((a**2 + b**2) / 2), (b - a) ** 2 / 2
    # kappa_1 - cos is the excess for an acute angle, kappa_1 itself for an obtuse one: neither form cancels
    turned = jnp.where(gap <= 1, norm * gap, (a + b) ** 2 / 2 - a * b * (2 - gap)) - jump * excess
    return turned * ratio(jnp.ones_like(norm), norm), a * b + jump * kappa_0


def two_levels_distance(gap: Array, a: Any, b: Any) -> tuple[Array, Array]:
    """For phi(u) = a (u < 0), b (u > 0): the cosine distance after, and 0, the slope almost everywhere. (D3)

    gap' = (b - a)^2 theta / (pi (a^2 + b^2)).
    """
    turned = arc_cosine(gap)[1]
    return ratio((b - a) ** 2 * turned, jnp.asarray(a**2 + b**2)), jnp.zeros_like(gap)
