"""The rules of primitives that mix positions: convolutions, pooling, masks, graphs, attention, normalization."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from widenet.kernels import mixing, seams, windows
from widenet.kernels.covariance import (
    Cov,
    Data,
    Dist,
    Features,
    Form,
    Mean,
    as_cov,
    ends,
    ends_self,
    safe_divide,
    variances,
)
from widenet.kernels.independence import is_centred
from widenet.kernels.inputs import as_wanted, formed, mixed_features
from widenet.kernels.layout import Layout, equal, every
from widenet.kernels.rules import linear_numbers, only_bias, pair, push, scalar, sigmas_of
from widenet.kernels.schedule import Context, Need, Pair, Places, Planner, Step, like, mean_of, own, positions, wide
from widenet.program.ops import Conv, DepthwiseConv, Embed, LocalConv, Mix, Normalize, SampleMix, Table
from widenet.program.var import Var, describe

HIGHEST = jax.lax.Precision.HIGHEST


@pair.register(Conv)
@pair.register(DepthwiseConv)
def _conv(op: Conv, planner: Planner, u: Var, v: Var) -> Step:
    a, b, slide = u.args[0], v.args[0], windows.slide_of(u, v)
    sigmas = sigmas_of(u.op, v.op)
    if planner.is_zero(a, b):
        zero = partial(_no_covariance, planner, sigmas)
        return Step((own(u.args[0]), own(v.args[0])), lambda context, q, r: zero(context.layout, q, r))
    needed = windows.taps_needed(slide)

    def compute(context: Context, k: Cov | Dist) -> Cov:
        have = needed(context.layout)
        k = as_cov(k, have)
        if context.shifts is not None:
            return _shifted_conv_numbers(sigmas, k, slide, seams.masks(slide, context.shifts.at(u.positions)))
        return _conv_numbers(sigmas, k, slide, context.layout, have)

    return Step((Need(Pair(a, b), needed),), compute)


def _no_covariance(planner: Planner, sigmas: Any, layout: Layout, q: Cov | Dist, r: Cov | Dist) -> Cov:
    _, n1, n2 = r.cross.shape
    cross = jnp.zeros((len(layout), n1, n2), r.cross.dtype)
    selfs = (jnp.zeros((len(layout), n), r.cross.dtype) for n in (n1, n2))
    return only_bias(sigmas, Cov(cross, *selfs, cross if planner.mode.ntk else None))


@partial(jax.jit, static_argnames=("slide", "layout", "have"))
def _conv_numbers(sigmas: Any, k: Cov, slide: windows.Slide, layout: Layout, have: Layout) -> Cov:
    taps = slide.left.taps
    return linear_numbers(sigmas, jax.tree.map(lambda p: windows.window_sum(slide, layout, have, p) / taps, k))  # (C1)


@partial(jax.jit, static_argnames="slide")
def _shifted_conv_numbers(sigmas: Any, k: Cov, slide: windows.Slide, inside: seams.Masks) -> Cov:
    """The same between an image and shifted copies of others (C9)."""
    cross, ntk = (None if part is None else seams.product_sum(slide, inside, part) for part in (k.cross, k.ntk))
    self1 = None if k.self1 is None else windows.position_sum(slide.left, slide.from_left, k.self1)
    self2 = None if k.self2 is None else seams.variance_sum(slide, inside, k.self2)
    taps = slide.left.taps
    return linear_numbers(sigmas, jax.tree.map(lambda part: part / taps, Cov(cross, self1, self2, ntk)))


@pair.register
def _local_conv(op: LocalConv, planner: Planner, u: Var, v: Var) -> Step:
    shared = _conv(op, planner, u, v)
    at = equal(positions(u))
    if positions(u) != positions(v):
        raise NotImplementedError(f"{u} and {v} share local weights but have different positions: use two weights.")

    def compute(context: Context, *covs: Any) -> Cov:
        k = shared.compute(Context(Places(at, at), context.samples), *covs)
        return jax.tree.map(lambda part: only_equal(part, context.layout, 0.0), k)  # (C2)

    return Step(tuple(Need(need.pair, lambda _, f=need.layout: f(at)) for need in shared.needs), compute)


def only_equal(part: Array, layout: Layout, elsewhere: float) -> Array:
    """Values `[P, ...]` of equal positions, and a constant at all other pairs."""
    if layout.is_equal:
        return part
    at = (layout.left == layout.right).reshape(-1, *[1] * (part.ndim - 1))
    return jnp.where(at, part[layout.left], elsewhere)


@pair.register
def _mix(op: Mix, planner: Planner, u: Var, v: Var) -> Step:
    x, m = u.args[0], mixing.matrices(op.matrices)
    return _mixed(Pair(x, x), m, m)


@push.register
def _push_mix(op: Mix, planner: Planner, u: Var, v: Var, left: bool) -> Step:
    m = mixing.matrices(op.matrices)
    if left:
        return _mixed(Pair(u.args[0], v), m, mixing.identity(positions(v)))
    return _mixed(Pair(u, v.args[0]), mixing.identity(positions(u)), m)


def _mixed(pair_: Pair, m: mixing.Matrices, n: mixing.Matrices) -> Step:
    needed = mixing.pairs_needed(m, n)

    def compute(context: Context, k: Cov | Dist) -> Cov:
        have = needed(context.layout)
        return _mix_numbers(as_cov(k, have), m, n, context.layout, have)

    return Step((Need(pair_, needed),), compute)


@partial(jax.jit, static_argnames=("m", "n", "layout", "have"))
def _mix_numbers(k: Cov, m: mixing.Matrices, n: mixing.Matrices, layout: Layout, have: Layout) -> Cov:
    return jax.tree.map(lambda part: mixing.apply(m, n, layout, have, part), k)


class Operators(NamedTuple):
    """Matrices over positions of each sample, `[n1, P', P]` and `[n2, P', P]`; None leaves that side alone."""

    a1: Array
    a2: Array


def _on_both(k: Cov, left: Operators | None, right: Operators | None, sizes: tuple[int, int], layout: Layout) -> Cov:
    """A K B^T for operators that differ between samples, of a covariance at all pairs of positions."""

    def apply(part: Array, a: Array | None, b: Array | None) -> Array:
        part = part.reshape(*sizes, *part.shape[1:])
        if a is not None:
            spec = "iop,pqij->oqij" if part.ndim == 4 else "iop,pqi->oqi"
            part = jnp.einsum(spec, a, part, precision=HIGHEST)
        if b is not None:
            spec = "joq,pqij->poij" if part.ndim == 4 else "joq,pqj->poj"
            part = jnp.einsum(spec, b, part, precision=HIGHEST)
        made = every(*part.shape[:2])
        return made.take(part.reshape(len(made), *part.shape[2:]), layout)

    a1, a2 = left or (None, None)
    b1, b2 = right or (None, None)
    ntk = None if k.ntk is None else apply(k.ntk, a1, b2)
    return Cov(apply(k.cross, a1, b2), apply(k.self1, a1, b1), apply(k.self2, a2, b2), ntk)


on_both = jax.jit(_on_both, static_argnames=("sizes", "layout"))


def sample_operators(op: SampleMix, var: Var, context: Context, dtype: Any) -> Operators:
    """The operators of both batches, as arrays. (M1), (G1)"""
    return Operators(*(_operator(op, var, side, dtype) for side in context.samples))


def _operator(op: SampleMix, var: Var, side: Any, dtype: Any) -> Array:
    count = positions(var.args[0])
    given = None if side is None else (side.graph if op.kind == "graph" else side.mask)
    if given is None:
        what = "graph" if op.kind == "graph" else "mask"
        raise ValueError(f"{describe(var)} reads the {what} of each sample: give the data as samples(x, {what}=...).")
    given = jnp.asarray(given).reshape(given.shape[0], *([count, count] if op.kind == "graph" else [-1]))
    if given.shape[-1] != count:
        raise ValueError(
            f"{describe(var)}: the mask has {given.shape[-1]} positions, as the data, but {var.args[0]} has {count}: "
            "mask before the positions change."
        )
    if op.kind == "graph":
        return given.astype(dtype)
    mask = given.astype(dtype)
    return mask[:, None] / mask.sum(-1)[:, None, None] if op.kind == "mean" else mask


@pair.register
def _sample_mix(op: SampleMix, planner: Planner, u: Var, v: Var) -> Step:
    return _by_sample(planner, u, v, (u, u))


@push.register
def _push_sample_mix(op: SampleMix, planner: Planner, u: Var, v: Var, left: bool) -> Step:
    return _by_sample(planner, u, v, (u, None) if left else (None, v))


def _by_sample(planner: Planner, u: Var, v: Var, sides: tuple[Var | None, Var | None]) -> Step:
    a, b = (w if side is None else w.args[0] for w, side in zip((u, v), sides, strict=True))
    op = next(w.op for w in sides if w is not None)

    def masked(context: Context, k: Form) -> Cov:
        at = context.layout
        k = as_cov(formed(k, Places(at, at), planner.mode, context), at)
        both = [None if w is None else sample_operators(op, w, context, k.cross.dtype) for w in sides]
        return _masked_numbers(k, *both, at)

    def compute(context: Context, k: Form) -> Form:
        if isinstance(k, (Data, Features)) and None not in sides:
            mix = _scaled if op.kind == "mask" else mixed
            made = mixed_features(k, mix, sample_operators(op, u, context, k.x1.dtype))
            return as_wanted(made, planner, u, context)
        if op.kind == "mask":
            return masked(context, k)
        sizes = positions(a), positions(b)
        everywhere = every(*sizes)
        k = as_cov(formed(k, Places(everywhere, everywhere), planner.mode, context), everywhere)
        both = [None if w is None else sample_operators(op, w, context, k.cross.dtype) for w in sides]
        return on_both(k, *both, sizes, context.layout)

    return Step((like(a, b) if op.kind == "mask" else wide(a, b),), compute, takes_data=True)


def mixed(a: Array, x: Array) -> Array:
    """Features `[n, P, f]` of each sample, mixed by an operator `[n, P', P]` of its own."""
    return jnp.matmul(a, x, precision=HIGHEST)


def _scaled(mask: Array, x: Array) -> Array:
    return mask[..., None] * x


@partial(jax.jit, static_argnames="layout")
def _masked_numbers(k: Cov, left: Operators | None, right: Operators | None, layout: Layout) -> Cov:
    def at(mask: Array, side: Any) -> Array:
        return side(jnp.moveaxis(mask, 0, 1))

    one1, one2 = (1.0, 1.0) if left is None else (at(m, layout.at_left) for m in left)
    two1, two2 = (1.0, 1.0) if right is None else (at(m, layout.at_right) for m in right)
    rows = one1[:, :, None] if left is not None else 1.0
    columns = two2[:, None, :] if right is not None else 1.0
    ntk = None if k.ntk is None else k.ntk * rows * columns
    return Cov(k.cross * rows * columns, k.self1 * one1 * two1, k.self2 * one2 * two2, ntk)


@pair.register
def _normalize(op: Normalize, planner: Planner, u: Var, v: Var) -> Step:
    return _normalized(planner, u, v, (True, True))


@push.register
def _push_normalize(op: Normalize, planner: Planner, u: Var, v: Var, left: bool) -> Step:
    return _normalized(planner, u, v, (left, not left))


def _normalized(planner: Planner, u: Var, v: Var, sides: tuple[bool, bool]) -> Step:
    a, b = (w.args[0] if mine else w for w, mine in zip((u, v), sides, strict=True))
    norm = u if sides[0] else v
    op, x = norm.op, norm.args[0]
    shift = op.centred and not is_centred(x)
    needs = [like(a, b), own(x)]
    if shift:
        needs += [mean_of(x), *([] if all(sides) else [mean_of(b if sides[0] else a)])]

    def compute(context: Context, k: Cov | Dist, q: Cov | Dist, *means: Mean) -> Cov:
        k = as_cov(k, context.layout)

        def constant(w: Var, value: float) -> Mean:
            return Mean(*(jnp.full((positions(w), n), value, k.cross.dtype) for n in k.cross.shape[1:]))

        roots = norm_scales(op, q, means[0] if shift else None)
        scales = tuple(roots if mine else constant(w, 1.0) for w, mine in zip((a, b), sides, strict=True))
        if not shift:
            return _scale_numbers(k, scales, context.layout)
        middle = tuple(means[0] if mine else means[-1] for mine in sides)
        shifts = tuple(
            mean_over(op, means[0]) if mine else constant(w, 0.0) for w, mine in zip((a, b), sides, strict=True)
        )
        return _scale_numbers(_shift_numbers(k, middle, shifts, context.layout), scales, context.layout)

    return Step(tuple(needs), compute)


def mean_over(op: Normalize, mean: Mean) -> Mean:
    """What a layer norm subtracts: the mean over channels, and over positions too if it is asked."""
    if not op.positions:
        return mean
    return Mean(*(jnp.broadcast_to(m.mean(0, keepdims=True), m.shape) for m in mean))


def norm_scales(op: Normalize, q: Cov | Dist, mean: Mean | None) -> Mean:
    """1 / sqrt(variance + eps) of both batches, `[P, n]`; zero where that is 1 / 0. (N1)"""
    out = []
    for i, value in enumerate(variances(q)):
        if op.positions:
            value = jnp.broadcast_to(value.mean(0, keepdims=True), value.shape)
        if mean is not None:
            value = value - mean_over(op, mean)[i] ** 2
        total = value + jnp.asarray(op.eps, value.dtype)
        out.append(safe_divide(jnp.ones_like(total), jnp.sqrt(jnp.where(total > 0, total, 1.0)) * (total > 0)))
    return Mean(*out)


def _each(layout: Layout, left: Mean, right: Mean) -> tuple[tuple[Array, Array], ...]:
    """Values of u and of v, to broadcast over the three blocks of a covariance."""
    return (
        ends(layout, left.m1, right.m2),
        ends_self(layout, left.m1, right.m1),
        ends_self(layout, left.m2, right.m2),
    )


@partial(jax.jit, static_argnames="layout")
def _scale_numbers(k: Cov, scales: tuple[Mean, Mean], layout: Layout) -> Cov:
    factors = _each(layout, *scales)
    cross, self1, self2 = (part * a * b for part, (a, b) in zip(k[:3], factors, strict=True))
    return Cov(cross, self1, self2, None if k.ntk is None else k.ntk * factors[0][0] * factors[0][1])


@partial(jax.jit, static_argnames="layout")
def _shift_numbers(k: Cov, means: tuple[Mean, Mean], shifts: tuple[Mean, Mean], layout: Layout) -> Cov:
    """E (u - s)(v - t) = E u v - s E v - t E u + s t."""
    parts = zip(k[:3], _each(layout, *means), _each(layout, *shifts), strict=True)
    return Cov(*(part - s * mv - t * mu + s * t for part, (mu, mv), (s, t) in parts), k.ntk)


@pair.register
def _embed(op: Embed, planner: Planner, u: Var, v: Var) -> Step:
    if u is not v and u.op.vocabulary != v.op.vocabulary:
        raise NotImplementedError(f"{u} and {v} share a weight but have different vocabularies: use two weights.")
    scales = scalar(u.op.sigma_w), scalar(v.op.sigma_w)

    def compute(context: Context, data: Data) -> Cov:
        return _embed_numbers(scales, data, context.layout, planner.mode.ntk)

    return Step((Need(Pair(u.args[0], u.args[0]), lambda _: equal(positions(u.args[0]))),), compute, takes_data=True)


@partial(jax.jit, static_argnames=("layout", "ntk"))
def _embed_numbers(scales: tuple[Any, Any], data: Data, layout: Layout, ntk: bool) -> Cov:
    ids1, ids2 = (x.reshape(x.shape[0], -1).T for x in data)  # [P, n]
    factor = jnp.asarray(scales[0], data.x1.dtype) * jnp.asarray(scales[1], data.x1.dtype)

    def equal_tokens(pair_: tuple[Array, Array]) -> Array:
        return jnp.where(pair_[0] == pair_[1], factor, 0.0)

    cross = equal_tokens(ends(layout, ids1, ids2))
    selfs = (equal_tokens(ends_self(layout, ids, ids)) for ids in (ids1, ids2))
    return Cov(cross, *selfs, cross if ntk else None)  # (E1)


@pair.register
def _table(op: Table, planner: Planner, u: Var, v: Var) -> Step:
    factor = scalar(u.op.sigma_w) * scalar(v.op.sigma_w)
    covariance = u.op.root @ v.op.root.T

    def compute(context: Context, start: Form) -> Cov:
        (n1, n2), dtype = batch_sizes(start)
        values = jnp.asarray(covariance[context.layout.left, context.layout.right], dtype) * jnp.asarray(factor, dtype)
        cross = jnp.broadcast_to(values[:, None, None], (len(values), n1, n2))
        selfs = (jnp.broadcast_to(values[:, None], (len(values), n)) for n in (n1, n2))
        return Cov(cross, *selfs, cross if planner.mode.ntk else None)  # (E2)

    x = planner.program.input
    return Step((own(x),), compute, takes_data=True)


def batch_sizes(form: Form) -> tuple[tuple[int, int], Any]:
    """The numbers of samples of x1 and x2, and the precision, of what the recursion starts from."""
    if isinstance(form, (Data, Features)):
        return (form.x1.shape[0], form.x2.shape[0]), form.x1.dtype
    assert isinstance(form, (Cov, Dist))
    return form.cross.shape[1:], form.cross.dtype
