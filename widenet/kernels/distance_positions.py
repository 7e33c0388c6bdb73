"""Accurate rules of what mixes positions: on half the mean squared distance D, sums over positions act linearly."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.kernels import mixing, seams, windows
from widenet.kernels.covariance import (
    Data,
    Dist,
    Form,
    ends,
    ends_self,
    reciprocals,
    roots,
    safe_divide,
    zero_at_equal,
)
from widenet.kernels.distance import distance_rule, first_linear
from widenet.kernels.inputs import half_mean_square
from widenet.kernels.layout import Layout, equal
from widenet.kernels.position_rules import only_equal
from widenet.kernels.rules import scalar
from widenet.kernels.schedule import Context, Need, Pair, Places, Planner, Step, positions
from widenet.program.ops import Conv, LocalConv, Mix
from widenet.program.var import Var


@distance_rule.register
def _conv(op: Conv, planner: Planner, u: Var) -> Step:
    x, slide = u.args[0], windows.slide_of(u, u)
    sigmas = scalar(op.sigma_w), scalar(op.sigma_b)
    needed = windows.taps_needed(slide)

    def compute(context: Context, k: Form) -> Dist:
        if context.shifts is not None:
            inside = seams.masks(slide, context.shifts.at(u.positions))
            return _shifted_conv_numbers(sigmas, k, op.has_bias, slide, inside, planner.mode.ntk)
        if isinstance(k, Data):
            return first_linear(sigmas, _patches(k, slide), op.has_bias, context.at, planner.mode.ntk, context.own)
        assert isinstance(k, Dist)
        return _conv_numbers(sigmas, k, op.has_bias, slide, context.at, Places(*map(needed, context.at)))

    return Step((Need(Pair(x, x), needed),), compute, takes_data=True)


@partial(jax.jit, static_argnames="slide")
def _patches(data: Data, slide: windows.Slide) -> Data:
    """What each position reads, side by side: a convolution is a dense layer on it."""
    table = slide.left.table(slide.from_left)

    def patches(x: Array) -> Array:
        taken = jnp.where((table >= 0)[None, :, :, None], x[:, np.maximum(table, 0)], 0.0)
        return taken.reshape(x.shape[0], len(table), -1)

    return Data(*map(patches, data))


@partial(jax.jit, static_argnames=("has_bias", "slide", "at", "have"))
def _conv_numbers(
    sigmas: tuple[Any, Any], k: Dist, has_bias: bool, slide: windows.Slide, at: Places, have: Places
) -> Dist:
    """D' = sigma_w^2 / T (sum over taps of D, and half the variance of each tap whose partner is padding). (C5)"""
    window, taps = slide.left, slide.left.taps
    w = jnp.asarray(sigmas[0], k.q1.dtype) ** 2 / taps
    b = jnp.asarray(sigmas[1], k.q1.dtype) ** 2
    q1, q2 = (w * windows.position_sum(window, slide.from_left, q) + b * has_bias for q in (k.q1, k.q2))
    old, new = roots(k.q1, k.q2), roots(q1, q2)
    inverse = reciprocals(*new)

    def distance(part: Array, of: Any, layout: Layout, have: Layout, i: int, j: int) -> Array:
        p1, p2 = of(have, old[i], old[j])
        n1, n2 = of(layout, new[i], new[j])
        r1, r2 = of(layout, inverse[i], inverse[j])
        total = windows.window_sum(slide, layout, have, p1 * p2 * part + (p1 - p2) ** 2 / 2)
        alone = windows.outside_sums(slide, layout, (k.q1, k.q2)[i], (k.q1, k.q2)[j])
        if alone is not None:
            left, right = alone if of is ends_self else (alone[0][:, :, None], alone[1][:, None, :])
            total = total + (left + right) / 2
        return jnp.clip((w * total - (n1 - n2) ** 2 / 2) * (r1 * r2), 0.0, 2.0)  # outside by rounding

    cross = distance(k.cross, ends, at.between, have.between, 0, 1)
    self1, self2 = (
        None
        if at.within.is_equal
        else zero_at_equal(distance(part, ends_self, at.within, have.within, i, i), at.within)
        for i, part in enumerate((k.self1, k.self2))
    )
    if k.ntk is None:
        return Dist(cross, self1, self2, None, q1, q2)
    n1, n2 = ends(at.between, *new)
    ntk = w * windows.window_sum(slide, at.between, have.between, k.ntk) + n1 * n2 * (1 - cross)  # (C1)
    return Dist(cross, self1, self2, ntk, q1, q2)


@partial(jax.jit, static_argnames=("has_bias", "slide", "ntk"))
def _shifted_conv_numbers(
    sigmas: tuple[Any, Any], k: Dist | Data, has_bias: bool, slide: windows.Slide, inside: seams.Masks, ntk: bool
) -> Dist:
    """The same between an image and shifted copies of others. (C9)"""
    if isinstance(k, Data):
        x1, x2 = (jnp.moveaxis(x, 1, 0) for x in k)  # [P, n, channels]
        old1, old2 = (jnp.mean(x**2, -1) for x in (x1, x2))
        apart = half_mean_square(x1[:, :, None], x2[:, None])
    else:
        old1, old2 = k.q1, k.q2
        p1, p2 = ends(equal(len(old1)), *roots(old1, old2))
        apart = p1 * p2 * k.cross + (p1 - p2) ** 2 / 2
    w = jnp.asarray(sigmas[0], apart.dtype) ** 2 / slide.left.taps
    b = jnp.asarray(sigmas[1], apart.dtype) ** 2 * has_bias
    total, q1, q2 = seams.distance_sum(slide, inside, apart, old1, old2)
    q1, q2 = w * q1 + b, w * q2 + b
    new = roots(q1, q2)
    n1, n2 = ends(equal(len(q1)), *new)
    cross = jnp.clip(safe_divide(w * total - (n1 - n2) ** 2 / 2, n1 * n2), 0.0, 2.0)  # outside by rounding
    if not ntk:
        return Dist(cross, None, None, None, q1, q2)
    made = n1 * n2 * (1 - cross)
    if isinstance(k, Dist):
        made = w * seams.product_sum(slide, inside, k.ntk) + made
    return Dist(cross, None, None, made, q1, q2)


@distance_rule.register
def _local_conv(op: LocalConv, planner: Planner, u: Var) -> Step:
    shared = _conv(op, planner, u)
    at = equal(positions(u))

    def compute(context: Context, k: Form) -> Dist:
        made = shared.compute(Context(Places(at, at), context.samples), k)
        layout, within = context.at
        return Dist(  # (C2)
            only_equal(made.cross, layout, 1.0),
            *(None if within.is_equal else only_equal(jnp.zeros_like(q), within, 1.0) for q in (made.q1, made.q2)),
            None if made.ntk is None else only_equal(made.ntk, layout, 0.0),
            made.q1,
            made.q2,
        )

    (need,) = shared.needs
    return Step((Need(need.pair, lambda _: need.layout(at)),), compute, takes_data=True)


@distance_rule.register
def _mix(op: Mix, planner: Planner, u: Var) -> Step:
    x, m = u.args[0], mixing.matrices(op.matrices)
    at, inner = equal(positions(u)), equal(positions(x))
    pairs = mixing.pairs_needed(m, m)
    selects = m.chosen is not None

    def needed(places: Places) -> Places:
        between, within = places
        if selects:
            return Places(pairs(between), inner if within.is_equal else pairs(within))
        return Places(pairs(between), pairs(within.union(at)).union(inner))

    def compute(context: Context, k: Form) -> Form:
        if isinstance(k, Data):
            return Data(*(jnp.moveaxis(m.on(jnp.moveaxis(part, 1, 0), 0), 0, 1) for part in k))
        assert isinstance(k, Dist)
        numbers = _select_numbers if selects else _mix_numbers
        return numbers(k, m, context.at, needed(context.at), context.own)

    return Step((Need(Pair(x, x), pairs, needed),), compute, takes_data=True)


@partial(jax.jit, static_argnames=("m", "at", "have"))
def _select_numbers(k: Dist, m: mixing.Matrices, at: Places, have: Places, own: Array | None) -> Dist:
    def take(part: Array | None, i: int) -> Array | None:
        return None if part is None else mixing.apply(m, m, at[i], have[i], part)

    selfs = (None, None) if at.within.is_equal else (take(part, 1) for part in k[1:3])
    return Dist(take(k.cross, 0), *selfs, take(k.ntk, 0), k.q1[m.chosen], k.q2[m.chosen])


@partial(jax.jit, static_argnames=("m", "at", "have"))
def _mix_numbers(k: Dist, m: mixing.Matrices, at: Places, have: Places, samples_own: Array | None) -> Dist:
    """z = M x: D' = M D M^T - (M D1 M^T + M D2 M^T)/2 on diagonals + (m1 - m2)(s1 - s2)/2, m = M 1, s = M q (K10)."""
    between, within = at
    same = equal(m.out)
    old = roots(k.q1, k.q2)

    def apart(gap: Array, of: Any, places: Layout, i: int, j: int) -> tuple[Array, Array]:
        """Half the mean squared distance, and the covariance."""
        p1, p2 = of(places, old[i], old[j])
        return p1 * p2 * gap + (p1 - p2) ** 2 / 2, p1 * p2 * (1 - gap)

    selfs = [
        (jnp.zeros_like(q), q) if have.within.is_equal else apart(gap, ends_self, have.within, i, i)
        for i, (gap, q) in enumerate(((k.self1, k.q1), (k.self2, k.q2)))
    ]
    own, variances = (
        [mixing.apply(m, m, same, have.within, part) for part in parts] for parts in zip(*selfs, strict=True)
    )
    means = [m.on(q, 0) for q in (k.q1, k.q2)]
    total = jnp.asarray(m.sums, k.q1.dtype)[:, None]
    new = roots(*variances)

    def distance(part: Array, of: Any, i: int, j: int) -> Array:
        layout, given = (between, have.between) if of is ends else (within, have.within)

        def sides(values: Sequence[Array]) -> tuple[Array, Array]:
            return of(layout, values[i], values[j])

        (o1, o2), (s1, s2), (n1, n2) = sides(own), sides(means), sides(new)
        m1, m2 = sides([jnp.broadcast_to(total, q.shape) for q in means])
        d = mixing.apply(m, m, layout, given, part) - (o1 + o2) / 2 + (m1 - m2) * (s1 - s2) / 2
        return jnp.clip(safe_divide(d - (n1 - n2) ** 2 / 2, n1 * n2), 0.0, 2.0)  # outside by rounding

    cross = distance(apart(k.cross, ends, have.between, 0, 1)[0], ends, 0, 1)
    if samples_own is not None:
        cross = jnp.where(samples_own & (between.left == between.right)[:, None, None], 0.0, cross)
    self1, self2 = (
        None if within.is_equal else zero_at_equal(distance(d, ends_self, i, i), within)
        for i, (d, _) in enumerate(selfs)
    )
    ntk = None if k.ntk is None else mixing.apply(m, m, between, have.between, k.ntk)
    return Dist(cross, self1, self2, ntk, *variances)
