"""Clipping of gradients whose norms do not grow with the width. (O9)"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from widenet.optimizers.leaves import PerLeaf, map_named, per_leaf, shape_factors, working
from widenet.optimizers.library import optax
from widenet.parametrizations.optimizers import MUON_SCALES


def clip_by_scaled_norm(max_norm: float, scales: PerLeaf = None, *, axes: PerLeaf = None) -> Any:
    """All gradients times min(1, max_norm / N), N^2 = sum over leaves of |scale g|^2. (O9)

    `scales` is one number, a pytree like the parameters, or a function of a leaf's name.  By default it is
    sqrt(fan_out / fan_in), with fan_in = 1 for what is no matrix as `axes` say: in muP without multipliers the norm
    of every leaf is then one that has a limit at infinite width, and one `max_norm` is right at all widths.
    Raises: ValueError for a max_norm that is not positive.
    """
    return _clipping(max_norm, scales, axes, together=True)


def clip_leaves_by_scaled_norm(max_norm: float, scales: PerLeaf = None, *, axes: PerLeaf = None) -> Any:
    """Each gradient g times min(1, max_norm / |scale g|): leaf by leaf, else as `clip_by_scaled_norm`. (O9)"""
    return _clipping(max_norm, scales, axes, together=False)


def _clipping(max_norm: float, scales: PerLeaf, axes: PerLeaf, *, together: bool) -> Any:
    if not max_norm > 0:
        raise ValueError(f"max_norm is {max_norm}: give a positive number.")
    of = None if scales is None else per_leaf(scales, "scales")

    def spectral(updates: Any) -> Any:
        return shape_factors(updates, MUON_SCALES["spectral"], axes)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        factors = spectral(updates) if of is None else map_named(lambda name, _: of(name), updates)
        squares = jax.tree.map(lambda g, factor: jnp.sum((factor * working(g)) ** 2), updates, factors)
        if together:
            total = sum(jax.tree.leaves(squares))
            squares = jax.tree.map(lambda _: total, squares)
        return jax.tree.map(clipped, updates, squares), state

    def clipped(g: Array, square: Array) -> Array:
        norm = jnp.sqrt(square)
        return (g * jnp.where(norm > max_norm, max_norm / norm, 1)).astype(g.dtype)

    return optax().GradientTransformation(lambda _: optax().EmptyState(), update)
