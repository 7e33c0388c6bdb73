"""Piecewise linear functions: clipped, sparse, hard versions of smooth ones, and those of the user. (D20)-(D23)

Every one is its `Parts`, kinks and slopes and the value at zero, as a function of its parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.activations import piecewise
from widenet.activations.activation import Activation
from widenet.activations.family import Average, Twice
from widenet.checks import is_traced


@dataclass(frozen=True)
class Kinks:
    """kinks(*params) of a function by its parts."""

    parts: Callable[..., tuple[Any, ...]]

    def __call__(self, *params: Any) -> tuple[Any, ...]:
        """The first of the parts."""
        return tuple(self.parts(*params)[0])


@dataclass(frozen=True)
class Slopes:
    """prime(*params) of a piecewise linear function by its parts."""

    parts: Callable[..., piecewise.Parts]

    def __call__(self, *params: Any) -> Activation:
        """The piecewise constant derivative."""
        kinks, slopes, _ = self.parts(*params)
        return _constant(kinks, slopes)


def _linear(name: str, fn: Any, parts: Callable[..., piecewise.Parts], params: tuple[Any, ...] = ()) -> Activation:
    return Activation(
        *(name, fn, params, Slopes(parts)),
        closed=Twice(piecewise.linear_pair, parts),
        average=Average(piecewise.linear_mean, parts),
        kinks=Kinks(parts),
        families=((piecewise.linear_pair, parts),),
    )


def _constant(kinks: Sequence[Any], levels: Sequence[Any]) -> Activation:
    return Activation(
        *("piecewise_constant", _constant_fn, (*kinks, *levels), _flat),
        closed=Twice(piecewise.constant_pair, _levels),
        average=Average(piecewise.constant_mean, _levels),
        kinks=Kinks(_levels),
        continuous=False,
        families=((piecewise.constant_pair, _levels),),
    )


def _parts(*params: Any) -> piecewise.Parts:
    count = len(params) // 2 - 1
    return params[:count], params[count:-1], params[-1]


def _levels(*params: Any) -> piecewise.Levels:
    count = len(params) // 2
    return params[:count], params[count:]


def _linear_fn(u: Array, *params: Any) -> Array:
    return piecewise.linear_value(u, *_parts(*params))


def _constant_fn(u: Array, *params: Any) -> Array:
    return piecewise.constant_value(u, *_levels(*params))


def _flat(*params: Any) -> Activation:
    return _constant(params[:1], (0.0, 0.0))


def piecewise_linear(breakpoints: Sequence[Any], slopes: Sequence[Any], value: Any = 0.0) -> Activation:
    """The continuous function with `slopes`, left to right, between `breakpoints`, and phi(0) = value. (D20)

    >>> hinge_loss = piecewise_linear((1.0,), (-1.0, 0.0), value=1.0)
    >>> float(hinge_loss(jnp.asarray(-2.0)))
    3.0

    Gradients reach breakpoints, slopes and value.
    Raises: ValueError unless the breakpoints rise and there is one slope more than breakpoints.
    """
    _check("piecewise_linear", "slopes", breakpoints, slopes)
    return _linear("piecewise_linear", _linear_fn, _parts, (*breakpoints, *slopes, value))


def piecewise_constant(breakpoints: Sequence[Any], levels: Sequence[Any]) -> Activation:
    """The function with values `levels`, left to right, between `breakpoints`: a quantizer. (D21)

    Gradients reach breakpoints and levels.
    Raises: ValueError unless the breakpoints rise and there is one level more than breakpoints.
    """
    _check("piecewise_constant", "levels", breakpoints, levels)
    return _constant(breakpoints, levels)


def _check(name: str, what: str, breakpoints: Sequence[Any], values: Sequence[Any]) -> None:
    if not len(breakpoints) or len(values) != len(breakpoints) + 1:
        given = f"{len(breakpoints)} breakpoints and {len(values)} {what}"
        raise ValueError(f"{name}: give at least one breakpoint, and one of {what} more than these; not {given}.")
    known = np.array([float(b) for b in breakpoints if not is_traced(b)])
    if not (np.diff(known) > 0).all():
        raise ValueError(f"{name}: the breakpoints {known.tolist()} must rise.")


def _at_least_zero(name: str, **values: Any) -> None:
    for key, value in values.items():
        if not is_traced(value) and not value >= 0:
            raise ValueError(f"{name}: {key} is {value}, but must be at least 0.")


def _crelu_fn(u: Array, tau: Any, m: Any) -> Array:
    return jnp.clip(u - tau, 0, m)


def _crelu_parts(tau: Any, m: Any) -> piecewise.Parts:
    return (tau, tau + m), (0.0, 1.0, 0.0), jnp.clip(-tau, 0, m)


def crelu(tau: Any = 1.0, m: Any = 1.0) -> Activation:
    """phi(u) = clip(u - tau, 0, m): zero for a share Phi(tau / p) of the inputs of variance p^2. (D23)

    m = inf gives `shifted_relu(tau)`.
    Raises: ValueError for a negative m.
    Source: Price et al. 2024.
    """
    _at_least_zero("crelu", m=m)
    return _linear("crelu", _crelu_fn, _crelu_parts, (tau, m))


def _cst_fn(u: Array, tau: Any, m: Any) -> Array:
    return jnp.clip(u - tau, 0, m) - jnp.clip(-u - tau, 0, m)


def _cst_parts(tau: Any, m: Any) -> piecewise.Parts:
    return (-tau - m, -tau, tau, tau + m), (0.0, 1.0, 0.0, 1.0, 0.0), 0.0


def cst(tau: Any = 1.0, m: Any = 1.0) -> Activation:
    """phi(u) = sign(u) clip(|u| - tau, 0, m): zero for a share 2 Phi(tau / p) - 1. (D23)

    m = inf gives `soft_threshold(tau)`.
    Raises: ValueError for a negative tau or m.
    Source: Price et al. 2024.
    """
    _at_least_zero("cst", tau=tau, m=m)
    return _linear("cst", _cst_fn, _cst_parts, (tau, m))


def _shifted_fn(u: Array, tau: Any) -> Array:
    return jax.nn.relu(u - tau)


def _shifted_parts(tau: Any) -> piecewise.Parts:
    return (tau,), (0.0, 1.0), jax.nn.relu(-tau)


def shifted_relu(tau: Any = 1.0) -> Activation:
    """phi(u) = max(u - tau, 0). (D23)"""
    return _linear("shifted_relu", _shifted_fn, _shifted_parts, (tau,))


def _soft_fn(u: Array, tau: Any) -> Array:
    return u - jnp.clip(u, -tau, tau)


def _soft_parts(tau: Any) -> piecewise.Parts:
    return (-tau, tau), (1.0, 0.0, 1.0), 0.0


def soft_threshold(tau: Any = 1.0) -> Activation:
    """phi(u) = sign(u) max(|u| - tau, 0). (D23)

    Raises: ValueError for a negative tau.
    """
    _at_least_zero("soft_threshold", tau=tau)
    return _linear("soft_threshold", _soft_fn, _soft_parts, (tau,))


hard_tanh = _linear("hard_tanh", jax.nn.hard_tanh, lambda: ((-1.0, 1.0), (0.0, 1.0, 0.0), 0.0))
relu6 = _linear("relu6", jax.nn.relu6, lambda: ((0.0, 6.0), (0.0, 1.0, 0.0), 0.0))
hard_sigmoid = _linear("hard_sigmoid", jax.nn.hard_sigmoid, lambda: ((-3.0, 3.0), (0.0, 1 / 6, 0.0), 0.5))
