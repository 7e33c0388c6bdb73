"""A parametrization applied to parameters: initialization and multipliers. (U5)"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from widenet.checks import is_traced
from widenet.parametrizations.factors import Factors
from widenet.parametrizations.leaf import Role
from widenet.parametrizations.trees import filled, mapped, parameters


def rescale_init(
    params: Any, base_params: Any, factors: Factors, *, zero_readout: bool = False, zero: str | None = None
) -> Any:
    """The initial parameters of a wide model, of the sizes that the parametrization asks for.

    Every array is scaled to the root mean square of the base model's array times its factor n^-b, whatever law the
    model draws from; so doing it twice is doing it once.  Zeros stay, and arrays that are as wide as in the base model.
    params, base_params: pytrees of the wide and of the base model, as drawn.
    zero_readout: are readouts set to zero?  zero: pattern of the paths of other parameters that are, such as "query".
    Raises: ValueError if shapes do not fit, for arrays that are zero or not finite in one of the models only, and for a
    zero readout under an optimizer that divides by curvature: its first step would fit the readout alone.
    """
    factors.specs.check(params)
    then = parameters(base_params)
    for leaf in factors.specs:
        if leaf.path not in then or tuple(then[leaf.path].shape) != leaf.base:
            found = tuple(then[leaf.path].shape) if leaf.path in then else "missing"
            raise ValueError(f"base_params are of another model: {leaf.path!r} is {found} there, not {leaf.base}.")
    check_zero_readout(factors, zero_readout)

    def scaled(path: str, values: Any) -> Any:
        leaf, init = factors.specs[path], factors.by_path[path].init
        if (zero_readout and leaf.role == Role.OUTPUT) or (zero is not None and re.search(zero, path)) or not init:
            return jnp.zeros_like(values)
        if leaf.fan_in == leaf.fan_out == 1:
            return values
        now, base = _rms(values), _rms(then[path])
        if not (is_traced(now) or is_traced(base)):
            check_sizes(path, float(now), float(base))
        return (values * jnp.where(now > 0, base * init / now, 1)).astype(values.dtype)

    return mapped(scaled, params)


def _rms(values: Any) -> Any:
    return jnp.sqrt(jnp.mean(jnp.square(jnp.abs(values).astype(jnp.promote_types(values.real.dtype, jnp.float32)))))


def check_sizes(path: str, now: float, base: float) -> None:
    """Raises: ValueError for root mean squares that are not finite, or of which only one is zero."""
    for size, name in ((now, "params"), (base, "base_params")):
        if not math.isfinite(size):
            raise ValueError(f"{path!r} is not finite in {name}: draw it anew.")
    if (now == 0) != (base == 0):
        where = "params" if now == 0 else "base_params"
        raise ValueError(
            f"{path!r} is zero in {where} only, so that there is no size to give it: draw it there too, or set it to "
            f"zero in both with zero_readout=True or zero={path!r}."
        )


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
