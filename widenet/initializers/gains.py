"""Which sigma_w keeps signals and gradients: a number, or the activation that it is for."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from widenet.activations import NAMED, Activation, activation, derivative
from widenet.activations.dual import second_moment
from widenet.mean_field.critical import critical
from widenet.precision import float64

Gain = Any  # a number, an Activation, or an elementwise function

ROUNDING = 1e-9  # of moments in float64
KEPT = 128  # critical points that are remembered: modules ask for theirs whenever they are traced


class Point(NamedTuple):
    """Weight and bias scales, and the variance that they keep."""

    sigma_w: float
    sigma_b: float
    q: float


def as_activation(phi: Any) -> Activation:
    """`phi` as data: itself, the named one that a function of `jax.nn` is, or any smooth elementwise function.

    Raises: TypeError for what is not callable.
    """
    if isinstance(phi, Activation):
        return phi
    if not callable(phi):
        raise TypeError(f"{phi!r} is neither an activation nor an elementwise function.")
    named = [known for known in NAMED.values() if known.fn is phi]
    return named[0] if named else activation(phi)


def as_gain(gain: Gain) -> Any:
    """sigma_w: a number as it is, an activation's critical one.

    Raises: ValueError for a number that is not positive, or an activation with no critical point without biases.
    """
    if isinstance(gain, Activation) or callable(gain):
        point = critical_point(gain)
        if point.sigma_b:
            raise ValueError(
                f"{as_activation(gain).name} is critical only with biases: sigma_w = {point.sigma_w:.6g} and sigma_b = "
                f"{point.sigma_b:.6g}. Use kernel, bias, _ = initializers.critical(phi, orthogonal()), which gives "
                "both, or give the gain as a number."
            )
        return point.sigma_w
    if isinstance(gain, jax.Array):
        return gain
    if not 0 < gain < math.inf:
        raise ValueError(f"the gain is {gain}, but must be positive and finite: it multiplies every weight.")
    return float(gain)


def edge_of_chaos(phi: Any, q: float = 1.0) -> Point:
    """sigma_w and sigma_b that keep the variance `q` and gradients: chi_1 = 1 there. (I9)

    sigma_w^2 = 1 / E phi'(u)^2,   sigma_b^2 = q - sigma_w^2 E phi(u)^2,   u ~ N(0, q).

    Raises: ValueError for a q that is not positive, or one at which sigma_b^2 is negative.
    Source: poole2016; schoenholz2017.
    """
    phi = as_activation(phi)
    if not 0 < q < math.inf:
        raise ValueError(f"edge_of_chaos: q is {q}, but must be positive and finite.")
    with jax.ensure_compile_time_eval(), float64():
        second, steep = (float(second_moment(one, jnp.asarray(q, jnp.float64))) for one in (phi, derivative(phi)))
    if not steep > 0:
        raise ValueError(
            f"{phi.name} is flat almost everywhere: no weights keep its gradients; use another activation."
        )
    b2 = q - second / steep
    if b2 < -ROUNDING * q:
        raise ValueError(
            f"{phi.name} is not critical at variance {q:g}: with sigma_w^2 = {1 / steep:.6g} it needs sigma_b^2 = "
            f"{b2:.6g}, which is negative. Try another q, or critical_point, which looks for one."
        )
    return Point(steep**-0.5, math.sqrt(max(b2, 0.0)), float(q))


def critical_point(phi: Any, *, sigma_b: float | None = None) -> Point:
    """`widenet.critical` of an activation or an elementwise function, also while a module is being traced. (I10)

    Raises: ValueError if there is no critical point.
    """
    return _critical_point(as_activation(phi), sigma_b)


@lru_cache(maxsize=KEPT)
def _critical_point(phi: Activation, sigma_b: float | None) -> Point:
    with jax.ensure_compile_time_eval():  # initializers are often made while a module is being traced
        found = critical(phi, sigma_b)
    return Point(found.sigma_w, found.sigma_b, found.q)
