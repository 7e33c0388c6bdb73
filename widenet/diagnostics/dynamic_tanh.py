"""Residual streams with dynamic tanh, or layer norm, before each block: variance and gradients with depth. (S7)"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.precision import float64


class Propagation(NamedTuple):
    """A residual stream h_0, ..., h_L, `[L + 1]` both."""

    q: np.ndarray  # mean square of h_l
    log_apjn: np.ndarray  # log of |d h_l / d h_0|_F^2 per coordinate of h_l


def dyt_propagation(depth: int, alpha: float = 0.5, s_w: float = 1.0, q0: float = 1.0) -> Propagation:
    """h <- h + W tanh(alpha h) with fresh weights, at infinite width; q and log J of all layers. (S7)

    q' = q + s_w^2 E tanh^2(alpha sqrt(q) z),   log J' = log J + log(1 + s_w^2 alpha^2 E sech^4(alpha sqrt(q) z))

    For large depth log J is about (8/3) alpha s_w sqrt(L / (2 pi)): faster than any power, slower than exponential.
    s_w: standard deviation of the entries of W, times sqrt(fan-in).  q0: the mean square of the input.
    Accuracy: 1e-13, for any alpha sqrt(q).  100000 layers take about a second.
    Raises: ValueError unless depth >= 1 and alpha, s_w, q0 > 0.
    Source: the layer is zhu2025's, sec. 4; the recursion follows doshi2023; its growth: widenet.

    >>> q, log_apjn = dyt_propagation(4000, alpha=1.0)
    >>> round(float(np.diff(log_apjn[[1000, 4000]])[0] / (4000**0.5 - 1000**0.5)), 3)
    1.077
    """
    _check(depth, alpha=alpha, s_w=s_w, q0=q0)
    with float64():
        q, growth = _recursion(*(jnp.asarray(float(v)) for v in (alpha, s_w, q0)), depth)
        return Propagation(np.append(q0, q), np.append(0.0, np.cumsum(growth)))


def layer_norm_propagation(depth: int, s_w: float = 1.0, q0: float = 1.0) -> Propagation:
    """h <- h + W LN(h) with fresh weights, at infinite width: q = q0 + s_w^2 l and J = q / q0, exactly. (S7)

    Raises: ValueError unless depth >= 1 and s_w, q0 > 0.
    Source: doshi2023.

    >>> layer_norm_propagation(3, s_w=2.0).q
    array([ 1.,  5.,  9., 13.])
    """
    _check(depth, s_w=s_w, q0=q0)
    q = q0 + float(s_w) ** 2 * np.arange(depth + 1)
    return Propagation(q, np.log(q / q0))


def dyt_exponent(alpha: float, s_w: float = 1.0) -> float:
    """(8/3) alpha s_w / sqrt(2 pi): log J of `dyt_propagation` per sqrt(depth), at large depth. (S7)"""
    _check(1, alpha=alpha, s_w=s_w)
    return 8 / 3 * alpha * s_w / math.sqrt(2 * math.pi)


def _check(depth: int, **scales: float) -> None:
    if depth < 1 or int(depth) != depth:
        raise ValueError(f"depth is a number of blocks, 1 or more; got {depth}.")
    for name, value in scales.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number; got {value}.")


@partial(jax.jit, static_argnames="depth")
def _recursion(alpha: Array, s_w: Array, q0: Array, depth: int) -> tuple[Array, Array]:
    def block(q: Array, _: Any) -> tuple[Array, tuple[Array, Array]]:
        square, slope = _squares(alpha * jnp.sqrt(q))
        q = q + s_w**2 * square
        return q, (q, jnp.log1p(s_w**2 * alpha**2 * slope))

    return jax.lax.scan(block, q0, length=depth)[1]


# Nodes of the trapezoid rule.  sech^4 has poles of order 4 at distance pi/2 from the real line, so that a step h errs
# by about exp(-pi^2 / h) (2 pi / h)^3 / 6, 2e-18; sech^2 is below 2e-17 beyond the last node; a normal density is less.
STEP, LAST = 0.2, 20.0


def _squares(s: Array) -> tuple[Array, Array]:
    """E tanh^2(s z) and E sech^4(s z). (S7)

    In u = s z, where tanh varies over 1 and the density over s; nodes are as far apart as the narrower of them asks.
    """
    narrow = jnp.minimum(s, 1.0)
    t = jnp.arange(-LAST, LAST + STEP / 2, STEP)
    u = narrow * t
    weights = STEP * (narrow / s) * jnp.exp(-((u / s) ** 2) / 2) / math.sqrt(2 * math.pi)
    sech = 1 / jnp.cosh(u) ** 2
    square = jnp.where(s < 1, weights @ jnp.tanh(u) ** 2, 1 - weights @ sech)  # tanh^2 has no end, sech^2 no small s
    return square, weights @ sech**2
