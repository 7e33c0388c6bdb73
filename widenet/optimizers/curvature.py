"""Which gradients at the outputs of a network the second factor of K-FAC is made of. (O10)

A curvature is a function of (loss, outputs, targets, key) that gives vectors `[k, *outputs.shape]`: the sum over k of
their outer products is, sample by sample, the curvature of the loss as a function of the outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Loss = Callable[[Array, Any], Array]  # of outputs [n, ...] and targets: the loss of every sample, [n]
Curvature = Callable[[Loss, Array, Any, Any], Array]


def gauss_newton(loss: Loss, outputs: Array, targets: Any, key: Any) -> Array:
    """The columns of a root of the Hessian of the loss: exact, with one vector for each output. (O10)

    For cross-entropy and for |f - y|^2 / 2 it is the Fisher matrix.  Negative eigenvalues, which a convex loss does not
    have, count as 0.
    """
    flat = outputs.reshape(len(outputs), -1)

    def of_one(f: Array, target: Any) -> Array:
        whole = jax.tree.map(lambda leaf: leaf[None], target)
        return loss(f.reshape(1, *outputs.shape[1:]), whole)[0]

    values, vectors = jnp.linalg.eigh(jax.vmap(jax.hessian(of_one))(flat, targets))
    columns = vectors * jnp.sqrt(jnp.maximum(values, 0))[:, None, :]
    return jnp.moveaxis(columns, -1, 0).reshape(-1, *outputs.shape)


def empirical(loss: Loss, outputs: Array, targets: Any, key: Any) -> Array:
    """The gradients of the loss itself: one vector, and what many call the empirical Fisher matrix. (O10)"""
    return jax.grad(lambda f: jnp.sum(loss(f, targets)))(outputs)[None]


def sampled(draw: Callable[[Any, Array], Any]) -> Curvature:
    """The gradients for targets draw(key, outputs) that the network itself predicts: the Fisher matrix in mean. (O10)

    `loss` must be minus the logarithm of the probability that `draw` draws with.
    """

    def vectors(loss: Loss, outputs: Array, targets: Any, key: Any) -> Array:
        if key is None:
            raise ValueError("this curvature draws targets: give update(params, batch, state, key) a key.")
        return empirical(loss, outputs, jax.lax.stop_gradient(draw(key, outputs)), None)

    return vectors
