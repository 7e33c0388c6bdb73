"""The functions that are named: what is known about each, as data.

A function without parameters is a value (`relu`); one with parameters is made by a function
(`leaky_relu(0.1)`), and gradients reach the parameters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.activations import closed
from widenet.activations import rectified_power as powers
from widenet.activations.activation import Activation
from widenet.activations.arccos import (
    two_levels_mean,
    two_levels_pair,
    two_slopes_mean,
    two_slopes_pair,
)
from widenet.activations.clipped import crelu, cst, hard_sigmoid, hard_tanh, relu6, shifted_relu, soft_threshold
from widenet.activations.cosine_distance import two_levels_distance, two_slopes_distance
from widenet.activations.family import AtZero, Average, Distance, Parameters, Twice
from widenet.activations.numerics import horner
from widenet.activations.piecewise import constant_pair, linear_pair


def _two_slopes(name: str, fn: Any, parameters: Parameters, prime: Any, params: tuple[Any, ...] = ()) -> Activation:
    return Activation(
        *(name, fn, params, prime),
        closed=Twice(two_slopes_pair, parameters),
        distance=Distance(two_slopes_distance, parameters),
        kinks=(0.0,),
        average=Average(two_slopes_mean, parameters),
        families=((two_slopes_pair, parameters), (linear_pair, AtZero(parameters, (0.0,)))),
    )


def _two_levels(name: str, fn: Any, parameters: Parameters, params: tuple[Any, ...] = ()) -> Activation:
    return Activation(
        *(name, fn, params, _zero),
        closed=Twice(two_levels_pair, parameters),
        distance=Distance(two_levels_distance, parameters),
        kinks=(0.0,),
        average=Average(two_levels_mean, parameters),
        continuous=False,
        families=((two_levels_pair, parameters), (constant_pair, AtZero(parameters))),
    )


def _smooth(
    name: str, fn: Any, pair: Any, mean: Any, parameters: Parameters, params: tuple[Any, ...] = ()
) -> Activation:
    closed_form, average = Twice(pair, parameters), Average(mean, parameters)
    return Activation(name, fn, params, closed=closed_form, average=average, families=((pair, parameters),))


def _all(*params: Any) -> tuple[Any, ...]:
    return params


def _constant_fn(u: Array, value: Any) -> Array:
    return jnp.zeros_like(u) + value


def _twice_constant(value: Any) -> tuple[Any, Any]:
    return value, value


def _constant_dual(q1: Array, q2: Array, k: Array, value: Any) -> Array:
    return jnp.zeros_like(q1 + q2 + k) + value**2


def constant(value: Any = 1.0) -> Activation:
    """phi(u) = value."""
    return Activation(
        *("constant", _constant_fn, (value,), _zero),
        closed=_constant_dual,
        average=_constant_fn,
        families=((closed.polynomial_pair, _all), (two_levels_pair, _twice_constant)),
    )


def _zero(*_: Any) -> Activation:
    return constant(0.0)


def _identity_fn(u: Array) -> Array:
    return u


def _identity_dual(q1: Array, q2: Array, k: Array) -> Array:
    return k + jnp.zeros_like(q1 + q2)


identity = Activation(
    *("identity", _identity_fn, (), constant),
    closed=_identity_dual,
    average=jnp.zeros_like,
    families=((closed.polynomial_pair, lambda: (0.0, 1.0)), (two_slopes_pair, lambda: (1.0, 1.0))),
)


def _step_fn(u: Array) -> Array:
    return jnp.heaviside(u, 0)


def _two_levels_fn(u: Array, a: Any, b: Any) -> Array:
    return jnp.where(u > 0, b, a) + jnp.zeros_like(u)


def _two_slopes_fn(u: Array, a: Any, b: Any) -> Array:
    return a * jnp.minimum(u, 0) + b * jnp.maximum(u, 0)


def _leaky(slope: Any) -> tuple[Any, Any]:
    return slope, 1.0


def two_levels(a: Any, b: Any) -> Activation:
    """phi(u) = a for u < 0, b for u > 0: the derivative of `abrelu(a, b)`."""
    return _two_levels("two_levels", _two_levels_fn, _all, (a, b))


def abrelu(a: Any, b: Any) -> Activation:
    """phi(u) = a min(u, 0) + b max(u, 0)."""
    return _two_slopes("abrelu", _two_slopes_fn, _all, two_levels, (a, b))


def leaky_relu(slope: Any = 0.01) -> Activation:
    """phi(u) = u for u > 0, slope u for u < 0."""
    return _two_slopes("leaky_relu", jax.nn.leaky_relu, _leaky, _leaky_prime, (slope,))


def prelu(slope: Any = 0.25) -> Activation:
    """phi(u) = u for u > 0, slope u for u < 0: `leaky_relu` where the slope is learned."""
    return _two_slopes("prelu", jax.nn.leaky_relu, _leaky, _leaky_prime, (slope,))


def _leaky_prime(slope: Any) -> Activation:
    return two_levels(slope, 1.0)


step = _two_levels("step", _step_fn, lambda: (0.0, 1.0))
sign = _two_levels("sign", jnp.sign, lambda: (-1.0, 1.0))
relu = _two_slopes("relu", jax.nn.relu, lambda: (0.0, 1.0), lambda: step)
absolute = _two_slopes("absolute", jnp.abs, lambda: (-1.0, 1.0), lambda: sign)


@lru_cache
def rectified_power(n: int) -> Activation:
    """phi(u) = max(u, 0)^n, the features of the arc-cosine kernel of order n (D6).

    Raises: ValueError for a negative order.
    """
    if n < 0:
        raise ValueError(f"rectified_power({n}): the order is a whole number >= 0.")
    if n < 2:
        return relu if n else step
    fn, dual, mean = (partial(f, n) for f in (powers.power_value, powers.power_dual, powers.power_mean))
    return Activation(f"rectified_power({n})", fn, closed=dual, kinks=(0.0,), average=mean)


def _scaled_erf_fn(u: Array, a: Any, b: Any, c: Any) -> Array:
    return a * jax.scipy.special.erf(b * u) + c


def scaled_erf(a: Any = 1.0, b: Any = 1.0, c: Any = 0.0) -> Activation:
    """phi(u) = a erf(b u) + c (D7)."""
    return _smooth("scaled_erf", _scaled_erf_fn, closed.erf_pair, closed.erf_mean, _all, (a, b, c))


def _gelu_fn(u: Array) -> Array:
    return jax.nn.gelu(u, approximate=False)


erf = _smooth("erf", jax.scipy.special.erf, closed.erf_pair, closed.erf_mean, lambda: (1.0, 1.0, 0.0))
gelu = Activation("gelu", _gelu_fn, closed=closed.gelu_dual, average=closed.gelu_mean)


def _sine_fn(u: Array, a: Any, b: Any, c: Any) -> Array:
    return a * jnp.sin(b * u + c)


def _cosine_fn(u: Array, a: Any, b: Any, c: Any) -> Array:
    return a * jnp.cos(b * u + c)


def _shifted(a: Any, b: Any, c: Any) -> tuple[Any, Any, Any]:
    return a, b, c + np.pi / 2


def sine(a: Any = 1.0, b: Any = 1.0, c: Any = 0.0) -> Activation:
    """phi(u) = a sin(b u + c) (D9)."""
    return _smooth("sine", _sine_fn, closed.sine_pair, closed.sine_mean, _all, (a, b, c))


def cosine(a: Any = 1.0, b: Any = 1.0, c: Any = 0.0) -> Activation:
    """phi(u) = a cos(b u + c) (D9)."""
    return _smooth("cosine", _cosine_fn, closed.sine_pair, closed.sine_mean, _shifted, (a, b, c))


sin = _smooth("sin", jnp.sin, closed.sine_pair, closed.sine_mean, lambda: (1.0, 1.0, 0.0))
cos = _smooth("cos", jnp.cos, closed.sine_pair, closed.sine_mean, lambda: (1.0, 1.0, np.pi / 2))


def _rbf_parameters(gamma: Any) -> tuple[Any, Any, Any]:
    return np.sqrt(2).item(), jnp.sqrt(2 * gamma), np.pi / 4


def _rbf_fn(u: Array, gamma: Any) -> Array:
    return _sine_fn(u, *_rbf_parameters(gamma))


def rbf(gamma: Any = 1.0) -> Activation:
    """phi(u) = sqrt(2) sin(sqrt(2 gamma) u + pi/4), whose dual is exp(-gamma (q1 + q2 - 2 k)) (D9)."""
    return Activation(
        *("rbf", _rbf_fn, (gamma,)),
        closed=closed.rbf_dual,
        average=Average(closed.sine_mean, _rbf_parameters),
        families=((closed.sine_pair, _rbf_parameters),),
    )


def _exponential_fn(u: Array, a: Any, b: Any) -> Array:
    return a * jnp.exp(b * u)


def exponential(a: Any = 1.0, b: Any = 1.0) -> Activation:
    """phi(u) = a e^(b u) (D10)."""
    return _smooth("exponential", _exponential_fn, closed.exponential_pair, closed.exponential_mean, _all, (a, b))


def _gaussian_fn(u: Array, a: Any, b: Any) -> Array:
    return a * jnp.exp(-b * u**2)


def gaussian(a: Any = 1.0, b: Any = 1.0) -> Activation:
    """phi(u) = a e^(-b u^2), b >= 0 (D11)."""
    return _smooth("gaussian", _gaussian_fn, closed.gaussian_pair, closed.gaussian_mean, _all, (a, b))


def _polynomial_fn(u: Array, *coefs: Any) -> Array:
    return horner(coefs, u)


def polynomial(coefs: Sequence[Any]) -> Activation:
    """phi(u) = sum_i coefs[i] u^i (D12).

    Raises: ValueError if there are no coefficients.
    """
    if not len(coefs):
        raise ValueError("polynomial(()): give at least one coefficient, from low to high order.")
    return _smooth("polynomial", _polynomial_fn, closed.polynomial_pair, closed.polynomial_mean, _all, tuple(coefs))


def monomial(n: int) -> Activation:
    """phi(u) = u^n (D12)."""
    return polynomial((0.0,) * n + (1.0,))


@lru_cache
def hermite(n: int) -> Activation:
    """phi(u) = He_n(u) / sqrt(n!), orthonormal under N(0, 1) (D13)."""
    fn, dual, mean = (partial(f, n) for f in (closed.hermite_value, closed.hermite_dual, closed.hermite_mean))
    return Activation(f"hermite({n})", fn, closed=dual, average=mean)


def elu(alpha: Any = 1.0) -> Activation:
    """phi(u) = u for u > 0, alpha (e^u - 1) for u < 0 (D16)."""
    return Activation("elu", jax.nn.elu, (alpha,), kinks=(0.0,))


selu = Activation("selu", jax.nn.selu, kinks=(0.0,))
tanh = Activation("tanh", jnp.tanh)
sigmoid = Activation("sigmoid", jax.nn.sigmoid)
silu = Activation("silu", jax.nn.silu)
mish = Activation("mish", jax.nn.mish)
softplus = Activation("softplus", jax.nn.softplus)


def _dyt_fn(u: Array, alpha: Any, gamma: Any, beta: Any) -> Array:
    return gamma * jnp.tanh(alpha * u) + beta


def _dyt_mean(q: Array, alpha: Any, gamma: Any, beta: Any) -> Array:
    return beta + jnp.zeros_like(q * alpha * gamma)


def dyt(alpha: Any = 0.5, gamma: Any = 1.0, beta: Any = 0.0) -> Activation:
    """phi(u) = gamma tanh(alpha u) + beta: dynamic tanh, put where a normalization was (D14).

    Its integrals are those of tanh at the variance alpha^2 q, as `tanh` computes them.  A real network has one
    gamma and one beta a channel; all begin at one value, and so they are scalars here.
    Source: Zhu et al. 2025, section 4.
    """
    return Activation("dyt", _dyt_fn, (alpha, gamma, beta), average=_dyt_mean)


NAMED: Mapping[str, Activation] = MappingProxyType(
    {
        phi.name: phi
        for phi in (
            *(identity, relu, leaky_relu(), prelu(), absolute, step, sign, elu(), selu),
            *(hard_tanh, relu6, hard_sigmoid, crelu(), cst(), shifted_relu(), soft_threshold()),
            *(erf, gelu, sin, cos, rbf(), gaussian(), exponential()),
            *(tanh, dyt(), sigmoid, silu, mish, softplus),
        )
    }
)
