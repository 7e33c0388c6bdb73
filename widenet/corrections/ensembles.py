"""Ensembles of weight matrices that have the covariance of independent entries, and their fourth cumulant.

    E[W_1j W_1k W_2l W_2m] = d_jk d_lm + (kappa / N) (d_jl d_km + d_jm d_kl),   N = max(fan_in, fan_out)      (W2)

to order 1/N, for entries of variance one: kappa = 0 for independent entries, -1 for orthogonal matrices, and
N/r - 1 for rank r.  That number is all that the 1/width expansion sees.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from widenet.finite.parameters import Params, as_key, init
from widenet.program.trace import Net


class Ensemble(Protocol):
    """A law of weight matrices whose entries have variance one."""

    @property
    def kappa(self) -> float:
        """The coefficient of the fourth cumulant between two rows (W2)."""

    def draw(self, key: Any, fan_in: int, fan_out: int) -> Array:
        """A matrix `[fan_in, fan_out]`."""


@dataclass(frozen=True)
class Iid:
    """Independent normal entries."""

    @property
    def kappa(self) -> float:
        """Zero."""
        return 0.0

    def draw(self, key: Any, fan_in: int, fan_out: int) -> Array:
        """Normal entries, `[fan_in, fan_out]`."""
        return jax.random.normal(key, (fan_in, fan_out))


@dataclass(frozen=True)
class Orthogonal:
    """Haar-distributed orthogonal matrices times sqrt(N), the first rows or columns of one if not square."""

    @property
    def kappa(self) -> float:
        """Minus one."""
        return -1.0

    def draw(self, key: Any, fan_in: int, fan_out: int) -> Array:
        """Orthogonal rows or columns, `[fan_in, fan_out]`."""
        size = max(fan_in, fan_out)
        return math.sqrt(size) * jax.random.orthogonal(key, size)[:fan_in, :fan_out]


@dataclass(frozen=True)
class LowRank:
    """W = sqrt(N/r) C P of rank r = fraction N: C has r orthonormal columns, P independent normal entries.

    fraction: r / N, in (0, 1].
    Raises: ValueError for a fraction outside.
    Source: naitsaada2024, section 3.
    """

    fraction: float

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"LowRank({self.fraction}): the rank is a fraction of the width, in (0, 1].")

    @property
    def kappa(self) -> float:
        """N/r - 1."""
        return 1 / self.fraction - 1

    def draw(self, key: Any, fan_in: int, fan_out: int) -> Array:
        """A matrix of that rank, `[fan_in, fan_out]`.

        Raises: ValueError if the rank would be below one.
        """
        size = max(fan_in, fan_out)
        rank = round(self.fraction * size)
        if rank < 1:
            raise ValueError(f"LowRank({self.fraction}) has no rank at width {size}: take a wider layer.")
        left, right = jax.random.split(key)
        columns = jax.random.orthogonal(left, size)[:fan_out, :rank]
        return math.sqrt(size / rank) * jax.random.normal(right, (fan_in, rank)) @ columns.T


ENSEMBLES: Mapping[str, Ensemble] = MappingProxyType({"iid": Iid(), "orthogonal": Orthogonal()})


def ensemble_of(ensemble: str | Ensemble) -> Ensemble:
    """The ensemble of that name, or the one that was given.

    Raises: ValueError for another name.
    """
    if isinstance(ensemble, str) and ensemble in ENSEMBLES:
        return ENSEMBLES[ensemble]
    if isinstance(ensemble, str) or not hasattr(ensemble, "kappa"):
        raise ValueError(f"there is no ensemble {ensemble!r}: take one of {', '.join(ENSEMBLES)}, or wn.LowRank(0.5).")
    return ensemble


def draw_params(net: Net, key: Any, shape: Any, width: int, ensemble: str | Ensemble) -> Params:
    """Parameters as `init` makes them, with weight matrices of an ensemble; biases are normal."""
    ensemble, (key, own) = ensemble_of(ensemble), jax.random.split(as_key(key))
    leaves, tree = jax.tree.flatten_with_path(init(net, own, shape, width))
    drawn = [
        _matrices(ensemble, jax.random.fold_in(key, i), leaf) if path[-1].key == "w" else leaf
        for i, (path, leaf) in enumerate(leaves)
    ]
    return jax.tree.unflatten(tree, drawn)


def _matrices(ensemble: Ensemble, key: Any, like: Array) -> Array:
    """Draws of the shape of `like`, `[..., fan_in, fan_out]`."""
    *copies, fan_in, fan_out = like.shape
    keys = jax.random.split(key, math.prod(copies))
    drawn = jax.vmap(lambda k: ensemble.draw(k, fan_in, fan_out))(keys)
    return jnp.reshape(drawn, like.shape).astype(like.dtype)
