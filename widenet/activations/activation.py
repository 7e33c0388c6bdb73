"""What an elementwise function is, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
from jax import Array


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True, eq=False)
class Activation:
    """An elementwise function phi and what is known about it in closed form.

    `params` are the leaves (so gradients reach them); everything else is static.  Only `name` and
    `fn` are required: a function without closed form is integrated numerically, and a kinked one
    must then list its `breakpoints`.
    """

    name: str
    fn: Callable[..., Array]  # fn(u, *params), elementwise
    params: tuple[Any, ...] = ()
    prime: Callable[..., Activation] | None = None  # prime(*params): the derivative, almost everywhere
    closed: Callable[..., Array] | None = None  # closed(q1, q2, k, *params) = E[phi(u) phi(v)]
    distance: Callable[..., tuple[Array, Array]] | None = None  # see activations/arccos.py
    breakpoints: tuple[float, ...] = field(default=())  # where fn or one of its derivatives jumps

    def __call__(self, u: Array) -> Array:
        return self.fn(u, *self.params)

    @property
    def static(self) -> tuple[Any, ...]:
        return self.name, self.fn, self.prime, self.closed, self.distance, self.breakpoints

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        return self.params, self.static

    @classmethod
    def tree_unflatten(cls, static: tuple[Any, ...], params: Any) -> Activation:
        name, fn, prime, closed, distance, breakpoints = static
        return cls(name, fn, tuple(params), prime, closed, distance, breakpoints)
