"""The standard parametrization: weights with their variance in their values, and gradients with respect to those.

h = W x / sqrt(s_in) + b,   W ~ N(0, W_std^2 s_in / fan_in),  b ~ N(0, b_std^2)

A network has the same outputs in distribution, and its tangent kernel counts every weight (fan_in / s_in) / W_std^2
times, every bias 1 / b_std^2 times.  Source: sohldickstein2020, the peer's `parameterization="standard"`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from widenet.finite.parameters import Owner, names
from widenet.program.ops import Repeat, Weight
from widenet.program.trace import Program


@dataclass(frozen=True, eq=False)
class StandardWeight(Weight):
    """The weight of a layer in the standard parametrization."""

    sigma_w: Any = 1.0
    sigma_b: Any = 0.0
    fan_in: float = 1.0  # of the finite network, divided by s_in


def rescaled(program: Program, params: Mapping[str, Any]) -> dict[str, Any]:
    """Standard normal parameters with the variances that the layers of `program` want."""
    return {name: _entry(owner, params[name]) for owner, name in names(program).items()}


def _entry(owner: Owner, entry: Any) -> Any:
    if isinstance(owner, StandardWeight):
        scales = {"w": owner.sigma_w / math.sqrt(owner.fan_in), "b": owner.sigma_b}
        return {part: scales[part] * value for part, value in entry.items()}
    op = getattr(owner, "op", None)
    if isinstance(op, Repeat):
        return rescaled(op.body, entry)
    return jax.tree.map(lambda value: value, entry)
