"""Where the recursion starts: covariances and cosine distances of the data themselves (K1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.kernels.covariance import (
    Cov,
    Data,
    Dist,
    Features,
    Form,
    as_cov,
    ends,
    safe_divide,
    safe_sqrt,
    with_diagonal,
    zero_at_equal,
)
from widenet.kernels.layout import Layout, equal
from widenet.kernels.schedule import Context, Mode, Planner
from widenet.program.ops import Attend, Linear, SampleMix
from widenet.program.var import Var

HIGHEST = jax.lax.Precision.HIGHEST
PAIRS = 64  # of positions that are compared at a time
# Inner products leave a cosine distance below this fewer than 13 of float64's 16 digits, or 6 of float32's 7.
NEAR = {"float64": 1e-3, "float32": 0.1}


def formed(form: Form, layout: Layout, mode: Mode, context: Context) -> Any:
    """The covariance of the data, or of features, in the form that the recursion carries; others as they are."""
    if not isinstance(form, (Data, Features)):
        return form
    return (distance_of if mode.distance else covariance_of)(form, layout, mode.ntk, context.own)


READS_FEATURES = (Linear, SampleMix, Attend)


def as_wanted(features: Features, planner: Planner, u: Var, context: Context) -> Cov | Dist | Features:
    """What the recursion carries of u: its features, if they are all that is read, or its covariance."""
    readers = [w for w in planner.program.variables if u in w.args]
    if u is not planner.program.output and all(type(w.op) in READS_FEATURES for w in readers):
        return features
    return formed(features, context.layout, planner.mode, context)


def mixed_features(form: Data | Features, mix: Callable[[Array, Array], Array], by: tuple[Array, Array]) -> Features:
    """`mix` of the features of both batches with what is known `by` sample: Theta takes the same way (K2)."""
    return Features(*(mix(a, x) for a, x in zip(by, (form.x1, form.x2), strict=True)), ages_of(form))


@partial(jax.jit, static_argnames="has_bias")
def linear_features(sigmas: tuple[Any, Any], form: Data | Features, has_bias: bool) -> Features:
    """A dense layer: its bias is one more feature, so that not even a zero input is singular (K1), (A4)."""
    sigma_w, sigma_b = (jnp.asarray(s, form.x1.dtype) for s in sigmas)
    d = form.x1.shape[-1]

    def features(x: Array) -> Array:
        root = jnp.sqrt(jnp.asarray((d + has_bias) / d, x.dtype))  # features are averaged, one more with a bias
        scaled = sigma_w * root * x
        if not has_bias:
            return scaled
        bias = jnp.broadcast_to(sigma_b * jnp.sqrt(jnp.asarray(d + 1, x.dtype)), (*x.shape[:-1], 1))
        return jnp.concatenate([scaled, bias], axis=-1)

    older = tuple((count, age + 1) for count, age in ages_of(form))
    return Features(features(form.x1), features(form.x2), older + ((1, 1),) * has_bias)


def ages_of(form: Data | Features) -> tuple[tuple[int, int], ...]:
    """The ages of features; the data have no weight yet."""
    return ((form.x1.shape[-1], 0),) if isinstance(form, Data) else form.ages


@partial(jax.jit, static_argnames=("layout", "ntk"))
def covariance_of(form: Data | Features, layout: Layout, ntk: bool, own: Array | None) -> Cov:
    """The covariance x1 . x2 / d of the data with themselves."""
    self1, self2 = (_self_products(x, layout) for x in (form.x1, form.x2))
    cross = with_diagonal(_products(form.x1, form.x2, layout), self1, own)
    return Cov(cross, self1, self2, _tangent(form, cross, layout) if ntk else None)


def _tangent(form: Data | Features, k: Array, layout: Layout) -> Array:
    """Theta from K: as if all features had the age of most, and what the others differ by (A4)."""
    ages = ages_of(form)
    _, most = max(ages)
    total, start, d = most * k, 0, form.x1.shape[-1]
    for count, age in ages:
        if age != most:
            x1, x2 = (x[..., start : start + count] for x in (form.x1, form.x2))
            total = total + (age - most) * (count / d) * _products(x1, x2, layout)
        start += count
    return total


def _products(x1: Array, x2: Array, layout: Layout) -> Array:
    if x1.shape[-1] == 1:
        left, right = ends(layout, x1[..., 0].T, x2[..., 0].T)
        return left * right
    if layout.kind == "all":
        out = jnp.einsum("ipd,jqd->pqij", x1, x2, precision=HIGHEST).reshape(-1, x1.shape[0], x2.shape[0])
    else:
        left, right = (x1, x2) if layout.is_equal else (x1[:, layout.left], x2[:, layout.right])
        out = jnp.einsum("ild,jld->lij", left, right, precision=HIGHEST)
    return out / x1.shape[-1]


def _self_products(x: Array, layout: Layout, y: Array | None = None) -> Array:
    """x . y / d of the positions of each sample, `[L, n]`; y is x if it is not given."""
    y = x if y is None else y
    if layout.kind == "all":
        return jnp.einsum("ipd,iqd->pqi", x, y, precision=HIGHEST).reshape(-1, x.shape[0]) / x.shape[-1]
    left, right = (x, y) if layout.is_equal else (x[:, layout.left], y[:, layout.right])
    return jnp.einsum("ild,ild->li", left, right, precision=HIGHEST) / x.shape[-1]


@partial(jax.jit, static_argnames=("layout", "ntk"))
def distance_of(form: Data | Features, layout: Layout, ntk: bool, own: Array | None) -> Dist:
    """The cosine distances of the data with themselves."""
    x1, x2 = form.x1, form.x2
    q1, q2 = (_self_products(x, equal(x.shape[1])) for x in (x1, x2))
    self1 = self2 = None
    if not layout.is_equal:  # of both at once: half as much to compile
        self1, self2 = jnp.split(position_distances(jnp.concatenate([x1, x2]), layout), [x1.shape[0]], axis=1)
    cross = cosine_distances(x1, x2, self1, own, layout)
    out = Dist(cross, self1, self2, None, q1, q2)
    return out._replace(ntk=_tangent(form, as_cov(out, layout).cross, layout)) if ntk else out


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def position_distances(x: Array, layout: Layout) -> Array:
    """1 - cos of the positions of each sample, `[L, n]`, right to rounding even where they are nearly parallel."""
    unit = _normalized(x)
    if layout.kind != "all":
        at = jnp.moveaxis(unit, 1, 0)
        return zero_at_equal(_by_chunks(lambda p, q: _half_mean_square(at[p] - at[q]), layout), layout)
    unit = unit - unit.mean(1, keepdims=True)  # all may be nearly parallel
    length = jnp.mean(unit**2, axis=-1) / 2
    same = jnp.eye(unit.shape[1], dtype=bool)
    lengths = length[:, :, None] + length[:, None]
    between = _distances(unit, unit, lengths - _row_products(unit, unit), None, same, lengths)
    return zero_at_equal(between.transpose(1, 2, 0).reshape(len(layout), -1), layout)


@position_distances.defjvp
def _position_distances_jvp(layout: Layout, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    unit, turned = jax.jvp(_normalized, primals, tangents)
    return position_distances(*primals, layout), -_self_products(turned, layout, unit) - _self_products(
        unit, layout, turned
    )


def _by_chunks(of_pairs: Callable[[Array, Array], Array], layout: Layout) -> Array:
    """`of_pairs(left, right)` of all pairs of positions, some at a time."""
    missing = -len(layout) % PAIRS
    chunks = [
        jnp.asarray(np.pad(values, (0, missing), mode="edge").reshape(-1, PAIRS))
        for values in (layout.left, layout.right)
    ]
    if len(chunks[0]) == 1:
        return of_pairs(*(chunk[0, : len(layout)] for chunk in chunks))
    made = jax.lax.map(lambda chunk: of_pairs(*chunk), tuple(chunks))
    return made.reshape(-1, *made.shape[2:])[: len(layout)]


def _normalized(x: Array) -> Array:
    return safe_divide(x, safe_sqrt(jnp.mean(x**2, axis=-1, keepdims=True)))


def _half_mean_square(difference: Array) -> Array:
    return jnp.mean(difference**2, axis=-1) / 2


@partial(jax.custom_jvp, nondiff_argnums=(4,))
def cosine_distances(x1: Array, x2: Array, self1: Array | None, own: Array | None, layout: Layout) -> Array:
    """1 - cos of all rows, right to rounding even where they are nearly parallel: `[L, n1, n2]`.

    Half the mean square of the difference of normalized rows: 1 - their inner product, but for near pairs, which are
    subtracted.  own: `[n1, n2]`, which row of x1 is which row of x2; there it is `self1`, or zero.
    """
    unit1, unit2 = (jnp.moveaxis(_normalized(x), 1, 0) for x in (x1, x2))
    if layout.kind == "all":
        products = jnp.einsum("pid,qjd->pqij", unit1 / unit1.shape[-1], unit2, precision=HIGHEST)
        known = None if self1 is None else self1.reshape(*products.shape[:3])
        return _distances(unit1[:, None], unit2, 1 - products, known, own).reshape(len(layout), *products.shape[2:])

    def of_pairs(p: Array, q: Array) -> Array:
        return _distances(unit1[p], unit2[q], 1 - _row_products(unit1[p], unit2[q]), None, own)

    return with_diagonal(_by_chunks(of_pairs, layout), self1, own)


def _row_products(x1: Array, x2: Array) -> Array:
    return jnp.matmul(x1 / x1.shape[-1], x2.mT, precision=HIGHEST)


def _distances(
    rows1: Array, rows2: Array, rough: Array, known: Array | None, own: Array | None, scale: Array | float = 1.0
) -> Array:
    """Half the mean square of the difference of rows, `[..., n1, n2]`: `rough`, but for near rows.

    scale: what `rough` was subtracted from.  known: `[..., n1]`, the value at `own`.  A few near rows are gathered; if
    there are many, all are compared.
    """
    rough = jnp.clip(rough, 0.0, 2.0)  # rounding puts parallel rows outside by an ulp
    near = rough < NEAR[rough.dtype.name] * scale
    if own is not None:  # before the switch, after which nothing is fused into what reads the result
        rough, near = with_diagonal(rough, known, own), near & ~own
    few = math.prod(rows1.shape[:-1]) + math.prod(rows2.shape[:-1])

    def gathered() -> Array:
        at = jnp.nonzero(near, size=few, fill_value=0)
        difference = _row(rows1, (*at[:-2], at[-2])) - _row(rows2, (*at[:-2], at[-1]))
        return rough.at[at].set(jnp.where(near[at], _half_mean_square(difference), rough[at]))

    def all_rows() -> Array:
        exact = jax.lax.map(lambda row: _half_mean_square(row[..., None, :] - rows2), jnp.moveaxis(rows1, -2, 0))
        return jnp.where(near, jnp.moveaxis(exact, 0, -2), rough)

    found = jnp.sum(near)
    return jax.lax.switch((found > 0).astype(int) + (found > few), [lambda: rough, gathered, all_rows])


def _row(rows: Array, at: tuple[Array, ...]) -> Array:
    """Rows of an array `[..., n, d]` whose leading axes broadcast."""
    sizes = rows.shape[:-1]
    return rows[*(jnp.minimum(i, size - 1) for i, size in zip(at[len(at) - len(sizes) :], sizes, strict=True))]


@cosine_distances.defjvp
def _cosine_distances_jvp(layout: Layout, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    (x1, t1), (x2, t2) = (jax.jvp(_normalized, (x,), (t,)) for x, t in zip(primals[:2], tangents[:2], strict=True))
    return cosine_distances(*primals, layout), -_products(t1, x2, layout) - _products(x1, t2, layout)
