"""Deep linear networks of infinite width in training."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from widenet.limits.descent import Loss, check_batches
from widenet.limits.kets import Kets
from widenet.limits.nets import LinearNet
from widenet.precision import float64
from widenet.progress import progress

MOST_GIB = 4.0  # of coefficients


def linear_limit(
    net: LinearNet, batches: tuple[Any, Any], *, loss: Loss, rate: Any, x: Float[Any, "m d_in"]
) -> Float[np.ndarray, "times m d_out"]:
    """What `descend` gives for a linear net of infinite width: the outputs on `x` after 0, 1, ... steps.

    z_t^l = skip z_t^(l-1) + branch (fresh + sigma_w^2 sum_{r<t} g_r^l C_rt) - branch^2 sum_{r<t} g_r^l eta M_r Gamma_rt
    and backwards so for g_t^(l-1); Gamma: inner products, C: coefficients, M_r = d loss / d A_r                (Z5)

    Exact at each depth: no sampling, no expansion in 1/depth.  Depth goes to infinity with an error of O(1/depth) in
    `linear_resnet` (Z6).  batches, loss, rate: as in `descend`.  Computed in float64.
    Cost: 8 bytes times depth^2 steps^2 (d_in + d_out)^2, so give inputs of few dimensions: if they are fewer than
    their dimensions, the factor R of `np.linalg.qr(x.T)` has them as columns.
    Raises: ValueError if the batches do not fit the net or each other, or the memory would be more than 4 GiB.
    Source: yang2023, prop. 4.4, has such a recursion; this one is derived in (Z5).
    """
    with float64():
        inputs, ys, x = np.asarray(batches[0], float), jnp.asarray(batches[1]), np.asarray(x, float)
        _check(net, inputs, ys, x)
        xs, x = _with_constant(net, inputs), _with_constant(net, x)
        gradient = jax.jit(jax.grad(lambda a, c, at, y: loss(at @ a.T + net.bias * c, y), argnums=(0, 1)))
        kets, offset, outputs = Kets(net, len(xs) + 1), np.zeros(net.d_out), []
        rates = np.broadcast_to(np.asarray(rate, float), len(xs))
        for t in progress(range(len(xs) + 1), f"the limit of depth {net.depth}, steps"):
            matrix = kets.forward(t)
            outputs.append(x @ matrix.T + net.bias * offset)
            if t < len(xs):
                slope, shift = gradient(matrix, offset, xs[t], ys[t])
                kets.backward(t, rates[t] * np.asarray(slope))
                offset = offset - rates[t] * np.asarray(shift)
    return np.stack(outputs)


def _with_constant(net: LinearNet, x: Any) -> np.ndarray:
    """The inputs, and the constant that the bias of the first layer is the weight of."""
    constant = np.full((*x.shape[:-1], 1), net.bias)
    return np.concatenate([x, constant], axis=-1) if net.bias else np.asarray(x)


def _check(net: LinearNet, xs: Any, ys: Any, x: Any) -> None:
    check_batches(xs, ys)
    for name, part in (("batches", xs), ("x", x)):
        if part.ndim < 2 or part.shape[-1] != net.d_in:
            raise ValueError(f"the net takes {net.d_in} features, the last axis; {name} have shape {part.shape}.")
    gib = 8 / 2**30 * ((net.depth + 1) * (len(xs) + 1) * (net.d_in + net.d_out)) ** 2
    if gib > MOST_GIB:
        raise ValueError(
            f"{net.depth} layers, {len(xs)} steps, {net.d_in} + {net.d_out} dimensions take {gib:.1f} GiB, more than "
            f"{MOST_GIB:g}: give fewer; k inputs have coordinates of k dimensions, by np.linalg.qr(x.T)."
        )
