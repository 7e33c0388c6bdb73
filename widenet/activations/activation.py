"""What an elementwise function is, as data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True, eq=False)
class Activation:
    """An elementwise function phi and what is known about it in closed form.

    `params` are the leaves (so gradients reach them); everything else is static and must be the same
    object, or equal, from call to call, else jit compiles again.  Only `name` and `fn` are required: a
    function without closed form is integrated numerically, and a kinked one must then list its
    `kinks`: numbers, or a function of the parameters that returns them.
    """

    name: str
    fn: Callable[..., Array]  # fn(u, *params), elementwise
    params: tuple[Any, ...] = ()
    prime: Callable[..., Activation] | None = None  # prime(*params): the derivative, almost everywhere
    closed: Callable[..., Array] | None = None  # closed(q1, q2, k, *params) = E[phi(u) phi(v)]
    distance: Callable[..., tuple[Array, Array]] | None = (
        None  # distance(gap, *params), see activations/cosine_distance.py
    )
    kinks: tuple[float, ...] | Callable[..., tuple[Any, ...]] = ()  # where fn or one of its derivatives jumps
    average: Callable[..., Array] | None = None  # average(q, *params) = E phi(u)
    continuous: bool = True  # False: fn itself jumps at a breakpoint
    families: tuple[tuple[Callable[..., Array], Callable[..., Any]], ...] = ()  # (pair, parameters), see dual.py

    def __call__(self, x: Any) -> Any:
        """phi(x) of an array, or the variable phi(x) of a program."""
        from widenet.program.build import nonlin
        from widenet.program.var import Var

        return nonlin(self, x) if isinstance(x, Var) else self.fn(x, *self.params)

    @property
    def breakpoints(self) -> tuple[Any, ...]:
        """Where fn or one of its derivatives jumps, in no order."""
        return self.kinks(*self.params) if callable(self.kinks) else self.kinks

    @property
    def static(self) -> tuple[Any, ...]:
        """What jit compares: everything but the parameters."""
        return (
            *(self.name, self.fn, self.prime, self.closed, self.distance),
            *(self.kinks, self.average, self.continuous, self.families),
        )

    def tree_flatten(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """The parameters and the rest."""
        return self.params, self.static

    @classmethod
    def tree_unflatten(cls, static: tuple[Any, ...], params: Any) -> Activation:
        """The inverse of `tree_flatten`."""
        name, fn, *rest = static
        return cls(name, fn, tuple(params), *rest)


@dataclass(frozen=True)
class Derivative:
    """The derivative of an elementwise function by forward differentiation; equal for equal functions."""

    fn: Callable[..., Array]

    def __call__(self, u: Array, *params: Any) -> Array:
        """fn'(u)."""
        u = jnp.asarray(u)
        return jax.jvp(lambda x: self.fn(x, *params), (u,), (jnp.ones_like(u),))[1]


@dataclass(frozen=True)
class Times:
    """The product u^degree fn(u)^power: what Stein's lemma and second moments integrate."""

    fn: Callable[..., Array]
    degree: int = 0
    power: int = 1

    def __call__(self, u: Array, *params: Any) -> Array:
        """u^degree fn(u)^power."""
        return u**self.degree * self.fn(u, *params) ** self.power


def derivative(phi: Activation) -> Activation:
    """phi' almost everywhere: the declared one, else by automatic differentiation of `fn`.

    A derivative of a function with kinks is taken to jump there.
    """
    if phi.prime is not None:
        return phi.prime(*phi.params)
    return Activation(f"{phi.name}'", Derivative(phi.fn), phi.params, kinks=phi.kinks, continuous=not phi.kinks)


def with_dtype(phi: Activation, dtype: Any) -> Activation:
    """`phi` with its parameters in the precision of what it acts on."""
    return jax.tree.map(lambda parameter: jnp.asarray(parameter, dtype), phi)
