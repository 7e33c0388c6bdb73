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

from widenet.kernels.covariance import Cov, Dist, as_cov
from widenet.kernels.joint import normal_points, semidefinite_root
from widenet.kernels.layout import every
from widenet.kernels.position_rules import weigh
from widenet.kernels.rules import pair, scalar
from widenet.kernels.schedule import Context, Planner, Step, positions, wide
from widenet.program.ops import Heads
from widenet.program.var import Var

HIGHEST = jax.lax.Precision.HIGHEST
CHUNK = 16  # points that are held at a time


@pair.register
def _heads(op: Heads, planner: Planner, u: Var, v: Var) -> Step:
    if u is not v:
        raise NotImplementedError(f"{u} and {v} share the weights of attention heads: give each its own layer.")
    x, y = u.args
    sizes = positions(x), positions(y)
    scales = scalar(op.sigma_qk), scalar(op.sigma_w), scalar(op.sigma_b)

    def compute(context: Context, c: Cov | Dist, d: Cov | Dist) -> Cov:
        c, d = (as_cov(k, every(size, size)) for k, size in zip((c, d), sizes, strict=True))
        c, d = (
            jax.tree.map(lambda part, size=size: part.reshape(size, size, *part.shape[1:]), k)
            for k, size in zip((c, d), sizes, strict=True)
        )
        if op.weights == "identity" and not (op.causal or op.masked):
            out = _identity_numbers(scales, c, d)
        else:
            points = normal_points((2 * sizes[0]) * (2 * sizes[1]), planner.mode.points, planner.mode.scramble)
            masks = [
                _allowed(op, sizes, side, part.shape[-1]) for side, part in zip(context.samples, c[1:3], strict=True)
            ]
            out = _integrated(op.weights, scales, c, d, masks, jnp.asarray(points, c.cross.dtype), planner.mode.same)
        whole = every(sizes[0], sizes[0])
        flat = jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:]), out)
        return jax.tree.map(lambda part: whole.take(part, context.layout), flat)

    return Step((wide(x, x), wide(y, y)), compute)


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


@partial(jax.jit, static_argnames=("weights", "same"))
def _integrated(weights: str, scales: Any, c: Cov, d: Cov, masks: Any, points: Array, same: bool) -> Cov:
    s = jnp.asarray(scales[0], c.cross.dtype)
    n1, n2 = c.cross.shape[2:]
    rows = jnp.arange(n1)

    def block(i: Array) -> tuple[Array, Array | None]:
        def entry(j: Array) -> tuple[Array, Array | None]:
            one = [(k.self1[:, :, i], k.cross[:, :, i, j], k.self2[:, :, j]) for k in (c, d)]
            theta = None if c.ntk is None else (c.ntk[:, :, i, j], d.ntk[:, :, i, j])
            return _pair_of_samples(weights, s, one[0], one[1], theta, (masks[0][i], masks[1][j]), points)

        return jax.lax.map(entry, jnp.arange(n2))

    cross, inner = jax.lax.map(block, rows)

    def own(which: int) -> Array:
        def entry(i: Array) -> Array:
            mine = [k[1 + which][:, :, i] for k in (c, d)]
            mask = masks[which][i]
            return _pair_of_samples(weights, s, (mine[0],) * 3, (mine[1],) * 3, None, (mask, mask), points)[0]

        return jnp.moveaxis(jax.lax.map(entry, jnp.arange((n1, n2)[which])), 0, -1)

    cross = jnp.moveaxis(cross, (0, 1), (2, 3))
    self1, self2 = own(0), own(1)
    if same:
        cross = jnp.where(jnp.eye(n1, dtype=bool), self1[..., None], cross)
    inner = None if inner is None else jnp.moveaxis(inner, (0, 1), (2, 3))
    return _finish(scales, Cov(cross, self1, self2, None), inner)


def _pair_of_samples(
    weights: str, s: Array, asks: Any, given: Any, theta: Any, allowed: Any, points: Array
) -> tuple[Array, Array | None]:
    """E zeta(G) D zeta(G')^T `[P, P]` of one pair of samples, and what Theta has of the scores and of the values."""
    (c1, c12, c2), (d1, d12, d2) = asks, given
    p, q = c1.shape[0], d1.shape[0]
    left, right = (semidefinite_root(jnp.block([[a, ab], [ab.T, b]])) for a, ab, b in ((c1, c12, c2), (d1, d12, d2)))

    def scores(z: Array) -> tuple[Array, Array]:
        z = z.reshape(-1, 2 * p, 2 * q)
        g = s * jnp.einsum("ak,skl,il->sai", left, z, right, precision=HIGHEST)
        return g[:, :p, :q], g[:, p:, q:]

    def add(total: Any, z: Array) -> tuple[Any, None]:
        g1, g2 = scores(z)
        w1, w2 = weigh(weights, g1, allowed[0]), weigh(weights, g2, allowed[1])
        value = jnp.einsum("sai,ij,sbj->ab", w1, d12, w2, precision=HIGHEST)
        if theta is None:
            return (total[0] + value, total[1]), None
        values = jnp.einsum("sai,ij,sbj->ab", w1, theta[1], w2, precision=HIGHEST)
        j1, j2 = _jacobian(weights, g1, w1, allowed[0]), _jacobian(weights, g2, w2, allowed[1])
        half = jnp.einsum("sakx,kl->salx", j1, d12, precision=HIGHEST)  # sum_i dzeta_ai/dG_ax D_il

        def through(kernel: Array) -> Array:
            return jnp.einsum("salx,xy,sbly->ab", half, kernel, j2, precision=HIGHEST, optimize=True)

        by_cov, by_ntk = through(d12), through(theta[1])
        slope = s**2 * (c12 * (2 * by_cov + by_ntk) + theta[0] * by_cov)
        return (total[0] + value, total[1] + values + slope), None

    chunks = points.reshape(-1, CHUNK, points.shape[1])
    zero = jnp.zeros((p, p), c1.dtype)
    (value, inner), _ = jax.lax.scan(add, (zero, zero), chunks)
    count = points.shape[0]
    return value / count, None if theta is None else inner / count


def _jacobian(weights: str, g: Array, w: Array, allowed: Array) -> Array:
    """dzeta_ai / dG_ax as `[s, a, i, x]`."""
    eye = jnp.eye(g.shape[-1], dtype=g.dtype)
    if weights == "softmax":
        return w[..., :, None] * (eye - w[..., None, :])
    slope = {"identity": jnp.ones_like, "relu": lambda x: (x > 0).astype(x.dtype), "abs": jnp.sign}[weights](g)
    return jnp.where(allowed, slope, 0.0)[..., :, None] * eye
