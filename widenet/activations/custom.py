"""An activation from any function of the user."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from widenet.activations.activation import Activation

NEAR, FAR = 1e-4, 1e-2  # where a jump is looked for: a continuous function changes a hundred times less at NEAR


def activation(
    fn: Callable[..., Array],
    *,
    name: str | None = None,
    breakpoints: Sequence[float] = (),
    params: Sequence[Any] = (),
    continuous: bool = True,
) -> Activation:
    """The elementwise function u -> fn(u, *params), integrated numerically.

    `breakpoints` lists where fn or one of its derivatives jumps; `continuous=False` says that fn itself
    does.  Gradients reach `params`.  Make `fn` once: jit compiles again for a new function object.
    Raises: ValueError if fn jumps at a breakpoint and was said to be continuous.
    """
    name = str(name or getattr(fn, "__name__", type(fn).__name__))
    phi = Activation(name, fn, tuple(params), kinks=tuple(map(float, breakpoints)), continuous=continuous)
    jumps = [b for b in phi.breakpoints if continuous and _jumps(phi, b)]
    if jumps:
        raise ValueError(f"{name} jumps at {jumps}: say so with continuous=False, its derivatives need to know.")
    return phi


def _jumps(phi: Activation, at: float) -> bool:
    try:
        near, far = (float(abs(phi.fn(at + h, *phi.params) - phi.fn(at - h, *phi.params))) for h in _steps(at))
    except jax.errors.ConcretizationTypeError:  # params are traced: trust the caller
        return False
    return near > far / 2 and near > NEAR


def _steps(at: float) -> tuple[Array, Array]:
    size = max(1.0, abs(at))
    return jnp.asarray(NEAR * size), jnp.asarray(FAR * size)
