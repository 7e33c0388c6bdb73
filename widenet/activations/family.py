"""What a family of functions knows, as the fields of one of its members."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jax import Array

Parameters = Callable[..., Sequence[Any]]


@dataclass(frozen=True)
class Twice:
    """closed(q1, q2, k, *params): the pair function of a family for one function twice."""

    pair: Callable[..., Array]
    parameters: Parameters

    def __call__(self, q1: Array, q2: Array, k: Array, *params: Any) -> Array:
        """E[phi(u) phi(v)]."""
        both = self.parameters(*params)
        return self.pair(q1, q2, k, both, both)


@dataclass(frozen=True)
class Average:
    """average(q, *params): the mean function of a family."""

    mean: Callable[..., Array]
    parameters: Parameters

    def __call__(self, q: Array, *params: Any) -> Array:
        """E phi(u)."""
        return self.mean(q, *self.parameters(*params))


@dataclass(frozen=True)
class Distance:
    """distance(gap, *params): a family as a map of cosine distances."""

    distance: Callable[..., tuple[Array, Array]]
    parameters: Parameters

    def __call__(self, gap: Array, *params: Any) -> tuple[Array, Array]:
        """The cosine distance after, and the slope."""
        return self.distance(gap, *self.parameters(*params))


@dataclass(frozen=True)
class AtZero:
    """(a, b) left and right of zero as the parameters of a piecewise family with one kink, at zero."""

    parameters: Parameters
    rest: tuple[float, ...] = ()

    def __call__(self, *params: Any) -> tuple[Any, ...]:
        """The kinks, the slopes or values, and the rest."""
        return (0.0,), tuple(self.parameters(*params)), *self.rest
