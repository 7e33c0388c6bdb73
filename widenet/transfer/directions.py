"""The size of what an optimizer makes of a gradient, before the learning rate. (V4)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import Array

from widenet.initializers.fans import fans
from widenet.parametrizations.factors import Factors
from widenet.parametrizations.leaf import Leaf
from widenet.parametrizations.optimizers import Optimizer
from widenet.parametrizations.trees import parameters
from widenet.transfer.cores import axes_of
from widenet.transfer.probes import rms

POWER_STEPS = 10  # orthogonal factors have equal singular values, others of size one need no more digits


def directions(factors: Factors | None, rate: float) -> Callable[[Any, Any], dict[tuple[str, str], Array]]:
    """Of parameters before and after a step: the direction of each one, over the size that its optimizer states.

    For optimizers whose directions do not depend on the size of gradients: the root mean square of entries (Adam), or
    the largest singular value over the optimizer's own scale (Muon).  Then these should not depend on width.
    """
    if factors is None:
        return lambda *_: {}

    def sizes(before: Any, after: Any) -> dict[tuple[str, str], Array]:
        then, made = parameters(before), {}
        for path, now in parameters(after).items():
            leaf, optimizer = factors.specs[path], factors.optimizers[path]
            if optimizer.degree == 0:
                move = (now - then[path]) / (rate * factors.by_path[path].rate)
                made[path, "direction"] = _size(move, leaf, optimizer, factors)
        return made

    return sizes


def _size(move: Array, leaf: Leaf, optimizer: Optimizer, factors: Factors) -> Array:
    axes = axes_of(factors.specs)(leaf.path)
    if optimizer.entrywise or axes is None:
        return rms(move)
    stated = 1.0 if optimizer.own_scale is None else optimizer.own_scale(*leaf.fans())
    matrix = fans(leaf.shape, axes).matrices(move)[0]
    v = jnp.sum(matrix, axis=0) + matrix[0]
    for _ in range(POWER_STEPS):
        v = matrix.T @ (matrix @ (v / jnp.linalg.norm(v)))
    return jnp.linalg.norm(matrix @ (v / jnp.linalg.norm(v))) / stated
