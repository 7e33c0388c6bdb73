"""Accurate rules of what mixes positions: on half the mean squared distance D, sums over positions act linearly."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.kernels import mixing, windows
from widenet.kernels.covariance import Data, Dist, Form, as_cov, ends, ends_self, restrict, zero_at_equal
from widenet.kernels.distance import (
    blocks,
    distance_rule,
    first_linear,
    from_half_distance,
    half_distance,
)
from widenet.kernels.layout import Layout, equal
from widenet.kernels.position_rules import only_equal
from widenet.kernels.rules import scalar
from widenet.kernels.schedule import Context, Need, Pair, Planner, Step, positions
from widenet.program.ops import Conv, LocalConv, Mix
from widenet.program.var import Var


@distance_rule.register
def _conv(op: Conv, planner: Planner, u: Var) -> Step:
    x, slide = u.args[0], windows.slide_of(u, u)
    sigmas = scalar(op.sigma_w), scalar(op.sigma_b)
    needed = windows.taps_needed(slide)

    def compute(context: Context, k: Form) -> Dist:
        if isinstance(k, Data):
            return first_linear(sigmas, _patches(k, slide), op.has_bias, context.layout, planner.mode.ntk, context.own)
        assert isinstance(k, Dist)
        return _conv_numbers(sigmas, k, op.has_bias, slide, context.layout, needed(context.layout))

    return Step((Need(Pair(x, x), needed),), compute, takes_data=True)


@partial(jax.jit, static_argnames="slide")
def _patches(data: Data, slide: windows.Slide) -> Data:
    """What each position reads, side by side: a convolution is a dense layer on it."""
    table = slide.left.table(slide.from_left)

    def patches(x: Array) -> Array:
        taken = jnp.where((table >= 0)[None, :, :, None], x[:, np.maximum(table, 0)], 0.0)
        return taken.reshape(x.shape[0], len(table), -1)

    return Data(*map(patches, data))


@partial(jax.jit, static_argnames=("has_bias", "slide", "layout", "have"))
def _conv_numbers(
    sigmas: tuple[Any, Any], k: Dist, has_bias: bool, slide: windows.Slide, layout: Layout, have: Layout
) -> Dist:
    """D' = sigma_w^2 / T (sum over taps of D, and half the variance of each tap whose partner is padding). (C5)"""
    window, taps = slide.left, slide.left.taps
    w = jnp.asarray(sigmas[0], k.q1.dtype) ** 2 / taps
    b = jnp.asarray(sigmas[1], k.q1.dtype) ** 2
    q1, q2 = (w * windows.position_sum(window, slide.from_left, q) + b * has_bias for q in (k.q1, k.q2))

    def distance(part: Array, old: Any, of: Any, first: Array, second: Array, new: Any) -> Array:
        total = windows.window_sum(slide, layout, have, half_distance(part, *old))
        alone = windows.outside_sums(slide, layout, first, second)
        if alone is not None:
            left, right = alone
            if of is ends:
                left, right = left[:, :, None], right[:, None, :]
            total = total + (left + right) / 2
        return from_half_distance(w * total, *new)

    cross = distance(k.cross, ends(have, k.q1, k.q2), ends, k.q1, k.q2, ends(layout, q1, q2))
    self1, self2 = (
        None
        if layout.is_equal
        else zero_at_equal(distance(part, ends_self(have, q, q), ends_self, q, q, ends_self(layout, new, new)), layout)
        for part, q, new in ((k.self1, k.q1, q1), (k.self2, k.q2, q2))
    )
    out = Dist(cross, self1, self2, None, q1, q2)
    if k.ntk is None:
        return out
    return out._replace(ntk=w * windows.window_sum(slide, layout, have, k.ntk) + as_cov(out, layout).cross)  # (C1)


@distance_rule.register
def _local_conv(op: LocalConv, planner: Planner, u: Var) -> Step:
    shared = _conv(op, planner, u)
    at = equal(positions(u))

    def compute(context: Context, k: Form) -> Dist:
        made = shared.compute(Context(at, context.samples), k)
        if context.layout.is_equal:
            return made
        apart = partial(only_equal, layout=context.layout)
        zeros = (jnp.zeros_like(q) for q in (made.q1, made.q2))
        return Dist(  # (C2)
            apart(made.cross, elsewhere=1.0),
            *(apart(zero, elsewhere=1.0) for zero in zeros),
            None if made.ntk is None else apart(made.ntk, elsewhere=0.0),
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

    def needed(layout: Layout) -> Layout:
        return pairs(layout) if selects else pairs(layout.union(at)).union(inner)

    def compute(context: Context, k: Form) -> Form:
        layout = context.layout
        if isinstance(k, Data):
            return Data(*(jnp.moveaxis(m.on(jnp.moveaxis(part, 1, 0), 0), 0, 1) for part in k))
        assert isinstance(k, Dist)
        if selects:
            return _select_numbers(k, m, layout, needed(layout))
        larger = layout.union(at)
        return restrict(_mix_numbers(k, m, larger, needed(layout), context.own), larger, layout)

    return Step((Need(Pair(x, x), needed),), compute, takes_data=True)


@partial(jax.jit, static_argnames=("m", "layout", "have"))
def _select_numbers(k: Dist, m: mixing.Matrices, layout: Layout, have: Layout) -> Dist:
    def take(part: Array | None) -> Array | None:
        return None if part is None else mixing.apply(m, m, layout, have, part)

    self1, self2 = (None, None) if layout.is_equal else map(take, k[1:3])
    return Dist(take(k.cross), self1, self2, take(k.ntk), k.q1[m.chosen], k.q2[m.chosen])


@partial(jax.jit, static_argnames=("m", "layout", "have"))
def _mix_numbers(k: Dist, m: mixing.Matrices, layout: Layout, have: Layout, samples_own: Array | None) -> Dist:
    """z = M x: D' = M D M^T - (M D1 M^T + M D2 M^T)/2 on diagonals + (m1 - m2)(s1 - s2)/2, m = M 1, s = M q (K10)."""
    at = equal(m.out)
    distances = k._replace(
        **dict(
            zip(
                ("cross", "self1", "self2"),
                blocks(lambda g, q: half_distance(g, *q), k, have, (k.q1, k.q2)),
                strict=True,
            )
        )
    )
    covs = as_cov(k, have)
    q1, q2 = (mixing.apply(m, m, at, have, part) for part in covs[1:3])
    selfs = [jnp.zeros_like(q) for q in (k.q1, k.q2)] if have.is_equal else distances[1:3]
    own = tuple(mixing.apply(m, m, at, have, part) for part in selfs)
    means = tuple(m.on(q, 0) for q in (k.q1, k.q2))
    total = tuple(jnp.broadcast_to(jnp.asarray(m.sums, part.dtype)[:, None], part.shape) for part in own)

    def distance(part: Array, own: Any, s: Any, row: Any, new: Any) -> Array:
        moved = mixing.apply(m, m, layout, have, part)
        d = moved - (own[0] + own[1]) / 2 + (row[0] - row[1]) * (s[0] - s[1]) / 2
        return from_half_distance(d, *new)

    mixed = distances._replace(self1=selfs[0], self2=selfs[1])
    cross, self1, self2 = blocks(distance, mixed, layout, own, means, total, (q1, q2))
    if samples_own is not None:
        cross = jnp.where(samples_own & (layout.left == layout.right)[:, None, None], 0.0, cross)
    ntk = None if k.ntk is None else mixing.apply(m, m, layout, have, k.ntk)
    return Dist(cross, self1, self2, ntk, q1, q2)
