"""Where the recursion starts: covariances and cosine distances of the data themselves (K1)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.kernels.covariance import Cov, Data, Dist, safe_divide, safe_sqrt, with_diagonal, zero_at_equal
from widenet.kernels.layout import Layout, equal

HIGHEST = jax.lax.Precision.HIGHEST
UNROLLED = 16  # channels that are subtracted in one expression
PAIRS = 64  # of positions that are compared at a time
# Inner products leave a cosine distance below this fewer than 13 of float64's 16 digits, or 6 of float32's 7.
NEAR = {"float64": 1e-3, "float32": 0.1}


@partial(jax.jit, static_argnames=("layout", "ntk"))
def covariance_of(data: Data, layout: Layout, ntk: bool, own: Array | None) -> Cov:
    """The covariance x1 . x2 / d of the data with themselves."""
    self1, self2 = (_self_products(x, layout) for x in data)
    cross = with_diagonal(_products(*data, layout), self1, own)
    return Cov(cross, self1, self2, jnp.zeros_like(cross) if ntk else None)


def _products(x1: Array, x2: Array, layout: Layout) -> Array:
    if layout.kind == "all":
        out = jnp.einsum("ipd,jqd->pqij", x1, x2, precision=HIGHEST).reshape(-1, x1.shape[0], x2.shape[0])
    else:
        left, right = (x1, x2) if layout.is_equal else (x1[:, layout.left], x2[:, layout.right])
        out = jnp.einsum("ild,jld->lij", left, right, precision=HIGHEST)
    return out / x1.shape[-1]


def _self_products(x: Array, layout: Layout) -> Array:
    if layout.kind == "all":
        return jnp.einsum("ipd,iqd->pqi", x, x, precision=HIGHEST).reshape(-1, x.shape[0]) / x.shape[-1]
    if layout.is_equal:
        return jnp.mean(x**2, axis=-1).T
    left, right = x[:, layout.left], x[:, layout.right]
    return jnp.einsum("ild,ild->li", left, right, precision=HIGHEST) / x.shape[-1]


@partial(jax.jit, static_argnames=("at", "ntk"))
def distance_of(data: Data, at: tuple[Layout, Layout], ntk: bool, own: Array | None) -> Dist:
    """The cosine distances of the data with themselves; at: between samples, and within one."""
    layout, selfs = at
    q1, q2 = (_self_products(x, equal(x.shape[1])) for x in data)
    cross = cosine_distances(*data, own, layout)
    self1, self2 = (None if selfs.is_equal else _between_positions(x, selfs) for x in data)
    return Dist(cross, self1, self2, jnp.zeros_like(cross) if ntk else None, q1, q2)


def _between_positions(x: Array, layout: Layout) -> Array:
    """Cosine distances `[L, n]` of the positions of each sample, by subtraction."""
    unit = jnp.moveaxis(_normalized(x), 1, 0)
    between = _by_chunks(lambda p, q, _: _half_mean_square(unit[p] - unit[q]), layout)
    return zero_at_equal(between, layout)


def _by_chunks(of_pairs: Callable[[Any, Any, Array], Array], layout: Layout) -> Array:
    """`of_pairs(left, right, are they equal)` of all pairs of positions, some at a time."""
    if layout.is_equal and len(layout) <= PAIRS:
        return of_pairs(slice(None), slice(None), jnp.ones(len(layout), bool))  # nothing is gathered
    missing = -len(layout) % PAIRS
    chunks = [
        jnp.asarray(np.pad(values, (0, missing), mode="edge").reshape(-1, PAIRS))
        for values in (layout.left, layout.right, layout.left == layout.right)
    ]
    if len(chunks[0]) == 1:
        return of_pairs(*(chunk[0, : len(layout)] for chunk in chunks))
    made = jax.lax.map(lambda chunk: of_pairs(*chunk), tuple(chunks))
    return made.reshape(-1, *made.shape[2:])[: len(layout)]


def _normalized(x: Array) -> Array:
    return x * _inverse_norm(x)


def _inverse_norm(x: Array) -> Array:
    return safe_divide(1.0, safe_sqrt(jnp.mean(x**2, axis=-1, keepdims=True)))


def half_mean_square(x1: Array, x2: Array) -> Array:
    """Half the mean square of x1 - x2 over channels, one after the other: for few of them."""

    def add(total: Array, channel: tuple[Array, Array]) -> tuple[Array, None]:
        return total + (channel[0] - channel[1]) ** 2, None

    channels = jnp.moveaxis(x1, -1, 0), jnp.moveaxis(x2, -1, 0)
    if len(channels[0]) > UNROLLED:
        start = jnp.zeros(jnp.broadcast_shapes(x1.shape, x2.shape)[:-1], x1.dtype)
        return jax.lax.scan(add, start, channels)[0] / (2 * x1.shape[-1])
    return sum((a - b) ** 2 for a, b in zip(*channels, strict=True)) / (2 * x1.shape[-1])


def _half_mean_square(difference: Array) -> Array:
    return jnp.mean(difference**2, axis=-1) / 2


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def cosine_distances(x1: Array, x2: Array, own: Array | None, layout: Layout) -> Array:
    """1 - cos of all rows, right to rounding even where they are nearly parallel: `[L, n1, n2]`.

    Half the mean square of the difference of normalized rows: 1 - their inner product, but for near pairs, which are
    subtracted.  own: which row of x1 is which row of x2, `[n1, n2]`.
    """
    n1, n2, p = x1.shape[0], x2.shape[0], x1.shape[1]
    if layout.kind == "all":
        rows1, rows2 = (x.reshape(-1, x.shape[-1]) for x in (x1, x2))
        of_positions = None if own is None else _of_equal_positions(own, p)
        whole = _of_rows(rows1, rows2, of_positions).reshape(n1, p, n2, p)
        return whole.transpose(1, 3, 0, 2).reshape(p * p, n1, n2)
    left, right = (jnp.moveaxis(x, 1, 0) for x in (x1, x2))

    def of_pairs(p: Any, q: Any, same_position: Array) -> Array:
        return _of_rows(left[p], right[q], None if own is None else own & same_position[:, None, None])

    return _by_chunks(of_pairs, layout)


def _of_equal_positions(own: Array, positions: int) -> Array:
    """Is row (i, p) row (j, q): one sample at one position?  `[n1 P, n2 P]`"""
    both = own[:, None, :, None] & jnp.eye(positions, dtype=bool)[:, None]
    return both.reshape(own.shape[0] * positions, -1)


def _of_rows(x1: Array, x2: Array, own: Array | None) -> Array:
    """1 - cos of rows with rows, `[..., n1, n2]`; zero where row i is row j."""
    unit1, unit2 = _inverse_norm(x1), _inverse_norm(x2)
    cosines = jnp.matmul(x1, x2.mT, precision=HIGHEST) * (unit1 / x1.shape[-1] * unit2.mT)
    rough = jnp.clip(1 - cosines, 0.0, 2.0)  # rounding puts parallel rows outside by an ulp
    near = rough < NEAR[x1.dtype.name]
    if own is not None:  # before the switch, after which nothing is fused into what reads the result
        rough, near = jnp.where(own, 0.0, rough), near & ~own
    return _closer((x1, unit1), (x2, unit2), rough, near)


def _closer(left: tuple[Array, Array], right: tuple[Array, Array], rough: Array, near: Array) -> Array:
    """Replace the entries at `near` by differences: a few by gathering their rows, many by all rows.

    left, right: rows, and what makes each a unit; multiplied only where there is a pair to compare.
    """
    few = sum(rough.shape)

    def gathered() -> Array:
        at = jnp.nonzero(near, size=few, fill_value=0)
        *pair, i, j = at
        unit1, unit2 = (x[*pair, i] * unit[*pair, i] for (x, unit), i in ((left, i), (right, j)))
        return rough.at[at].set(jnp.where(near[at], _half_mean_square(unit1 - unit2), rough[at]))

    def all_rows() -> Array:
        unit1, unit2 = (x * unit for x, unit in (left, right))
        exact = jax.lax.map(lambda row: _half_mean_square(row[..., None, :] - unit2), jnp.moveaxis(unit1, -2, 0))
        return jnp.where(near, jnp.moveaxis(exact, 0, -2), rough)

    found = jnp.sum(near)
    return jax.lax.switch((found > 0).astype(int) + (found > few), [lambda: rough, gathered, all_rows])


@cosine_distances.defjvp
def _cosine_distances_jvp(
    layout: Layout, primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    (x1, t1), (x2, t2) = (jax.jvp(_normalized, (x,), (t,)) for x, t in zip(primals[:2], tangents[:2], strict=True))
    return cosine_distances(*primals, layout), -_products(t1, x2, layout) - _products(x1, t2, layout)
