"""The infinite-width limit of one hidden layer, by particles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtri
from scipy.stats import qmc

from widenet.limits.nets import HiddenLayer, Params
from widenet.progress import progress

OPEN = 1e-16  # how far from 0 and 1 a point of a Sobol sequence is kept: normal numbers up to 8


class Estimate(NamedTuple):
    """A mean over independent sets of particles, and its standard error; pytrees of arrays."""

    mean: Any
    error: Any


def particles(net: HiddenLayer, key: Any, samples: int) -> Params:
    """Parameters of `net` whose units are a quasi-random sample of the law of (Z^u, Z^v). (Z4)

    A scrambled Sobol sequence of `samples` points of dimension d_in + d_out, each with both signs of v, so that f = 0
    before training as in the limit: 2 `samples` units.  Train them like any others.
    Raises: ValueError unless `samples` is a power of two.
    Source: yang2021, thm. 6.1; owen1997.
    """
    if samples < 1 or samples & (samples - 1):
        raise ValueError(f"a Sobol sequence has a power of two of points, such as 2048; got {samples}.")
    rng = np.random.default_rng(np.asarray(jax.random.key_data(_as_key(key))))
    points = qmc.Sobol(net.d_in + net.d_out, rng=rng).random(samples)
    normal = ndtri(np.clip(points, OPEN, 1 - OPEN)) / np.sqrt(2 * samples)
    u, v = net.sigma_u * normal[:, : net.d_in], net.sigma_v * normal[:, net.d_in :]
    return {"u": jnp.asarray(np.concatenate([u, u])), "v": jnp.asarray(np.concatenate([v, -v]))}


def hidden_layer_limit(
    net: HiddenLayer, train: Callable[[Params], Any], *, key: Any, samples: int = 2048, replicates: int = 8
) -> Estimate:
    """Whatever training makes of an infinitely wide hidden layer: mean and standard error. (Z4)

    f = E Z^v phi(Z^u . x);  a step adds -eta chi phi(Z^u . x) to Z^v, -eta chi Z^v phi'(Z^u . x) x to Z^u

    train(params): outputs, or any pytree of arrays, of the network trained from `params`, such as
    `lambda p: descend(net, p, batches, loss=loss, rate=0.1, x=x)[0]`.  It is compiled once.
    samples, replicates: independent sets of 2 `samples` particles each; the error falls as replicates^(-1/2), and
    faster than samples^(-1/2) where phi is continuous and d_in + d_out is small.
    Raises: ValueError unless `samples` is a power of two and there are two replicates or more.
    Source: yang2021, thm. 6.1.
    """
    if replicates < 2:
        raise ValueError(f"a standard error needs two replicates or more; got {replicates}.")
    keys, train = jax.random.split(_as_key(key), replicates), jax.jit(train)
    found = [train(particles(net, each, samples)) for each in progress(keys, "sets of particles")]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *found)
    return Estimate(
        jax.tree.map(lambda leaf: leaf.mean(0), stacked),
        jax.tree.map(lambda leaf: leaf.std(0, ddof=1) / np.sqrt(replicates), stacked),
    )


def _as_key(key: Any) -> Any:
    return jax.random.key(key) if isinstance(key, int) else key
