"""Attention with random scores: infinitely many heads (A2), (A3).

Scores G = Q K^T / sqrt(n) are Gaussian, cov(G[a, i], G'[b, j]) = s^2 C[a, b] D[i, j] with C the covariance of what asks
and D that of what is attended to.  Over the positions of both samples G = L Z M^T, L L^T = C, M M^T = D, Z normal.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from widenet.kernels.attention import weigh
from widenet.kernels.covariance import Cov, Dist, as_cov, with_diagonal
from widenet.kernels.joint import normal_points, semidefinite_root
from widenet.kernels.layout import every
from widenet.kernels.rules import pair, scalar
from widenet.kernels.schedule import Context, Mode, Planner, Step, positions, wide
from widenet.program.ops import Heads
from widenet.program.var import Var

HIGHEST = jax.lax.Precision.HIGHEST
CHUNK = 16  # points that are held at a time
MOST_DIMENSIONS = 4096  # a Sobol sequence in more is no better than random numbers, and takes more memory


def _chunks(dimensions: int, mode: Mode, dtype: Any) -> Array:
    """Standard normals `[chunks, CHUNK, dimensions]`, or `[chunks]` keys to draw them from where they are very many."""
    if dimensions > MOST_DIMENSIONS:
        return jax.random.split(jax.random.key(mode.scramble), mode.points // CHUNK)
    return jnp.asarray(normal_points(dimensions, mode.points, mode.scramble), dtype).reshape(-1, CHUNK, dimensions)


def _normals(chunk: Array, dimensions: int, dtype: Any) -> Array:
    if jnp.issubdtype(chunk.dtype, jax.dtypes.prng_key):
        return jax.random.normal(chunk, (CHUNK, dimensions), dtype)
    return chunk


@pair.register
def _heads(op: Heads, planner: Planner, u: Var, v: Var) -> Step:
    if u is not v:
        raise NotImplementedError(f"{u} and {v} share the weights of attention heads: give each its own layer.")
    x, y = u.args
    sizes = positions(x), positions(y)
    scales = scalar(op.sigma_qk), scalar(op.sigma_w), scalar(op.sigma_b)

    def compute(context: Context, c: Cov | Dist, d: Cov | Dist) -> Cov:
        c, d = (_by_pairs(as_cov(k, every(size, size)), size) for k, size in zip((c, d), sizes, strict=True))
        if op.weights == "identity" and not (op.causal or op.masked):
            out = _identity_numbers(scales, c, d)
        else:
            chunks = _chunks(4 * sizes[0] * sizes[1], planner.mode, c.cross.dtype)
            masks = [_allowed(op, sizes, side, n) for side, n in zip(context.samples, c.cross.shape[-2:], strict=True)]
            out = _integrated(op.weights, scales, c, d, masks, chunks, context.own)
        whole = every(sizes[0], sizes[0])
        flat = jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:]), out)
        return jax.tree.map(lambda part: whole.take(part, context.layout), flat)

    return Step((wide(x, x), wide(y, y)), compute)


def _by_pairs(k: Cov, size: int) -> Cov:
    """With an axis for each of the two positions."""
    return jax.tree.map(lambda part: part.reshape(size, size, *part.shape[1:]), k)


def _allowed(op: Heads, sizes: tuple[int, int], side: Any, n: int) -> Array:
    """Which positions each position may attend to: `[n, P, Q]`."""
    allowed = jnp.ones((n, *sizes), bool)
    if op.causal:
        allowed = jnp.tril(allowed)
    if op.masked:
        if side is None or side.mask is None:
            raise ValueError("masked attention reads the mask of each sample: give the data as samples(x, mask=...).")
        allowed = allowed & jnp.asarray(side.mask).reshape(n, 1, -1)
    return allowed


def _finish(scales: Any, k: Cov, inner: Array | None) -> Cov:
    """The output matrix, the values and the bias: K and Theta of E zeta D zeta^T (k) and of the paths inside (A3)."""
    w2, b2 = (jnp.asarray(s, k.cross.dtype) ** 2 for s in scales[1:])
    ntk = None if inner is None else w2 * (2 * k.cross + inner) + b2
    return Cov(*(w2 * part + b2 for part in k[:3]), ntk)


@jax.jit
def _identity_numbers(scales: Any, c: Cov, d: Cov) -> Cov:
    """zeta = identity: K = w^2 s^2 C[a, b] sum_ij D_ij^2 + b^2 (A2), and its Theta (A3)."""
    s2 = jnp.asarray(scales[0], c.cross.dtype) ** 2

    def value(asks: Array, given: Array) -> Array:
        return s2 * asks * jnp.sum(given**2, axis=(0, 1))

    k = Cov(*(value(a, b) for a, b in zip(c[:3], d[:3], strict=True)), None)
    if c.ntk is None:
        return _finish(scales, k, None)
    squares, mixed = jnp.sum(d.cross**2, axis=(0, 1)), jnp.sum(d.cross * d.ntk, axis=(0, 1))
    inner = s2 * (2 * c.cross * squares + c.ntk * squares + 2 * c.cross * mixed)
    return _finish(scales, k, inner)


@partial(jax.jit, static_argnames=("weights",))
def _integrated(weights: str, scales: Any, c: Cov, d: Cov, masks: Any, chunks: Array, own_samples: Array | None) -> Cov:
    s = jnp.asarray(scales[0], c.cross.dtype)
    n1, n2 = c.cross.shape[2:]
    rows = jnp.arange(n1)

    def block(i: Array) -> tuple[Array, Array | None]:
        def entry(j: Array) -> tuple[Array, Array | None]:
            one = [(k.self1[:, :, i], k.cross[:, :, i, j], k.self2[:, :, j]) for k in (c, d)]
            theta = None if c.ntk is None else (c.ntk[:, :, i, j], d.ntk[:, :, i, j])
            return _pair_of_samples(weights, s, one[0], one[1], theta, (masks[0][i], masks[1][j]), chunks)

        return jax.lax.map(entry, jnp.arange(n2))

    cross, inner = jax.lax.map(block, rows)

    def own(which: int) -> Array:
        def entry(i: Array) -> Array:
            mine = [k[1 + which][:, :, i] for k in (c, d)]
            mask = masks[which][i]
            return _pair_of_samples(weights, s, (mine[0],) * 3, (mine[1],) * 3, None, (mask, mask), chunks)[0]

        return jnp.moveaxis(jax.lax.map(entry, jnp.arange((n1, n2)[which])), 0, -1)

    cross = jnp.moveaxis(cross, (0, 1), (2, 3))
    self1, self2 = own(0), own(1)
    cross = with_diagonal(cross, self1, own_samples)
    inner = None if inner is None else jnp.moveaxis(inner, (0, 1), (2, 3))
    return _finish(scales, Cov(cross, self1, self2, None), inner)


def _pair_of_samples(
    weights: str, s: Array, asks: Any, given: Any, theta: Any, allowed: Any, chunks: Array
) -> tuple[Array, Array | None]:
    """E zeta(G) D zeta(G')^T `[P, P]` of one pair of samples, and what Theta has of the scores and of the values."""
    (c1, c12, c2), (d1, d12, d2) = asks, given
    p, q = c1.shape[0], d1.shape[0]
    left, right = (semidefinite_root(jnp.block([[a, ab], [ab.T, b]])) for a, ab, b in ((c1, c12, c2), (d1, d12, d2)))

    def add(total: Any, chunk: Any) -> tuple[Any, None]:
        z = _normals(chunk, 4 * p * q, c1.dtype).reshape(-1, 2 * p, 2 * q)
        g1 = s * _times(left[:p, :p], z[:, :p, :q], right[:q, :q].T)  # the roots are lower triangular
        g2 = s * _times(left[p:], z, right[q:].T)
        w1, w2 = weigh(weights, g1, allowed[0]), weigh(weights, g2, allowed[1])
        value = _times(w1, d12, w2.mT)
        if theta is None:
            return (total[0] + value.sum(0), total[1]), None
        through = _through_softmax if weights == "softmax" else _through_slopes
        ends = (w1, w2) if weights == "softmax" else (_slope(weights, g1, allowed[0]), _slope(weights, g2, allowed[1]))
        by_cov, by_ntk = (through(*ends, d12, kernel) for kernel in (d12, theta[1]))
        inner = _times(w1, theta[1], w2.mT) + s**2 * (c12 * (2 * by_cov + by_ntk) + theta[0] * by_cov)
        return (total[0] + value.sum(0), total[1] + inner.sum(0)), None

    zero = jnp.zeros((p, p), c1.dtype)
    (value, inner), _ = jax.lax.scan(add, (zero, zero), chunks)
    count = chunks.shape[0] * CHUNK
    return value / count, None if theta is None else inner / count


def _times(*matrices: Array) -> Array:
    """Their product, each with or without an axis of points in front."""
    total = matrices[0]
    for matrix in matrices[1:]:
        total = jnp.matmul(total, matrix, precision=HIGHEST)
    return total


def _through_slopes(s1: Array, s2: Array, d: Array, kernel: Array) -> Array:
    """sum dzeta_ai/dG_ax D_ij dzeta_bj/dG'_by K_xy, where weights act on each score alone, with these slopes."""
    return _times(s1, kernel * d, s2.mT)


def _through_softmax(w1: Array, w2: Array, d: Array, kernel: Array) -> Array:
    """The same for the softmax, dw_ai/dG_ax = w_ai (delta_ix - w_ax) (A3)."""
    mean1, mean2 = _times(w1, d), _times(d, w2.mT)  # of D under the weights: [s, P, Q], [s, Q, P]
    both = _times(mean1, w2.mT)
    centred = _times(_times(w1, kernel) * mean1, w2.mT) + _times(w1, _times(kernel, w2.mT) * mean2)
    return _times(w1, kernel * d, w2.mT) - centred + both * _times(w1, kernel, w2.mT)


def _slope(weights: str, g: Array, allowed: Array) -> Array:
    """dzeta/dG where weights act on each score alone."""
    slope = {"identity": jnp.ones_like, "relu": lambda x: (x > 0).astype(x.dtype), "abs": jnp.sign}[weights](g)
    return jnp.where(allowed, slope, 0.0)
