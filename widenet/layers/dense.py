"""Layers with weights."""

from __future__ import annotations

from typing import Any

from widenet.layers.layer import layer
from widenet.program.ops import Linear, Weight
from widenet.program.var import Channels, Var


@layer
def dense(
    x: Var, sigma_w: Any = 1.0, sigma_b: Any = 0.0, *, width: int | None = None, weight: Weight | None = None
) -> Var:
    """A dense layer at every position, in the NTK parametrization.

    h = sigma_w / sqrt(fan_in) W x + sigma_b b,  W and b standard normal        (T1)

    sigma_w, sigma_b: standard deviations, numbers or traced scalars.  width: the number of outputs,
    None for the hidden width n -> infinity.  weight: a `Weight` to share with other layers.
    Raises: ValueError for a negative standard deviation, or for both `width` and `weight`.
    Source: jacot2018, sec. 3.
    """
    weight, channels = weight_of("a dense layer", x, sigma_w, sigma_b, width, weight)
    return Var(Linear(weight, sigma_w, sigma_b), (x,), x.positions, channels)


def weight_of(
    what: str, x: Var, sigma_w: Any, sigma_b: Any, width: int | None, weight: Weight | None
) -> tuple[Weight, Channels]:
    """The weight of a layer and the channels that it makes, after the checks that all such layers share."""
    if weight is not None and width is not None:
        raise ValueError(f"{what} was given both weight= and width=: the width belongs to the Weight(width).")
    for name, sigma in (("sigma_w", sigma_w), ("sigma_b", sigma_b)):
        if isinstance(sigma, (int, float)) and not sigma >= 0:
            raise ValueError(f"{name} is a standard deviation and must be >= 0; got {sigma} after {x}.")
    weight = weight or Weight(width)
    return weight, Channels(1, 0) if weight.width is None else Channels(0, weight.width)
