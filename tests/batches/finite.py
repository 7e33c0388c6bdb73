"""Random finite networks over one batch: what the limit is compared with."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import widenet as wn

SIGMA_W, SIGMA_B, OUTPUTS = 1.1, 0.2, 4
READOUT = wn.dense(sigma_w=SIGMA_W, sigma_b=SIGMA_B, width=OUTPUTS)


@partial(jax.jit, static_argnames=("hidden", "width"))
def kernels(hidden, x, width, key):
    """K and Theta of one network that ends in READOUT: `[2, n, n]`.

    K is the mean over all readouts; Theta is the mean over the outputs, and its gradients pass through the whole batch.
    """
    net = wn.serial(hidden, READOUT)
    params = wn.init(net, key, x.shape, width=width)
    features = wn.apply(hidden, params, x)
    grads = jax.jacrev(lambda p: wn.apply(net, p, x))(params)
    flat = jnp.concatenate([leaf.reshape(len(x), OUTPUTS, -1) for leaf in jax.tree.leaves(grads)], axis=2)
    nngp = SIGMA_W**2 * features @ features.T / features.shape[1] + SIGMA_B**2
    return jnp.stack([nngp, jnp.einsum("iog,jog->ij", flat, flat) / OUTPUTS])


def monte_carlo(hidden, x, width, count):
    """K and Theta of `count` networks: `[count, 2, n, n]`."""
    keys = jax.random.split(jax.random.key(width), count)
    return np.asarray(jax.lax.map(partial(kernels, hidden, x, width), keys, batch_size=20))


def mean_and_error(samples):
    """The mean over the first axis, and its standard error."""
    return samples.mean(0), samples.std(0, ddof=1) / np.sqrt(len(samples))
