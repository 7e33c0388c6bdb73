"""Plain stochastic gradient descent, for networks and for limits that are networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

Loss = Callable[[Array, Any], Array]


class Net(Protocol):
    """What can be trained: a function of parameters and data."""

    def apply(self, params: Any, x: Any) -> Array:
        """The outputs f(x)."""


def sgd_step(net: Net, params: Any, batch: tuple[Any, Any], loss: Loss, rate: Any) -> Any:
    """The parameters after one step, theta - rate d loss(f(x), y) / d theta, on the batch (x, y)."""
    x, y = batch
    gradient = jax.grad(lambda p: loss(net.apply(p, x), y))(params)
    return jax.tree.map(lambda w, g: w - jnp.asarray(rate, w.dtype) * g, params, gradient)


def descend(net: Net, params: Any, batches: tuple[Any, Any], *, loss: Loss, rate: Any, x: Any) -> tuple[Array, Any]:
    """Steps of gradient descent: the outputs on `x` before, between and after `[steps + 1, m, d_out]`; the parameters.

    batches: (xs `[steps, batch, d_in]`, ys `[steps, batch, ...]`), one batch a step.
    loss(f, y): any differentiable function of the outputs on a batch.  rate: a number, or one a step.
    Raises: ValueError if xs and ys are not batches of equally many steps.
    """
    xs, ys, x = (jnp.asarray(part) for part in (*batches, x))
    check_batches(xs, ys)
    rates = jnp.broadcast_to(jnp.asarray(rate, float), len(xs))

    def step(p: Any, given: tuple[Array, Array, Array]) -> tuple[Any, Array]:
        *batch, size = given
        return sgd_step(net, p, (batch[0], batch[1]), loss, size), net.apply(p, x)

    params, outputs = jax.lax.scan(step, params, (xs, ys, rates))
    return jnp.concatenate([outputs, net.apply(params, x)[None]]), params


def check_batches(xs: Any, ys: Any) -> None:
    """Raise a ValueError unless there is a batch of inputs and one of targets for each step."""
    if xs.ndim < 3 or not ys.ndim or xs.shape[:1] != ys.shape[:1] or not len(xs):
        raise ValueError(f"batches are xs [steps, batch, d_in], ys [steps, batch, ...]; got {xs.shape} and {ys.shape}.")
