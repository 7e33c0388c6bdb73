"""Losses of single samples, by default that which suits the labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

Loss = Callable[[Any, Any], Array]  # of outputs and labels; of every sample, or their mean


def squared_error(outputs: Array, y: Array) -> Array:
    """Mean over the outputs of (f - y)^2, of every sample."""
    return jnp.mean(jnp.square(outputs - y).reshape(len(y), -1), axis=1)


def cross_entropy(outputs: Array, y: Array) -> Array:
    """-log softmax(f)_y of integer labels y, of every sample."""
    logs = jax.nn.log_softmax(outputs, axis=-1)
    return -jnp.mean(jnp.take_along_axis(logs, y[..., None], axis=-1).reshape(len(y), -1), axis=1)


def default_loss(y: Any) -> Loss:
    """Squared error of real labels, cross entropy of integers."""
    return squared_error if jnp.issubdtype(jnp.asarray(y).dtype, jnp.floating) else cross_entropy


def check_labels(loss: Loss, shape: tuple[int, ...], y: Any) -> None:
    """Raise a ValueError unless labels fit outputs of this shape, for the two losses of this module."""
    known: dict[Loss, tuple[int, ...]] = {squared_error: shape, cross_entropy: shape[:-1]}
    wanted = known.get(loss)
    if wanted is not None and tuple(y.shape) != tuple(wanted):
        raise ValueError(
            f"the model makes outputs of shape {shape}, for which labels y have shape {tuple(wanted)}; got "
            f"{tuple(y.shape)}.  Reshape y, or give a loss= of your own, loss(outputs, y)."
        )
