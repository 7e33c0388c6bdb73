"""A parametrization applied to parameters: initialization and multipliers. (U5)"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from widenet.parametrizations.factors import Factors
from widenet.parametrizations.leaf import Role
from widenet.parametrizations.trees import filled, mapped, parameters


def rescale_init(
    params: Any, base_params: Any, factors: Factors, *, zero_readout: bool = False, zero: str | None = None
) -> Any:
    """The initial parameters of a wide model, of the sizes that the parametrization asks for.

    Every array is scaled to the root mean square of the base model's array times its factor n^-b, whatever law the
    model draws from; so doing it twice is doing it once.  Arrays that are constant in the base model (gains of one,
    biases of zero), or as wide as there, stay.
    params, base_params: pytrees of the wide and of the base model, as drawn.
    zero_readout: are readouts set to zero?  zero: pattern of the paths of other parameters that are, such as "query".
    Raises: ValueError if shapes do not fit, or for a zero readout under an optimizer that divides by curvature: its
    first step would fit the readout alone.
    """
    factors.specs.check(params)
    then = parameters(base_params)
    for leaf in factors.specs:
        if leaf.path not in then or tuple(then[leaf.path].shape) != leaf.base:
            found = tuple(then[leaf.path].shape) if leaf.path in then else "missing"
            raise ValueError(f"base_params are of another model: {leaf.path!r} is {found} there, not {leaf.base}.")
    check_zero_readout(factors, zero_readout)

    def scaled(path: str, values: Any) -> Any:
        leaf = factors.specs[path]
        if (zero_readout and leaf.role == Role.OUTPUT) or (zero is not None and re.search(zero, path)):
            return jnp.zeros_like(values)
        if leaf.fan_in == leaf.fan_out == 1 or not float(jnp.std(then[path])):
            return values
        wanted = jnp.sqrt(jnp.mean(jnp.square(then[path]))) * factors.by_path[path].init
        return (values * (wanted / jnp.sqrt(jnp.mean(jnp.square(values))))).astype(values.dtype)

    return mapped(scaled, params)


def check_zero_readout(factors: Factors, zero_readout: bool) -> None:
    """Raises: ValueError where a zero readout would stop the features from learning."""
    natural = sorted({optimizer.name for optimizer in factors.optimizers.values() if optimizer.natural})
    if zero_readout and natural:
        raise ValueError(
            f"a zero readout and {natural[0]}: its first step solves for the readout, and features get no gradient. "
            "Draw the readout (zero_readout=False), or use another optimizer."
        )


def multipliers(factors: Factors, params: Any) -> Any:
    """The multiplier n^-a of every parameter, a tree like `params`; 1 at leaves that are no parameters."""
    factors.specs.check(params)
    return filled(factors.column("multiplier"), params, 1.0)


def with_multipliers(apply: Callable[..., Any], factors: Factors) -> Callable[..., Any]:
    """`apply(params, ...)` with every parameter times its multiplier; in form A that is `apply` itself."""
    values = factors.column("multiplier")
    if all(value == 1 for value in values.values()):
        return apply

    def multiplied(params: Any, *args: Any, **kwargs: Any) -> Any:
        factors.specs.check(params)
        return apply(mapped(lambda path, leaf: leaf * values[path], params), *args, **kwargs)

    return multiplied
