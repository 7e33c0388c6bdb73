"""MetaInit: norms of weights at which a step of gradient descent changes the gradient least. (I16)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.initializers.reading import Leaves
from widenet.initializers.report import Report, Tuned
from widenet.initializers.unit_variance import check_varied, scaled
from widenet.progress import progress

Loss = Callable[[Any, Any], Any]

EPSILON = 1e-5  # keeps the quotient finite where a gradient is 0
LEAST = 0.01  # share of its norm that one step leaves of a weight: signed steps are blind to scale


def gradient_quotient(loss: Loss, params: Any, batch: Any) -> Array:
    """mean |(g - H g) / (g + eps sign g) - 1| over all weights, g the gradient and H the Hessian of the loss. (I16)

    How much one step of gradient descent with learning rate 1 changes the gradient, relative to it; 0 for a linear
    loss.  Weights are floating leaves with two axes or more.
    Source: dauphin2019.
    """
    leaves = Leaves.of(params)
    return _quotient(loss, leaves, [leaves.arrays[i] for i in leaves.weights], batch)


def _quotient(loss: Loss, leaves: Leaves, weights: Sequence[Any], batch: Any) -> Array:
    def of_weights(weights: Sequence[Any]) -> Any:
        arrays = list(leaves.arrays)
        for i, weight in zip(leaves.weights, weights, strict=True):
            arrays[i] = weight
        return loss(leaves.filled(arrays), batch)

    g, hg = jax.jvp(jax.grad(of_weights), (weights,), (jax.grad(of_weights)(weights),))
    sign = [jax.lax.stop_gradient(jnp.where(one >= 0, EPSILON, -EPSILON)) for one in g]
    parts = [jnp.abs((one - h) / (one + eps) - 1) for one, h, eps in zip(g, hg, sign, strict=True)]
    return jnp.sum(jnp.stack([jnp.sum(part) for part in parts])) / sum(part.size for part in parts)


def metainit(
    loss: Loss, params: Any, batch: Any, *, steps: int = 200, learning_rate: float = 0.1, momentum: float = 0.9
) -> Tuned:
    """Change the norms of the weights by signed gradient descent on the `gradient_quotient`.

    Directions stay; biases and scales, leaves with one axis, stay.  The paper draws a new random batch for every step,
    of inputs N(0, 1) and random labels: any batch of the right shape will do, labels are hardly used.
    The best norms on the way are returned.
    Raises: ValueError for data whose samples are all equal, a loss that is no finite number, or a weight that is zero.
    Source: dauphin2019.
    """
    check_varied(batch)
    leaves = Leaves.of(params)
    start = [jnp.asarray(leaves.arrays[i]) for i in leaves.weights]
    first = np.array([float(jnp.linalg.norm(weight)) for weight in start])
    _check_loss(loss, params, batch, [leaves.names[i] for i in leaves.weights], first)

    def at(norms: Array, start: Sequence[Any], batch: Any) -> Array:
        weights = [w * (n / n0).astype(w.dtype) for w, n, n0 in zip(start, norms, first, strict=True)]
        return _quotient(loss, leaves, weights, batch)

    @jax.jit
    def step(norms: Array, speed: Array, start: Sequence[Any], batch: Any) -> tuple[Array, Array, Array]:
        value, slope = jax.value_and_grad(at)(norms, start, batch)
        speed = momentum * speed - learning_rate * jnp.sign(slope)
        return value, jnp.maximum(norms + speed, LEAST * norms), speed

    norms = jnp.asarray(first)
    speed, history, best = jnp.zeros_like(norms), [], (np.inf, first)
    for _ in progress(range(steps), "metainit"):
        value, after, speed = step(norms, speed, start, batch)
        history.append(float(value))
        best = min(best, (history[-1], np.asarray(norms, np.float64)), key=lambda pair: pair[0])
        norms = after
    names, factors = [leaves.names[i] for i in leaves.weights], best[1] / first
    arrays = scaled(leaves.arrays, dict(zip(leaves.weights, factors, strict=True)))
    scales = dict(zip(names, map(float, factors), strict=True))
    report = Report("norm", tuple(names), first, best[1], scales, history=np.array(history))
    return Tuned(leaves.filled(arrays), report)


def _check_loss(loss: Loss, params: Any, batch: Any, names: Sequence[str], norms: np.ndarray) -> None:
    value = np.asarray(loss(params, batch))
    if value.shape or not np.isfinite(value):
        raise ValueError(f"loss(params, batch) must be one finite number, but is {value}.")
    zero = [name for name, norm in zip(names, norms, strict=True) if not norm > 0]
    if zero:
        raise ValueError(f"the weight {zero[0]} is zero, so it has no norm to tune: draw it from some law first.")
