"""Adam with an eps of every leaf, or with none. (O5)"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.optimizers.leaves import PerLeaf, average, divided, map_named, per_leaf, unbiased, working
from widenet.optimizers.library import optax


class AdamState(NamedTuple):
    """Updates that were made, averages of the gradients and of their squares."""

    steps: Array
    mu: Any
    nu: Any


def scale_by_adam(b1: float = 0.9, b2: float = 0.999, *, eps: PerLeaf = None) -> Any:
    """Adam, m / (sqrt(v) + eps), with an `eps` of every leaf; or with none: (4/pi) atan2(m, sqrt(v)). (O5)

    `eps` is one number, a pytree like the parameters, or a function of a leaf's name, such as "layers/0/kernel".
    With None the update does not change when the gradient is multiplied by a number, so no width is too small or
    too large for it; it is 1 where m = sqrt(v), and at most 2.
    Raises: ValueError for a negative eps, and for a pytree without a value for some leaf.
    Source: kingma2015; everett2024 (the form with atan2).
    """
    of = per_leaf(eps, "eps") if eps is not None else lambda _: None

    def init(params: Any) -> AdamState:
        map_named(lambda name, _: _checked(of(name), name), params)
        zeros = jax.tree.map(lambda leaf: jnp.zeros_like(working(leaf)), params)
        return AdamState(jnp.zeros((), jnp.int32), zeros, zeros)

    def update(updates: Any, state: AdamState, params: Any = None) -> tuple[Any, AdamState]:
        mu = jax.tree.map(lambda g, m: average(m, working(g), b1), updates, state.mu)
        nu = jax.tree.map(lambda g, v: average(v, working(g) ** 2, b2), updates, state.nu)

        def direction(name: str, g: Array, m: Array, v: Array) -> Array:
            m, v = unbiased(m, b1, state.steps), unbiased(v, b2, state.steps)
            return _direction(m, jnp.sqrt(v), of(name)).astype(g.dtype)

        return map_named(direction, updates, mu, nu), AdamState(state.steps + 1, mu, nu)

    return optax().GradientTransformation(init, update)


def _direction(m: Array, root: Array, eps: Any) -> Array:
    return 4 / np.pi * jnp.arctan2(m, root) if eps is None else divided(m, root + eps)


def _checked(eps: Any, name: str) -> None:
    if eps is not None and not np.all(np.asarray(eps) >= 0):
        raise ValueError(f"eps of the leaf {name!r} is {eps}: give a number that is not negative, or None.")
