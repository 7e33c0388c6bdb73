"""How far training takes a function from its linearization at the start. (V7)"""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.finite.empirical import as_function, precision_of
from widenet.parametrizations.trees import mapped, parameters
from widenet.transfer.alignment import same_shapes

Blocks = dict[str, dict[str, int | None]]  # of each block, its leaves, and where in their first axis it is; None: all


def linearization_distance(apply: Any, params0: Any, params1: Any, x: Any) -> float:
    """|f(p1) - f_lin(p1)| / |f(p1) - f(p0)|, where f_lin is f to first order around p0. (V7)

    0 for a lazy network, of order one for one that learns features; NaN if nothing changed.
    apply: an architecture with `params` of `init`, or a function apply(params, x).
    Raises: ValueError for parameters of two models.
    Source: chizat2019; dey2025 (per block).
    """
    same_shapes(params0, params1)
    with precision_of(x):
        return float(jax.jit(_distance, static_argnums=0)(as_function(apply), params0, params1, x))


def block_linearization(apply: Any, params0: Any, params1: Any, x: Any, blocks: str) -> dict[str, float]:
    r"""The same for each block alone: only its parameters move, all others stay at p0. (V5, V7)

    blocks: a pattern of paths, such as r"blocks/(\d+)/": its group says which block a parameter is in; without a group
    the first axis of these parameters does, one block a row.
    Raises: ValueError if nothing fits the pattern, or for parameters of two models.
    """
    same_shapes(params0, params1)
    found = blocks_of(params0, blocks)
    with precision_of(x):
        distance = jax.jit(distance_of, static_argnums=0)
        return {
            name: float(distance(as_function(apply), params0, params1, x, masks(params0, at)))
            for name, at in found.items()
        }


def blocks_of(params: Any, pattern: str) -> Blocks:
    """The leaves of each block."""
    found: Blocks = {}
    for path, leaf in parameters(params).items():
        fits = re.search(pattern, path)
        if fits is None:
            continue
        if fits.groups():
            found.setdefault(str(fits[1]), {})[path] = None
        else:
            for i in range(leaf.shape[0]):
                found.setdefault(str(i), {})[path] = i
    if not found:
        raise ValueError(f"blocks={pattern!r} fits no parameter; there are {', '.join(parameters(params))}.")
    return found


def masks(params: Any, at: dict[str, int | None]) -> Any:
    """A tree like `params`, one for what is in the block and zero elsewhere."""

    def mask(path: str, leaf: Any) -> Any:
        place = at.get(path, -1)
        if place is None or path not in at:
            return np.full((1,) * leaf.ndim, path in at, leaf.dtype)
        rows = np.arange(leaf.shape[0]) == place
        return rows.reshape(-1, *(1,) * (leaf.ndim - 1)).astype(leaf.dtype)

    return mapped(mask, params)


def distance_of(apply: Any, params0: Any, params1: Any, x: Any, where: Any) -> Array:
    """The distance where only what the masks `where` keep moves."""
    return _distance(apply, params0, jax.tree.map(lambda a, b, m: a + m * (b - a), params0, params1, where), x)


def _distance(apply: Any, params0: Any, params1: Any, x: Any) -> Array:
    moves = jax.tree.map(lambda a, b: b - a, params0, params1)
    start, linear = jax.jvp(lambda params: apply(params, x), (params0,), (moves,))
    moved = apply(params1, x) - start
    return jnp.linalg.norm((moved - linear).ravel()) / jnp.linalg.norm(moved.ravel())
