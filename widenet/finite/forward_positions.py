"""The finite network: primitives that mix positions, normalize, attend or look up."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.finite.forward import Scope, bias_of, check_fan_in, forward, in_dtype
from widenet.finite.parameters import has_bias
from widenet.program.ops import (
    Attend,
    BatchNorm,
    Conv,
    DepthwiseConv,
    Embed,
    Heads,
    LocalConv,
    Mix,
    Normalize,
    SampleMix,
    Table,
)
from widenet.program.var import Var, describe
from widenet.program.window import Window

HIGHEST = jax.lax.Precision.HIGHEST


@forward.register
def _conv(op: Conv, var: Var, scope: Scope, x: Array) -> Array:
    w = scope.entry(op.weight, var)["w"]
    check_fan_in(w.shape[-2] * op.groups, x, var, scope)
    h = convolve(x, w, op.window, op.groups)
    return h * in_dtype(op.sigma_w, x) / math.sqrt(op.window.taps * w.shape[-2]) + bias_of(op, var, scope, x)


def convolve(x: Array, w: Array, window: Window, groups: int) -> Array:
    """sum_t W_t x[tap t of p], of x `[n, *positions, c]` and W `[*taps, c / groups, k]`."""
    pads = window.pads
    if window.wrap:
        for axis, (low, high) in enumerate(pads, start=1):
            size = x.shape[axis]
            x = jnp.take(x, np.arange(-low, size + high) % size, axis=axis)
        pads = ((0, 0),) * len(pads)
    d = len(pads)
    first = (0, d + 1, *range(1, d + 1))
    numbers = jax.lax.ConvDimensionNumbers(first, (d + 1, d, *range(d)), first)
    return jax.lax.conv_general_dilated(
        x,
        w,
        window.strides,
        pads,
        lhs_dilation=window.spreads,
        rhs_dilation=window.dilations,
        dimension_numbers=numbers,
        feature_group_count=groups,
        precision=HIGHEST,
    )


@forward.register
def _local_conv(op: LocalConv, var: Var, scope: Scope, x: Array) -> Array:
    w = scope.entry(op.weight, var)["w"]  # [P, T, c, k]
    check_fan_in(w.shape[2], x, var, scope)
    h = jnp.einsum("nptc,ptck->npk", patches(x, op.window, var), w, precision=HIGHEST)
    h = h * in_dtype(op.sigma_w, x) / math.sqrt(w.shape[1] * w.shape[2]) + bias_of(op, var, scope, x)
    return h.reshape(x.shape[0], *var.positions, -1)


def patches(x: Array, window: Window, var: Var) -> Array:
    """What each position of `var` reads of x, `[n, P, T, c]`; padding is zero."""
    table = window.table(var.args[0].positions)
    rows = x.reshape(x.shape[0], -1, x.shape[-1])
    return jnp.where((table >= 0)[None, :, :, None], rows[:, np.maximum(table, 0)], 0)


@forward.register
def _depthwise_conv(op: DepthwiseConv, var: Var, scope: Scope, x: Array) -> Array:
    w = scope.entry(op.weight, var)["w"]  # [*taps, c]
    check_fan_in(w.shape[-1], x, var, scope)
    h = convolve(x, w[..., None, :], op.window, w.shape[-1])
    return h * in_dtype(op.sigma_w, x) / math.sqrt(op.window.taps) + bias_of(op, var, scope, x)


@forward.register
def _mix(op: Mix, var: Var, scope: Scope, x: Array) -> Array:
    n, channels = x.shape[0], x.shape[-1]
    x = x.reshape(n, *op.sizes, channels)
    for axis, matrix in enumerate(op.matrices, start=1):
        weights = _of_neighbours(matrix)
        if weights is None:
            x = jnp.moveaxis(_times(matrix, jnp.moveaxis(x, axis, 0)), 0, axis)
        else:
            x = _pooled(weights, x, axis)
    return x.reshape(n, *var.positions, channels)


def _of_neighbours(matrix: Any) -> Any:
    """The weights of a pool whose windows do not overlap, the same for every window; None for any other matrix."""
    if not isinstance(matrix, np.ndarray) or matrix.shape[1] % matrix.shape[0]:
        return None
    weights = matrix[0, : matrix.shape[1] // matrix.shape[0]]
    return weights if np.array_equal(matrix, np.kron(np.eye(len(matrix)), weights)) else None


def _pooled(weights: np.ndarray, x: Array, axis: int) -> Array:
    """The same product without moving the axis, which is slow where it is short."""
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    windows = x.reshape(*before, -1, len(weights), *after)
    return jnp.sum(windows * jnp.asarray(weights, x.dtype).reshape(-1, *[1] * len(after)), axis=axis + 1)


def _times(matrix: Any, x: Array) -> Array:
    if hasattr(matrix, "tocoo"):
        entries = matrix.tocoo()
        weights = jnp.asarray(entries.data, x.dtype).reshape(-1, *[1] * (x.ndim - 1))
        return jax.ops.segment_sum(weights * x[entries.col], entries.row, matrix.shape[0])
    return jnp.tensordot(jnp.asarray(matrix, x.dtype), x, 1, precision=HIGHEST)


@forward.register
def _sample_mix(op: SampleMix, var: Var, scope: Scope, x: Array) -> Array:
    n, channels = x.shape[0], x.shape[-1]
    rows = x.reshape(n, -1, channels)
    what = "graph" if op.kind == "graph" else "mask"
    given = getattr(scope.samples, what, None)
    if given is None:
        raise ValueError(f"{describe(var)} reads the {what} of each sample: give the data as samples(x, {what}=...).")
    if op.kind == "graph":
        rows = jnp.einsum("npq,nqc->npc", jnp.asarray(given, x.dtype), rows, precision=HIGHEST)
    else:
        mask = jnp.asarray(given, x.dtype).reshape(n, -1, 1)
        rows = rows * mask
        if op.kind == "mean":
            rows = rows.sum(1) / mask.sum(1)
    return rows.reshape(n, *var.positions, channels)


@forward.register
def _normalize(op: Normalize, var: Var, scope: Scope, x: Array) -> Array:
    axes = tuple(range(1, x.ndim)) if op.positions else (-1,)
    if op.centred:
        x = x - x.mean(axes, keepdims=True)
    return _over_root(x, (x**2).mean(axes, keepdims=True) + in_dtype(op.eps, x))


def _over_root(x: Array, variance: Array) -> Array:
    return jnp.where(variance > 0, x / jnp.sqrt(jnp.where(variance > 0, variance, 1)), 0)


@forward.register
def _batch_norm(op: BatchNorm, var: Var, scope: Scope, x: Array) -> Array:
    axes = tuple(range(x.ndim - 1))
    x = x - x.mean(axes, keepdims=True)
    return _over_root(x, (x**2).mean(axes, keepdims=True) + in_dtype(op.eps, x))


@forward.register
def _attend(op: Attend, var: Var, scope: Scope, value: Array, query: Array, key: Array) -> Array:
    value, query, key = (part.reshape(part.shape[0], -1, part.shape[-1]) for part in (value, query, key))
    scores = jnp.einsum("npc,nqc->npq", query, key, precision=HIGHEST) / key.shape[-1]
    weights = _weights(op, scores, scope)
    out = jnp.einsum("npq,nqc->npc", weights, value, precision=HIGHEST)
    return out.reshape(out.shape[0], *var.positions, -1)


def _weights(op: Any, scores: Array, scope: Scope) -> Array:
    """Attention weights of scores `[..., n, P, Q]`."""
    allowed = jnp.ones(scores.shape[-2:], bool)
    if op.causal:
        allowed = jnp.tril(allowed)
    if op.masked:
        mask = getattr(scope.samples, "mask", None)
        if mask is None:
            raise ValueError("masked attention reads the mask of each sample: give the data as samples(x, mask=...).")
        allowed = allowed & jnp.asarray(mask).reshape(mask.shape[0], 1, -1)
    if op.weights == "softmax":
        return jax.nn.softmax(jnp.where(allowed, scores, -jnp.inf), axis=-1)
    plain = {"identity": lambda s: s, "relu": jax.nn.relu, "abs": jnp.abs}[op.weights](scores)
    return jnp.where(allowed, plain, 0)


@forward.register
def _heads(op: Heads, var: Var, scope: Scope, x: Array, y: Array) -> Array:
    entry = scope.entry(op.weight, var)
    x, y = (part.reshape(part.shape[0], -1, part.shape[-1]) for part in (x, y))
    n = entry["query"].shape[-1]
    query, key, value = (
        jnp.einsum("npc,hck->hnpk", part, entry[name], precision=HIGHEST) / math.sqrt(part.shape[-1])
        for part, name in ((x, "query"), (y, "key"), (y, "value"))
    )
    scores = jnp.einsum("hnpk,hnqk->hnpq", query, key, precision=HIGHEST) * in_dtype(op.sigma_qk, x) / math.sqrt(n)
    mixed = jnp.einsum("hnpq,hnqk->hnpk", _weights(op, scores, scope), value, precision=HIGHEST)
    out = jnp.einsum("hnpk,hko->npo", mixed, entry["out"], precision=HIGHEST)
    out = out * in_dtype(op.sigma_w, x) / math.sqrt(op.heads * n)
    if has_bias(op):
        out = out + in_dtype(op.sigma_b, x) * entry["b"]
    return out.reshape(out.shape[0], *var.positions, -1)


@forward.register
def _embed(op: Embed, var: Var, scope: Scope, x: Array) -> Array:
    w = scope.entry(op.weight, var)["w"]
    return in_dtype(op.sigma_w, w) * w[x.astype(int)]


@forward.register
def _table(op: Table, var: Var, scope: Scope) -> Array:
    w = scope.entry(op.weight, var)["w"]
    h = in_dtype(op.sigma_w, w) * jnp.matmul(jnp.asarray(op.root, w.dtype), w, precision=HIGHEST)
    return h.reshape(1, *var.positions, -1)
