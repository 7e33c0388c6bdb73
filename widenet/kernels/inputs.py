"""Where the recursion starts: covariances and cosine distances of the data themselves (K1)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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
    between,
    ends,
    safe_divide,
    safe_sqrt,
    with_diagonal,
    zero_at_equal,
)
from widenet.kernels.layout import Layout, equal
from widenet.kernels.schedule import Context, Mode, Places, Planner
from widenet.program.ops import Attend, Linear, SampleMix
from widenet.program.var import Var

HIGHEST = jax.lax.Precision.HIGHEST
UNROLLED = 16  # channels that are subtracted in one expression
PAIRS = 64  # of positions that are compared at a time
# Inner products leave a cosine distance below this fewer than 13 of float64's 16 digits, or 6 of float32's 7.
NEAR = {"float64": 1e-3, "float32": 0.1}


def formed(form: Form, at: Places, mode: Mode, context: Context) -> Any:
    """The covariance of the data, or of features, in the form that the recursion carries; others as they are."""
    if not isinstance(form, (Data, Features)):
        return form
    if mode.distance:
        return distance_of(form, at, mode.ntk, context.own)
    return covariance_of(form, at.between, mode.ntk, context.own)


READS_FEATURES = (Linear, SampleMix, Attend)


def as_wanted(features: Features, planner: Planner, u: Var, context: Context) -> Cov | Dist | Features:
    """What the recursion carries of u: its features, if they are all that is read, or its covariance."""
    readers = [w for w in planner.program.variables if u in w.args]
    if u is not planner.program.output and all(type(w.op) in READS_FEATURES for w in readers):
        return features
    mode = planner.mode._replace(distance=planner.mode.distance and u not in planner.tail)
    return formed(features, context.at, mode, context)


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
    if layout.is_equal:
        return jnp.mean(x * y, axis=-1).T
    left, right = x[:, layout.left], y[:, layout.right]
    return jnp.einsum("ild,ild->li", left, right, precision=HIGHEST) / x.shape[-1]


@partial(jax.jit, static_argnames=("at", "ntk"))
def distance_of(form: Data | Features, at: Places, ntk: bool, own: Array | None) -> Dist:
    """The cosine distances of the data with themselves."""
    layout, within = at
    x1, x2 = form.x1, form.x2
    q1, q2 = (_self_products(x, equal(x.shape[1])) for x in (x1, x2))
    self1 = self2 = known = None
    if not within.is_equal:  # of both at once: half as much to compile
        self1, self2 = jnp.split(position_distances(jnp.concatenate([x1, x2]), within), [x1.shape[0]], axis=1)
        known = within.take(self1, layout) if within.union(layout) is within else None
    if known is None and own is not None and layout.kind == "all":  # where samples meet themselves, much may be near
        unknown = jnp.zeros((len(layout), x1.shape[0]), x1.dtype)
        known = jax.lax.cond(own.any(), lambda: position_distances(x1, layout), lambda: unknown)
    out = Dist(cosine_distances(x1, x2, known, own, layout), self1, self2, None, q1, q2)
    return out._replace(ntk=_tangent(form, between(out, layout).cross, layout)) if ntk else out


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def position_distances(x: Array, layout: Layout) -> Array:
    """1 - cos of the positions of each sample, `[L, n]`, right to rounding even where they are nearly parallel."""
    unit = _normalized(x)
    if layout.kind != "all":
        at = jnp.moveaxis(unit, 1, 0)
        return zero_at_equal(_by_chunks(lambda p, q, _: _half_mean_square(at[p] - at[q]), layout), layout)
    unit = unit - unit.mean(1, keepdims=True)  # all may be nearly parallel
    length = jnp.mean(unit**2, axis=-1) / 2
    same = jnp.eye(unit.shape[1], dtype=bool)
    lengths = length[:, :, None] + length[:, None]
    products = jnp.matmul(unit / unit.shape[-1], unit.mT, precision=HIGHEST)
    gaps = _distances([unit], [unit], lengths - products, None, same, lengths)
    return zero_at_equal(gaps.transpose(1, 2, 0).reshape(len(layout), -1), layout)


@position_distances.defjvp
def _position_distances_jvp(layout: Layout, primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    unit, turned = jax.jvp(_normalized, primals, tangents)
    return position_distances(*primals, layout), -_self_products(turned, layout, unit) - _self_products(
        unit, layout, turned
    )


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


@partial(jax.custom_jvp, nondiff_argnums=(4,))
def cosine_distances(x1: Array, x2: Array, self1: Array | None, own: Array | None, layout: Layout) -> Array:
    """1 - cos of all rows, right to rounding even where they are nearly parallel: `[L, n1, n2]`.

    Half the mean square of the difference of normalized rows: 1 - their inner product, but for near pairs, which are
    subtracted.  own: `[n1, n2]`, which row of x1 is which row of x2; there it is `self1`, if given, and zero at equal
    positions.
    """
    left, right = ([jnp.moveaxis(part, 1, 0) for part in (x, _inverse_norm(x))] for x in (x1, x2))

    def meet(same_position: Array) -> Array | None:
        return own if own is None or self1 is not None else own & same_position[..., None, None]

    if layout.kind == "all":
        products = jnp.einsum("pid,qjd->pqij", left[0], right[0], precision=HIGHEST)
        left = [part[:, None] for part in left]
        known = None if self1 is None else self1.reshape(*products.shape[:3])
        made = _distances(
            left, right, _one_minus(products, left, right), known, meet(jnp.eye(len(products), dtype=bool))
        )
        return made.reshape(len(layout), *products.shape[2:])

    def of_pairs(p: Any, q: Any, same_position: Array) -> Array:
        ours, theirs = [part[p] for part in left], [part[q] for part in right]
        products = jnp.matmul(ours[0], theirs[0].mT, precision=HIGHEST)
        return _distances(ours, theirs, _one_minus(products, ours, theirs), None, meet(same_position))

    made = _by_chunks(of_pairs, layout)
    return made if self1 is None else with_diagonal(made, self1, own)


def _one_minus(products: Array, left: Sequence[Array], right: Sequence[Array]) -> Array:
    """1 - cos from the inner products of rows, and what makes each a unit."""
    return 1 - products * (left[1] / left[0].shape[-1] * right[1].mT)


def _distances(
    left: Sequence[Array],
    right: Sequence[Array],
    rough: Array,
    known: Array | None,
    own: Array | None,
    scale: Array | float = 1.0,
) -> Array:
    """Half the mean square of the difference of rows, `[..., n1, n2]`: `rough`, but for near rows.

    left, right: rows, as factors that are multiplied only where there is a pair to compare.  scale: what `rough` was
    subtracted from.  known: `[..., n1]`, the value at `own`, or zero.  A few near rows are gathered; if there are
    many, all are compared.
    """
    rough = jnp.clip(rough, 0.0, 2.0)  # rounding puts parallel rows outside by an ulp
    near = rough < NEAR[rough.dtype.name] * scale
    if own is not None:  # before the switch, after which nothing is fused into what reads the result
        rough, near = with_diagonal(rough, known, own), near & ~own
    few = sum(math.prod(rows[0].shape[:-1]) for rows in (left, right))

    def gathered() -> Array:
        *pair, i, j = at = jnp.nonzero(near, size=few, fill_value=0)
        difference = _row(left, (*pair, i)) - _row(right, (*pair, j))
        return rough.at[at].set(jnp.where(near[at], _half_mean_square(difference), rough[at]))

    def all_rows() -> Array:
        rows1, rows2 = math.prod(left), math.prod(right)
        exact = jax.lax.map(lambda row: _half_mean_square(row[..., None, :] - rows2), jnp.moveaxis(rows1, -2, 0))
        return jnp.where(near, jnp.moveaxis(exact, 0, -2), rough)

    found = jnp.sum(near)
    return jax.lax.switch((found > 0).astype(int) + (found > few), [lambda: rough, gathered, all_rows])


def _row(factors: Sequence[Array], at: tuple[Array, ...]) -> Array:
    """Rows of an array `[..., n, d]` whose leading axes broadcast, given as factors."""
    sizes = factors[0].shape[:-1]
    place = tuple(jnp.minimum(i, size - 1) for i, size in zip(at[len(at) - len(sizes) :], sizes, strict=True))
    return math.prod(factor[place] for factor in factors)


@cosine_distances.defjvp
def _cosine_distances_jvp(layout: Layout, primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Array, Array]:
    (x1, t1), (x2, t2) = (jax.jvp(_normalized, (x,), (t,)) for x, t in zip(primals[:2], tangents[:2], strict=True))
    return cosine_distances(*primals, layout), -_products(t1, x2, layout) - _products(x1, t2, layout)
