"""A network as a polynomial of its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def linearize(f: Callable[[Any, Array], Array], params: Any) -> Callable[[Any, Array], Array]:
    """f at first order around `params`: f(params, x) + <df(params, x), p - params>, as a function of (p, x) (F4).

    Source: lee2019, eq. (5).
    """
    return taylor(f, params, 1)


def taylor(f: Callable[[Any, Array], Array], params: Any, degree: int) -> Callable[[Any, Array], Array]:
    """The Taylor polynomial of f in its parameters around `params`, of any degree (F4).

    By nested forward differentiation: the cost of an evaluation doubles with each degree.
    Raises: ValueError for a negative degree.
    """
    if degree < 0:
        raise ValueError(f"taylor needs a degree >= 0; got {degree}.")

    def polynomial(p: Any, x: Array) -> Array:
        step = jax.tree.map(jnp.subtract, p, params)

        def along(t: Array) -> Array:
            return f(jax.tree.map(lambda a, b: a + t.astype(b.dtype) * b, params, step), x)

        total, term, factorial = 0.0, along, 1.0
        for order in range(degree + 1):
            total = total + term(jnp.zeros(())) / factorial
            term, factorial = _derivative(term), factorial * (order + 1)
        return total  # type: ignore[return-value]

    return polynomial


def _derivative(along: Callable[[Array], Array]) -> Callable[[Array], Array]:
    return lambda t: jax.jvp(along, (t,), (jnp.ones_like(t),))[1]
