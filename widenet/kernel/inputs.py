"""Where the recursion starts: covariances and distances of the data themselves (K1)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from widenet.kernel.covariance import Cov, Dist, outer, with_diagonal
from widenet.kernel.schedule import Mode
from widenet.precision import float64

# Inner products leave a distance below this fraction of the variance fewer than 13 of float64's 16 digits.
NEAR = 1e-3


def start(x1: Array, x2: Array | None, full: bool, mode: Mode) -> Cov | Dist:
    """The covariance of the data `[n, P, d]` with themselves: x1 . x2 / d, or half the mean squared distance."""
    other = x1 if x2 is None else x2
    if mode.distance:
        return _start_distance(x1, other, full, mode)
    return _start_inner(x1, other, full, mode)


@partial(jax.jit, static_argnames=("full", "mode"))
def _start_inner(x1: Array, x2: Array, full: bool, mode: Mode) -> Cov:
    self1, self2 = (_self_products(x, full) for x in (x1, x2))
    cross = with_diagonal(_products(x1, x2, full), self1, mode.same)
    return Cov(cross, self1, self2, jnp.zeros_like(cross) if mode.ntk else None)


def _products(x1: Array, x2: Array, full: bool) -> Array:
    spec = "ipd,jqd->pqij" if full else "ipd,jpd->pij"
    return jnp.einsum(spec, x1, x2, precision=jax.lax.Precision.HIGHEST) / x1.shape[-1]


def _self_products(x: Array, full: bool) -> Array:
    spec = "ipd,iqd->pqi" if full else "ipd,ipd->pi"
    return jnp.einsum(spec, x, x, precision=jax.lax.Precision.HIGHEST) / x.shape[-1]


@partial(jax.jit, static_argnames=("full", "mode"))
def _start_distance(x1: Array, x2: Array, full: bool, mode: Mode) -> Dist:
    q1, q2 = (_self_products(x, False) for x in (x1, x2))
    cross = half_distances(x1, x2, full, mode.same)
    self1, self2 = (_between_positions(x) if full else None for x in (x1, x2))
    return Dist(cross, self1, self2, jnp.zeros_like(cross) if mode.ntk else None, q1, q2)


def _between_positions(x: Array) -> Array:
    """Half the mean squared distances `[P, Q, n]` of the positions of each sample, by subtraction."""
    return jnp.moveaxis(jax.lax.map(lambda row: jax.lax.map(lambda u: _half_mean_square(u - row), row), x), 0, -1)


def _half_mean_square(difference: Array) -> Array:
    return jnp.mean(difference**2, axis=-1) / 2


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def half_distances(x1: Array, x2: Array, full: bool, same: bool) -> Array:
    """Half the mean squared distances of all rows, right to rounding even where they nearly coincide.

    D = |x1 - x2|^2 / (2 d): `[P, n1, n2]`, or `[P, Q, n1, n2]` if `full`; `same` says that x2 is x1.
    float32 data take inner products in float64; float64 data take them for all but the near pairs,
    which are subtracted instead.
    """
    n1, n2, p = x1.shape[0], x2.shape[0], x1.shape[1]
    if full:
        rows1, rows2 = (x.reshape(-1, x.shape[-1]) for x in (x1, x2))
        return _of_rows(rows1, rows2, same).reshape(n1, p, n2, p).transpose(1, 3, 0, 2)
    by_position = jnp.moveaxis(x1, 1, 0), jnp.moveaxis(x2, 1, 0)
    return jax.lax.map(lambda rows: _of_rows(*rows, same), by_position)


def _of_rows(x1: Array, x2: Array, same: bool) -> Array:
    """Half the mean squared distances of rows `[n1, d]` and `[n2, d]`."""
    if x1.dtype == jnp.float64:
        rough, scale = _from_products(x1, x2)
        own = jnp.eye(*rough.shape, dtype=bool) if same else jnp.zeros((), bool)
        near = (rough < NEAR * scale) & ~own
        distance = _subtract_near(x1, x2, rough, near)
        return jnp.where(own, 0.0, distance)
    with float64():
        wide1, wide2 = (jax.lax.convert_element_type(x, jnp.float64) for x in (x1, x2))
        distance = jax.lax.convert_element_type(_from_products(wide1, wide2)[0], x1.dtype)
    return jnp.where(jnp.eye(*distance.shape, dtype=bool), 0.0, distance) if same else distance


def _from_products(x1: Array, x2: Array) -> tuple[Array, Array]:
    """Distances by inner products, and the variances that their rounding error is a fraction of."""
    q1, q2 = ((x**2).mean(1) for x in (x1, x2))
    scale = (q1[:, None] + q2[None]) / 2
    products = jnp.matmul(x1, x2.T, precision=jax.lax.Precision.HIGHEST) / x1.shape[1]
    return jnp.maximum(scale - products, 0.0), scale


def _subtract_near(x1: Array, x2: Array, rough: Array, near: Array) -> Array:
    """Replace the entries at `near` by differences: a few by gathering their rows, many by all rows."""
    few = sum(rough.shape)

    def gathered() -> Array:
        i, j = jnp.nonzero(near, size=few, fill_value=0)
        return rough.at[i, j].set(_half_mean_square(x1[i] - x2[j]))

    def all_rows() -> Array:
        return jnp.where(near, jax.lax.map(lambda row: _half_mean_square(row - x2), x1), rough)

    found = jnp.sum(near)
    return jax.lax.switch((found > 0).astype(int) + (found > few), [lambda: rough, gathered, all_rows])


@half_distances.defjvp
def _half_distances_jvp(
    full: bool, same: bool, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (x1, x2), (t1, t2) = primals, tangents
    own1, own2 = (jnp.einsum("ipd,ipd->pi", x, t) * (2 / x.shape[-1]) for x, t in ((x1, t1), (x2, t2)))
    mean = (sum(outer(own1, own2, full))) / 2
    return half_distances(x1, x2, full, same), mean - _products(t1, x2, full) - _products(x1, t2, full)
