"""The standard parametrization: weights with their variance in their values, and gradients with respect to those.

h = W x / sqrt(s_in) + b,   W ~ N(0, W_std^2 s_in / fan_in),   b ~ N(0, b_std^2)

The outputs have the same distribution as in the NTK parametrization.  The tangent kernel counts every weight
fan_in / (s_in W_std^2) times and every bias 1 / b_std^2 times, so it depends on the widths, and the layer adds
(fan_in / s_in) K + 1 in place of W_std^2 K + b_std^2.  Source: sohldickstein2020, and the peer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import jax
import jax.numpy as jnp

from widenet.finite.parameters import Owner, names
from widenet.kernels.covariance import Cov, Dist, as_cov
from widenet.kernels.distance import distance_rule
from widenet.kernels.rules import pair
from widenet.kernels.schedule import Context, Planner, Step
from widenet.program.ops import Conv, Linear, LocalConv, Op, Repeat, Weight
from widenet.program.trace import Program
from widenet.program.var import Var


@dataclass(frozen=True, eq=False)
class Rates:
    """What a layer adds to the tangent kernel: `weights` times its covariance without bias, and `bias`."""

    weights: Any = 1.0
    bias: Any = 0.0


@dataclass(frozen=True, eq=False)
class StandardLinear(Linear):
    """A dense layer in the standard parametrization."""

    rates: Rates = Rates()


@dataclass(frozen=True, eq=False)
class StandardConv(Conv):
    """A convolution in the standard parametrization."""

    rates: Rates = Rates()


@dataclass(frozen=True, eq=False)
class StandardLocalConv(LocalConv):
    """A locally connected layer in the standard parametrization."""

    rates: Rates = Rates()


STANDARD = {Linear: StandardLinear, Conv: StandardConv, LocalConv: StandardLocalConv}


def in_standard(var: Var, rates: Rates) -> Var:
    """The same layer, with other contributions to the tangent kernel."""
    old = {f.name: getattr(var.op, f.name) for f in fields(var.op)}  # type: ignore[arg-type]
    op = STANDARD[type(var.op)](**old, rates=rates)  # type: ignore[index]
    return Var(op, var.args, var.positions, var.channels)


def _counted(step: Step, op: Linear, rates: Rates) -> Step:
    """The step of a layer with these contributions in place of K itself."""

    def compute(context: Context, *covs: Any) -> Cov | Dist:
        made = step.compute(context, *covs)
        if made.ntk is None:
            return made
        k = as_cov(made, context.layout).cross
        shares_bias = (context.layout.left == context.layout.right) | (not isinstance(op, LocalConv))
        one = jnp.asarray(shares_bias, k.dtype)[:, None, None]
        biased = jnp.asarray(op.sigma_b, k.dtype) ** 2 * one
        weights, bias = (jnp.asarray(rate, k.dtype) for rate in (rates.weights, rates.bias))
        return made._replace(ntk=made.ntk - k + weights * (k - biased) + bias * one)

    return step._replace(compute=compute)


def _register(base: type[Linear], kind: type[Any]) -> None:
    @pair.register(kind)
    def _(op: Op, planner: Planner, u: Var, v: Var) -> Step:
        return _counted(pair.dispatch(base)(op, planner, u, v), op, op.rates)  # type: ignore

    @distance_rule.register(kind)
    def _(op: Op, planner: Planner, u: Var) -> Step:
        return _counted(distance_rule.dispatch(base)(op, planner, u), op, op.rates)  # type: ignore


for _base, _kind in STANDARD.items():
    _register(_base, _kind)


@dataclass(frozen=True, eq=False)
class StandardWeight(Weight):
    """The weight of a finite layer in the standard parametrization, and the variances that it starts with."""

    sigma_w: Any = 1.0
    sigma_b: Any = 0.0
    fan_in: float = 1.0  # divided by s_in


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
