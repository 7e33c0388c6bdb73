"""What is added to the two factors of a layer before they are inverted. (O6)

A damping is a function of the leaf's name and of the eigenvalues of both factors, `[..., fan_in]` and `[..., fan_out]`
in rising order, that gives the two numbers `[...]` that are added to them.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jax import Array

from widenet.optimizers.leaves import PerLeaf, divided, per_leaf

Damping = Callable[[str, Array, Array], tuple[Array, Array]]


def relative_to_largest(eps: float = 1e-6) -> Damping:
    """`eps` times the largest eigenvalue of each factor: right at every width. (O6)"""
    _check(eps)
    return lambda _, a, b: (eps * a[..., -1], eps * b[..., -1])


def relative_to_trace(rho: float = 1e-3) -> Damping:
    """`rho` times the trace of each factor, not divided by its size: right at every width. (O6)

    Source: ishikawa2024.
    """
    _check(rho)
    return lambda _, a, b: (rho * jnp.sum(a, -1), rho * jnp.sum(b, -1))


def constant(rho: PerLeaf = 1e-3) -> Damping:
    """`rho`, for both factors alike: not right at every width, unless it is given leaf by leaf. (O6)"""
    of = per_leaf(rho, "the damping")
    return lambda name, a, b: (jnp.full(a.shape[:-1], of(name)), jnp.full(b.shape[:-1], of(name)))


def martens_grosse(rho: float = 1e-3) -> Damping:
    """pi sqrt(rho) and sqrt(rho) / pi, pi^2 the ratio of the mean eigenvalues: wrong at the input layer. (O6)

    Source: martens2015, sec. 6.3.
    """
    _check(rho)

    def damping(_: str, a: Array, b: Array) -> tuple[Array, Array]:
        means = jnp.mean(a, -1), jnp.mean(b, -1)
        both = (means[0] > 0) & (means[1] > 0)
        pi = jnp.sqrt(jnp.where(both, divided(*means), 1))
        return pi * rho**0.5, rho**0.5 / pi

    return damping


def _check(strength: float) -> None:
    if not strength >= 0:
        raise ValueError(f"the damping is {strength}: give a number that is not negative.")
