"""Accurate rules of what mixes positions: on half the mean squared distance D, sums over positions act linearly."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.kernels import mixing, seams, windows
from widenet.kernels.covariance import (
    Data,
    Dist,
    Form,
    cosine_distance,
    ends,
    ends_self,
    half_distance,
    roots,
    zero_at_equal,
)
from widenet.kernels.distance import distance_rule, first_linear
from widenet.kernels.inputs import UNROLLED, half_mean_square
from widenet.kernels.layout import Layout, equal
from widenet.kernels.position_rules import only_equal
from widenet.kernels.rules import scalar, squared
from widenet.kernels.schedule import Context, Need, Pair, Places, Planner, Step, positions
from widenet.program.ops import Conv, LocalConv, Mix
from widenet.program.var import Var


@distance_rule.register
def _conv(op: Conv, planner: Planner, u: Var) -> Step:
    x, slide = u.args[0], windows.slide_of(u, u)
    sigmas = scalar(op.sigma_w), scalar(op.sigma_b) if op.has_bias else 0.0
    needed, ntk = windows.taps_needed(slide), planner.mode.ntk

    def compute(context: Context, k: Form) -> Dist:
        if context.shifts is not None:
            inside = seams.masks(slide, context.shifts.at(u.positions))
            return _shifted_conv_numbers(sigmas, k, slide, inside, ntk)
        if isinstance(k, Data) and (k.x1.shape[-1] > UNROLLED or not all(layout.is_equal for layout in context.at)):
            return first_linear(sigmas, _patches(k, slide), op.has_bias, context.at, ntk, context.own)
        return _conv_numbers(sigmas, k, slide, context.at, Places(*map(needed, context.at)), ntk)

    return Step((Need(Pair(x, x), needed),), compute, takes_data=True)


@partial(jax.jit, static_argnames="slide")
def _patches(data: Data, slide: windows.Slide) -> Data:
    """What each position reads, side by side: a convolution is a dense layer on it."""
    table = slide.left.table(slide.from_left)

    def patches(x: Array) -> Array:
        taken = jnp.where((table >= 0)[None, :, :, None], x[:, np.maximum(table, 0)], 0.0)
        return taken.reshape(x.shape[0], len(table), -1)

    return Data(*map(patches, data))


class _Apart(NamedTuple):
    """Half mean squared distances, before they are divided by the variances that they belong to."""

    cross: Array  # [L, n1, n2]
    q1: Array  # [P, n1]
    q2: Array

    @classmethod
    def of(cls, k: Dist | Data, layout: Layout) -> _Apart:
        """Between samples; of the data by subtraction, at equal positions."""
        if isinstance(k, Dist):
            p1, p2 = ends(layout, *roots(k.q1, k.q2))
            return cls(half_distance(k.cross, p1, p2), k.q1, k.q2)
        x1, x2 = (jnp.moveaxis(x, 1, 0) for x in k)  # [P, n, channels]
        return cls(half_mean_square(x1[:, :, None], x2[:, None]), *(jnp.mean(x**2, -1) for x in (x1, x2)))

    def dist(self, layout: Layout, ntk: Array | float | None) -> Dist:
        """In distance form; ntk: of what was before, to which the new layer adds its own (K2)."""
        n1, n2 = ends(layout, *roots(self.q1, self.q2))
        cross = cosine_distance(self.cross, n1, n2)
        return Dist(cross, None, None, None if ntk is None else ntk + n1 * n2 * (1 - cross), self.q1, self.q2)


@partial(jax.jit, static_argnames=("slide", "at", "have", "ntk"))
def _conv_numbers(
    sigmas: tuple[Any, Any], k: Dist | Data, slide: windows.Slide, at: Places, have: Places, ntk: bool
) -> Dist:
    """D' = sigma_w^2 / T (sum over taps of D, and half the variance of each tap whose partner is padding). (C5)"""
    old = _Apart.of(k, have.between)
    w, b = (squared(s, old.cross.dtype) for s in sigmas)
    w = w / slide.left.taps
    q1, q2 = (w * windows.position_sum(slide.left, slide.from_left, q) + b for q in old[1:])

    def summed(part: Array, layout: Layout, have: Layout, i: int, j: int) -> Array:
        total = windows.window_sum(slide, layout, have, part)
        alone = windows.outside_sums(slide, layout, old[1 + i], old[1 + j])
        if alone is not None:
            left, right = alone if part.ndim == 2 else (alone[0][:, :, None], alone[1][:, None, :])
            total = total + (left + right) / 2
        return w * total

    def within(i: int) -> Array | None:
        if at.within.is_equal:
            return None
        p1, p2 = ends_self(have.within, *roots(old[1 + i], old[1 + i]))
        assert isinstance(k, Dist)
        gap = (k.self1, k.self2)[i]
        d = summed(half_distance(gap, p1, p2), at.within, have.within, i, i)
        return zero_at_equal(cosine_distance(d, *ends_self(at.within, *roots(*((q1, q2)[i],) * 2))), at.within)

    before = None
    if ntk:
        before = w * windows.window_sum(slide, at.between, have.between, k.ntk) if isinstance(k, Dist) else 0.0
    made = _Apart(summed(old.cross, at.between, have.between, 0, 1), q1, q2).dist(at.between, before)  # (C1)
    return made._replace(self1=within(0), self2=within(1))


@partial(jax.jit, static_argnames=("slide", "ntk"))
def _shifted_conv_numbers(
    sigmas: tuple[Any, Any], k: Dist | Data, slide: windows.Slide, inside: seams.Masks, ntk: bool
) -> Dist:
    """The same at equal positions, between an image and shifted copies of others. (C9)"""
    old = _Apart.of(k, equal(math.prod(slide.from_left)))
    w, b = (squared(s, old.cross.dtype) for s in sigmas)
    w = w / slide.left.taps
    total, q1, q2 = seams.distance_sum(slide, inside, *old)
    before = None
    if ntk:
        before = w * seams.product_sum(slide, inside, k.ntk) if isinstance(k, Dist) else 0.0
    return _Apart(w * total, w * q1 + b, w * q2 + b).dist(equal(len(q1)), before)


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


class Pooled(NamedTuple):
    """What is known of z = M x within samples."""

    own: tuple[Array, Array]  # the diagonal of M D M^T, D half the mean squared distances within a sample: [P, n1]
    means: tuple[Array, Array]  # M q
    total: Array  # M 1: [P]
    variances: tuple[Array, Array]
    self1: Array | None  # as in `Dist`
    self2: Array | None

    def distance(self, d: Array, of: Any, layout: Layout, i: int, j: int) -> Array:
        """Cosine distances of z, d: M D M^T; i and j: of x1 or of x2. (K10)"""

        def sides(values: Sequence[Array]) -> tuple[Array, Array]:
            return of(layout, values[i], values[j])

        (o1, o2), (s1, s2), (n1, n2) = sides(self.own), sides(self.means), sides(roots(*self.variances))
        m1, m2 = sides([jnp.broadcast_to(self.total[:, None], q.shape) for q in self.means])
        return cosine_distance(d - (o1 + o2) / 2 + (m1 - m2) * (s1 - s2) / 2, n1, n2)


def pooled_within(k: Dist, m: mixing.Matrices, within: Layout, have: Layout) -> Pooled:
    """The pooling of each sample by itself, from and at these pairs of its positions."""
    same, old = equal(m.out), roots(k.q1, k.q2)

    def apart(gap: Array | None, q: Array, p: Array) -> tuple[Array, Array]:
        """Half the mean squared distance, and the covariance."""
        if gap is None:
            return jnp.zeros_like(q), q
        p1, p2 = ends_self(have, p, p)
        return half_distance(gap, p1, p2), p1 * p2 * (1 - gap)

    parts = [apart(gap, q, p) for gap, q, p in zip(k[1:3], (k.q1, k.q2), old, strict=True)]
    own, variances = ([mixing.apply(m, m, same, have, part) for part in kind] for kind in zip(*parts, strict=True))
    means = tuple(m.on(q, 0) for q in (k.q1, k.q2))
    made = Pooled(tuple(own), means, jnp.asarray(m.sums, k.q1.dtype), tuple(variances), None, None)
    if within.is_equal:
        return made
    moved = (mixing.apply(m, m, within, have, d) for d, _ in parts)
    selfs = (zero_at_equal(made.distance(d, ends_self, within, i, i), within) for i, d in enumerate(moved))
    return made._replace(**dict(zip(("self1", "self2"), selfs, strict=True)))


@partial(jax.jit, static_argnames=("m", "at", "have"))
def _mix_numbers(k: Dist, m: mixing.Matrices, at: Places, have: Places, own: Array | None) -> Dist:
    """z = M x: D' = M D M^T - (M D1 M^T + M D2 M^T)/2 on diagonals + (m1 - m2)(s1 - s2)/2, m = M 1, s = M q (K10)."""
    p1, p2 = ends(have.between, *roots(k.q1, k.q2))
    d = mixing.apply(m, m, at.between, have.between, half_distance(k.cross, p1, p2))
    ntk = None if k.ntk is None else mixing.apply(m, m, at.between, have.between, k.ntk)
    return pooled(pooled_within(k, m, at.within, have.within), d, ntk, at.between, own)


def pooled(within: Pooled, d: Array, ntk: Array | None, layout: Layout, own: Array | None) -> Dist:
    """The same between samples, where M D M^T is d; own: as in `Context`."""
    cross = within.distance(d, ends, layout, 0, 1)
    if own is not None:
        cross = jnp.where(own & (layout.left == layout.right)[:, None, None], 0.0, cross)
    return Dist(cross, within.self1, within.self2, ntk, *within.variances)
