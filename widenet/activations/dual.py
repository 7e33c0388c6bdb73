"""Gaussian expectations of elementwise functions: the best route that is known for each.

Throughout (u, v) ~ N(0, [[q1, k], [k, q2]]) with q1, q2 >= 0 and |k| <= sqrt(q1 q2), elementwise over
arrays that broadcast; results have their precision.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from widenet.activations.activation import Activation, Times, derivative, with_dtype
from widenet.activations.closed import polynomial_pair
from widenet.activations.hermite_series import series_dual, smooth_mean, square
from widenet.activations.numerics import ratio
from widenet.activations.split_rule import kinked_mean, split_dual


def mean(phi: Activation, q: Array) -> Array:
    """E phi(u), u ~ N(0, q). (D15)

    Closed form, or one-dimensional quadrature that is split at the breakpoints.
    Shapes: that of q.
    """
    (q,) = _floats(q)
    phi = with_dtype(phi, q.dtype)
    if phi.average is not None:
        return phi.average(q, *phi.params)
    return kinked_mean(phi, q) if phi.breakpoints else smooth_mean(phi, q)


def second_moment(phi: Activation, q: Array) -> Array:
    """E phi(u)^2, u ~ N(0, q): the dual at k = q1 = q2 = q. (D15)

    Shapes: that of q.
    """
    (q,) = _floats(q)
    phi = with_dtype(phi, q.dtype)
    if phi.closed is None:
        return mean(square(phi), q)
    if phi.distance is None:
        return phi.closed(q, q, q, *phi.params)
    one = jnp.ones((), q.dtype)  # homogeneous, of degree 1 or, if it jumps, 0
    return phi.closed(one, one, one, *phi.params) * (q if phi.continuous else jnp.ones_like(q))


def dual(phi: Activation, q1: Array, q2: Array, k: Array) -> Array:
    """E[phi(u) phi(v)]. (D3)-(D16)

    Closed form if there is one; else the Hermite series for a smooth function (error at most
    `stated_error`), and for a kinked one quadrature that is split at the breakpoints.
    Shapes: q1, q2, k broadcast.
    """
    q1, q2, k = _floats(q1, q2, k)
    phi = with_dtype(phi, k.dtype)
    return _numerical(phi, None, q1, q2, k) if phi.closed is None else phi.closed(q1, q2, k, *phi.params)


def slope(phi: Activation, q1: Array, q2: Array, k: Array) -> Array:
    """E[phi'(u) phi'(v)] with phi' almost everywhere, so 0 for a step: what the NTK multiplies by. (D17)

    Shapes: q1, q2, k broadcast.
    Source: Jacot et al. 2018, thm. 1 (its Sigma-dot); Price 1958 for smooth functions.
    """
    q1, q2, k = _floats(q1, q2, k)
    phi = with_dtype(phi, k.dtype)
    prime = derivative(phi)
    if phi.closed is not None and phi.continuous and prime.closed is None:
        return _derivative_in_k(lambda x: dual(phi, q1, q2, x), q1, q2, k)
    return dual(prime, q1, q2, k)


def cross_dual(phi: Activation, psi: Activation, q1: Array, q2: Array, k: Array) -> Array:
    """E[phi(u) psi(v)] of two functions. (D18)

    A closed form if both belong to one family; an affine function by regression, E[u psi(v)]
    = k E[v psi(v)]/q2 = k E psi'(v); else numerically.
    Shapes: q1, q2, k broadcast.
    Source: Stein 1981, lemma 1.
    """
    q1, q2, k = _floats(q1, q2, k)
    phi, psi = with_dtype(phi, k.dtype), with_dtype(psi, k.dtype)
    if phi is psi:
        return dual(phi, q1, q2, k)
    pair = _family_dual(phi, psi, q1, q2, k)
    if pair is not None:
        return pair
    if (affine := _affine(phi)) is not None:
        return _affine_dual(affine, psi, q2, k) + 0 * q1
    if (affine := _affine(psi)) is not None:
        return _affine_dual(affine, phi, q1, k) + 0 * q2
    return _numerical(phi, psi, q1, q2, k)


def cross_slope(phi: Activation, psi: Activation, q1: Array, q2: Array, k: Array) -> Array:
    """E[phi'(u) psi'(v)] with derivatives almost everywhere. (D17)

    Shapes: q1, q2, k broadcast.
    """
    q1, q2, k = _floats(q1, q2, k)
    phi, psi = with_dtype(phi, k.dtype), with_dtype(psi, k.dtype)
    closed = phi.continuous and psi.continuous and _family_dual(phi, psi, q1, q2, k) is not None
    if closed:
        return _derivative_in_k(lambda x: cross_dual(phi, psi, q1, q2, x), q1, q2, k)
    return cross_dual(derivative(phi), derivative(psi), q1, q2, k)


def _floats(*arrays: Any) -> tuple[Array, ...]:
    """The arrays in their common floating precision."""
    dtype = jnp.result_type(0.0, *arrays)
    return tuple(jnp.asarray(x, dtype) for x in arrays)


def _derivative_in_k(function: Any, q1: Array, q2: Array, k: Array) -> Array:
    k = jnp.broadcast_to(k, jnp.broadcast_shapes(q1.shape, q2.shape, k.shape))
    return jax.jvp(function, (k,), (jnp.ones_like(k),))[1]


def _family_dual(phi: Activation, psi: Activation, q1: Array, q2: Array, k: Array) -> Array | None:
    for pair, left in phi.families:
        for other, right in psi.families:
            if pair is other:
                return pair(q1, q2, k, left(*phi.params), right(*psi.params))
    return None


def _affine(phi: Activation) -> tuple[Any, Any] | None:
    """(a0, a1) of phi(u) = a0 + a1 u, if it is such a polynomial."""
    for pair, parameters in phi.families:
        coefs = tuple(parameters(*phi.params)) if pair is polynomial_pair else ()
        if coefs and len(coefs) <= 2:
            return (*coefs, 0.0)[:2]
    return None


def _affine_dual(affine: tuple[Any, Any], psi: Activation, q: Array, k: Array) -> Array:
    """E[(a0 + a1 u) psi(v)], q the variance of v."""
    return affine[0] * mean(psi, q) + affine[1] * k * _regression(psi, q)


def _numerical(phi: Activation, psi: Activation | None, q1: Array, q2: Array, k: Array) -> Array:
    if phi.breakpoints or (psi is not None and psi.breakpoints):
        return split_dual(phi, phi if psi is None else psi, q1, q2, k)
    return series_dual(phi, psi, q1, q2, k)


def _regression(psi: Activation, q: Array) -> Array:
    """E[v psi(v)] / q: E psi'(v) for a continuous function, and right for one that jumps."""
    if psi.continuous:
        return mean(derivative(psi), q)
    product = Activation(f"v {psi.name}", Times(psi.fn, degree=1), psi.params, kinks=psi.kinks)
    return ratio(mean(product, q), q)
