"""Where the recursion starts: covariances and cosine distances of the data themselves (K1)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

from widenet.kernels.covariance import Cov, Data, Dist, safe_divide, safe_sqrt, with_diagonal, zero_at_equal
from widenet.kernels.schedule import Mode
from widenet.precision import float64

# Inner products leave a cosine distance below this fewer than 13 of float64's 16 digits.
NEAR = 1e-3


@partial(jax.jit, static_argnames=("full", "mode"))
def covariance_of(data: Data, full: bool, mode: Mode) -> Cov:
    """The covariance x1 . x2 / d of the data with themselves."""
    self1, self2 = (_self_products(x, full) for x in data)
    cross = with_diagonal(_products(*data, full), self1, mode.same)
    return Cov(cross, self1, self2, jnp.zeros_like(cross) if mode.ntk else None)


def _products(x1: Array, x2: Array, full: bool) -> Array:
    spec = "ipd,jqd->pqij" if full else "ipd,jpd->pij"
    return jnp.einsum(spec, x1, x2, precision=jax.lax.Precision.HIGHEST) / x1.shape[-1]


def _self_products(x: Array, full: bool) -> Array:
    spec = "ipd,iqd->pqi" if full else "ipd,ipd->pi"
    return jnp.einsum(spec, x, x, precision=jax.lax.Precision.HIGHEST) / x.shape[-1]


@partial(jax.jit, static_argnames=("full", "mode"))
def distance_of(data: Data, full: bool, mode: Mode) -> Dist:
    """The cosine distances of the data with themselves."""
    q1, q2 = (_self_products(x, False) for x in data)
    cross = cosine_distances(*data, full, mode.same)
    self1, self2 = (_between_positions(x) if full else None for x in data)
    return Dist(cross, self1, self2, jnp.zeros_like(cross) if mode.ntk else None, q1, q2)


def _between_positions(x: Array) -> Array:
    """Cosine distances `[P, Q, n]` of the positions of each sample, by subtraction."""
    unit = _normalized(x)
    between = jax.lax.map(lambda row: jax.lax.map(lambda u: _half_mean_square(u - row), row), unit)
    return zero_at_equal(jnp.moveaxis(between, 0, -1))


def _normalized(x: Array) -> Array:
    return safe_divide(x, safe_sqrt(jnp.mean(x**2, axis=-1, keepdims=True)))


def _half_mean_square(difference: Array) -> Array:
    return jnp.mean(difference**2, axis=-1) / 2


@partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def cosine_distances(x1: Array, x2: Array, full: bool, same: bool) -> Array:
    """1 - cos of all rows, right to rounding even where they are nearly parallel.

    Half the mean square of the difference of normalized rows: `[P, n1, n2]`, or `[P, Q, n1, n2]` if `full`;
    `same` says that x2 is x1.  float32 data take inner products in float64; float64 data take them for all but
    the near pairs, which are subtracted instead.
    """
    n1, n2, p = x1.shape[0], x2.shape[0], x1.shape[1]
    if full:
        rows1, rows2 = (x.reshape(-1, x.shape[-1]) for x in (x1, x2))
        return _of_rows(rows1, rows2, same).reshape(n1, p, n2, p).transpose(1, 3, 0, 2)
    by_position = jnp.moveaxis(x1, 1, 0), jnp.moveaxis(x2, 1, 0)
    return jax.lax.map(lambda rows: _of_rows(*rows, same), by_position)


def _of_rows(x1: Array, x2: Array, same: bool) -> Array:
    if x1.dtype == jnp.float64:
        unit1, unit2 = _normalized(x1), _normalized(x2)
        rough = _from_products(unit1, unit2)
        own = jnp.eye(*rough.shape, dtype=bool) if same else jnp.zeros((), bool)
        return jnp.where(own, 0.0, _subtract_near(unit1, unit2, rough, (rough < NEAR) & ~own))
    with float64():
        wide = (_normalized(jax.lax.convert_element_type(x, jnp.float64)) for x in (x1, x2))
        distance = jax.lax.convert_element_type(_from_products(*wide), x1.dtype)
    return jnp.where(jnp.eye(*distance.shape, dtype=bool), 0.0, distance) if same else distance


def _from_products(unit1: Array, unit2: Array) -> Array:
    products = jnp.matmul(unit1, unit2.T, precision=jax.lax.Precision.HIGHEST) / unit1.shape[1]
    return jnp.clip(1 - products, 0.0, 2.0)  # rounding puts parallel rows outside by an ulp


def _subtract_near(unit1: Array, unit2: Array, rough: Array, near: Array) -> Array:
    """Replace the entries at `near` by differences: a few by gathering their rows, many by all rows."""
    few = sum(rough.shape)

    def gathered() -> Array:
        i, j = jnp.nonzero(near, size=few, fill_value=0)
        exact = jnp.where(near[i, j], _half_mean_square(unit1[i] - unit2[j]), rough[i, j])
        return rough.at[i, j].set(exact)

    def all_rows() -> Array:
        return jnp.where(near, jax.lax.map(lambda row: _half_mean_square(row - unit2), unit1), rough)

    found = jnp.sum(near)
    return jax.lax.switch((found > 0).astype(int) + (found > few), [lambda: rough, gathered, all_rows])


@cosine_distances.defjvp
def _cosine_distances_jvp(
    full: bool, same: bool, primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    (x1, t1), (x2, t2) = (jax.jvp(_normalized, (x,), (t,)) for x, t in zip(primals, tangents, strict=True))
    return cosine_distances(*primals, full, same), -_products(t1, x2, full) - _products(x1, t2, full)
