"""A network as a polynomial in its parameters, around given ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Function = Callable[[Any, Any], Any]


def linearize(f: Function, params0: Any) -> Function:
    """The first-order expansion of f(params, x) in its parameters around `params0`.

    f_lin(params, x) = f(params0, x) + df(params0, x) (params - params0)                (F9)

    f: any function of a pytree and data; for one of our nets, `function_of(net)`.  Integer leaves of the parameters
    stay what they are in `params0`.  It costs about four evaluations of f.
    Source: lee2019, eq. (5).
    """
    return taylor(f, params0, 1)


def taylor(f: Function, params0: Any, degree: int) -> Function:
    """The expansion of f(params, x) in its parameters around `params0`, to order `degree`.

    f_k(params, x) = sum_{j <= k} (1/j!) d^j/dt^j f(params0 + t (params - params0), x) at t = 0        (F10)

    Exact, also as a function of `params`: gradients of it are right.  Nested forward mode, which doubles
    the cost with each degree: about 4, 9, 18, 36 evaluations of f at degrees 1 to 4.  Degree 0 is f(params0, x).
    Raises: ValueError for a negative degree.
    """
    if degree < 0:
        raise ValueError(f"a Taylor expansion has a degree >= 0; got {degree}.")
    start, rebuild = split_floats(params0)

    def f_k(params: Any, x: Any) -> Any:
        end, _ = split_floats(params)
        towards = [jnp.asarray(b, a.dtype) - a for a, b in zip(start, end, strict=True)]
        return _series(lambda leaves: f(rebuild(leaves), x), start, towards, degree)

    return f_k


def _series(f: Callable[[Any], Any], start: Any, towards: Any, degree: int) -> Any:
    terms, derivative = [f(start)], f
    for j in range(1, degree + 1):
        derivative = _along(derivative, towards)
        terms.append(jax.tree.map(lambda d, j=j: d / math.factorial(j), derivative(start)))
    return jax.tree.map(lambda *ds: sum(ds[1:], ds[0]), *terms)


def _along(f: Callable[[Any], Any], towards: Any) -> Callable[[Any], Any]:
    return lambda leaves: jax.jvp(f, (leaves,), (towards,))[1]


def split_floats(params: Any) -> tuple[list[Any], Callable[[list[Any]], Any]]:
    """The leaves of `params` that can be differentiated, and the function that puts others in their place.

    Raises: TypeError for complex parameters, whose kernel has no agreed meaning.
    """
    leaves, tree = jax.tree.flatten(params)
    dtypes = [jnp.result_type(leaf) for leaf in leaves]
    if any(jnp.issubdtype(dtype, jnp.complexfloating) for dtype in dtypes):
        raise TypeError("params has complex leaves: give real and imaginary parts as parameters of their own.")
    places = [i for i, dtype in enumerate(dtypes) if jnp.issubdtype(dtype, jnp.floating)]

    def rebuild(floats: list[Any]) -> Any:
        changed = list(leaves)
        for i, leaf in zip(places, floats, strict=True):
            changed[i] = leaf
        return jax.tree.unflatten(tree, changed)

    return [jnp.asarray(leaves[i]) for i in places], rebuild
