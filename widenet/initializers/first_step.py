"""GradInit: scales of parameters at which the first step of an optimizer lowers the loss most. (I17)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.initializers.gradient_quotient import Loss
from widenet.initializers.initializer import as_key
from widenet.initializers.reading import Leaves
from widenet.initializers.report import Report, Tuned
from widenet.initializers.unit_variance import check_varied, scaled
from widenet.progress import progress

LEAST = 0.01  # of a scale: a parameter that has vanished has no gradient to come back by
DECAY, DECAY2, SMALL = 0.9, 0.999, 1e-8  # of Adam, which moves the scales


class FirstStep(NamedTuple):
    """An optimizer's first step: direction for a gradient, learning rate, and a norm of gradients with its bound."""

    direction: Callable[[Array], Array]
    norm: Callable[[Sequence[Array]], Array]
    learning_rate: float
    gamma: float


def _euclidean(gradients: Sequence[Array]) -> Array:
    return jnp.sqrt(jnp.sum(jnp.stack([jnp.sum(g**2) for g in gradients])))


def _absolute(gradients: Sequence[Array]) -> Array:
    return jnp.sum(jnp.stack([jnp.sum(jnp.abs(g)) for g in gradients]))


def sgd(learning_rate: float = 0.1, gamma: float = 1.0) -> FirstStep:
    """Gradient descent: gradients are bounded in the Euclidean norm."""
    return FirstStep(lambda g: g, _euclidean, learning_rate, gamma)


def adam(learning_rate: float = 1e-3, gamma: float = 100.0) -> FirstStep:
    """Adam, whose first direction is the sign: gradients are bounded in the sum of absolute values."""
    return FirstStep(jnp.sign, _absolute, learning_rate, gamma)


def gradinit(
    loss: Loss,
    params: Any,
    batch: Any,
    key: Any = 0,
    *,
    settings: FirstStep | None = None,
    steps: int = 200,
    rate: float = 0.01,
) -> Tuned:
    """Learn a scale for every parameter tensor, so that the loss after one prescribed step is least.

    min_s loss(p - eta d(g), B') subject to norm(g) <= gamma, p = s params, g the gradient of the loss on B.  A step
    that breaks the bound lowers the norm instead.  `settings` is sgd() if None.  B is a random half of `batch`, and B'
    shares half of its samples.  Scales are moved by Adam with learning rate `rate`, and stay above 0.01.
    Raises: ValueError for data whose samples are all equal, fewer than 4 samples, or a loss that is not finite.
    Source: zhu2021.
    """
    check_varied(batch)
    settings = sgd() if settings is None else settings
    leaves, count = Leaves.of(params), _samples(batch)

    def on(arrays: Sequence[Any], scales: Array, rows: Any) -> tuple[list[Array], list[Array]]:
        used = scaled(arrays, dict(enumerate(scales)))
        return used, jax.grad(lambda used: loss(leaves.filled(used), rows))(used)

    def after_step(scales: Array, arrays: Sequence[Any], one: Any, two: Any) -> Array:
        used, gradient = on(arrays, scales, one)
        moved = [u - settings.learning_rate * settings.direction(g) for u, g in zip(used, gradient, strict=True)]
        return loss(leaves.filled(moved), two)

    @jax.jit
    def norm(scales: Array, arrays: Sequence[Any], rows: Any) -> Array:
        return settings.norm(on(arrays, scales, rows)[1])

    @jax.jit
    def step(state: Any, arrays: Sequence[Any], batch: Any, key: Array, number: Any) -> tuple[Any, Array]:
        scales, mean, square = state
        one, two = _overlapping(batch, key, count)
        slope = jax.lax.cond(
            norm(scales, arrays, one) > settings.gamma,
            lambda: jax.grad(norm)(scales, arrays, one),
            lambda: jax.grad(after_step)(scales, arrays, one, two),
        )
        mean, square = DECAY * mean + (1 - DECAY) * slope, DECAY2 * square + (1 - DECAY2) * slope**2
        change = mean / (1 - DECAY**number) / (jnp.sqrt(square / (1 - DECAY2**number)) + SMALL)
        return (jnp.maximum(scales - rate * change, LEAST), mean, square), after_step(scales, arrays, one, two)

    arrays, ones = leaves.arrays, jnp.ones(len(leaves.arrays))
    state, history = (ones, 0 * ones, 0 * ones), []
    for number, one_key in enumerate(progress(jax.random.split(as_key(key), steps), "gradinit", steps), start=1):
        state, value = step(state, arrays, batch, one_key, float(number))
        history.append(float(value))
        if not np.isfinite(history[-1]):
            raise ValueError(
                f"gradinit: the loss after step {number} is {history[-1]}: give a loss that is finite at the start, "
                "and lower learning_rate or gamma in the settings."
            )
    before, after = (np.array([float(norm(scales, arrays, batch))]) for scales in (ones, state[0]))
    scales = dict(zip(leaves.names, map(float, state[0]), strict=True))
    report = Report("norm", ("gradient",), before, after, scales, history=np.array(history))
    return Tuned(leaves.filled(scaled(arrays, dict(enumerate(state[0])))), report)


def _samples(batch: Any) -> int:
    sizes = {len(leaf) for leaf in jax.tree.leaves(batch) if np.ndim(leaf)}
    if len(sizes) != 1 or min(sizes) < 4:
        raise ValueError(
            f"gradinit draws halves of the batch: its arrays must have one length, at least 4, not {sorted(sizes)}."
        )
    return sizes.pop()


def _overlapping(batch: Any, key: Array, count: int) -> tuple[Any, Any]:
    """Two halves of the batch that share half of their samples."""
    order, half = jax.random.permutation(key, count), count // 2
    quarter = half // 2

    def rows(start: int) -> Any:
        chosen = order[start : start + half]
        return jax.tree.map(lambda leaf: jnp.asarray(leaf)[chosen] if np.ndim(leaf) else leaf, batch)

    return rows(0), rows(quarter)
