"""Activations reshaped so that deep networks without skips or normalization keep what they are told: DKS and TAT. (I18)

phi^(u) = output_scale (phi(input_scale u + input_shift) + output_shift), with four numbers that solve four conditions
on the variance map Q and the correlation map C of a layer at variance 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import brentq, root

from widenet.activations import Activation, abrelu, derivative
from widenet.activations.split_rule import legendre
from widenet.initializers.gains import as_activation
from widenet.precision import float64

REACH, PANELS, POINTS = 9.0, 16, 24  # Gauss-Legendre between -9 and 9, split at kinks: rounding error for tanh(3 z)
STARTS = [(a, b) for a in (0.1, 1.0) for b in (0.5, 0.1, -0.5, 1.0)]
SOLVED = 1e-9  # of the two conditions, of order 1
SMALLEST = 1e-5  # input scale: below it phi is affine to rounding, and the conditions are noise
JUMP = 1e-6  # a step across a kink


class Transform(NamedTuple):
    """The four numbers: transform(phi) is phi^, for an Activation, or a function of numpy, jax or torch."""

    input_scale: float
    input_shift: float
    output_shift: float
    output_scale: float

    def __call__(self, phi: Callable[..., Any]) -> Any:
        """The reshaped activation; an Activation if phi is one."""
        if not isinstance(phi, Activation):
            return lambda u: self.output_scale * (phi(self.input_scale * u + self.input_shift) + self.output_shift)
        kinks = Moved(phi.kinks) if phi.kinks else ()
        return Activation(f"shaped {phi.name}", Shaped(phi.fn), (*self, *phi.params), kinks=kinks)


@dataclass(frozen=True)
class Shaped:
    """fn(u, *numbers, *params) of a reshaped activation."""

    fn: Callable[..., Any]

    def __call__(self, u: Any, a: Any, b: Any, shift: Any, scale: Any, *params: Any) -> Any:
        """scale (fn(a u + b) + shift)."""
        return scale * (self.fn(a * u + b, *params) + shift)


@dataclass(frozen=True)
class Moved:
    """Where a reshaped activation has its kinks."""

    kinks: Any

    def __call__(self, a: Any, b: Any, *rest: Any) -> tuple[Any, ...]:
        """(kink - b) / a."""
        _, _, *params = rest
        return tuple((kink - b) / a for kink in (self.kinks(*params) if callable(self.kinks) else self.kinks))


class Moments(NamedTuple):
    """Expectations over u = a z + b: of phi, phi^2, z phi', z phi phi', a^2 phi'^2, a^4 phi''^2."""

    mean: Any
    square: Any
    tilt: Any
    growth: Any
    slope: Any
    curvature: Any


def dks(phi: Any, depth: int | Callable[[float], float], *, slope: float = 1.5) -> Transform:
    """Deep kernel shaping: Q(1) = 1, Q'(1) = 1, C(0) = 0, C'(1) = c, with network(c) = slope. (I18)

    `depth` counts the nonlinear layers of a chain, network(c) = c^depth; for other networks give the function, the
    largest C'(1) of any of its subnetworks when that of each activation is c.  Use with `orthogonal()` weights, no bias
    at first, and inputs of mean square 1.
    Raises: ValueError for a slope of at most 1, or an activation for which there is no solution.
    Source: martens2021.
    """
    phi = _continuous(phi, "dks")
    if not slope > 1:
        raise ValueError(f"dks: the slope is {slope}, but must be greater than 1: 1 is that of a linear network.")
    local = _local_slope(depth, slope)

    def outside(m: Moments) -> list[tuple[float, float]]:
        return [(-m.mean, (m.square - m.mean**2) ** -0.5)]

    def missed(m: Moments, shift: float, scale: float) -> tuple[float, float]:
        return scale**2 * (m.growth + shift * m.tilt) - 1, (scale**2 * m.slope - 1) / (local - 1) - 1

    return _solved(phi, outside, missed, "dks")


def tat(phi: Any, depth: int, *, curvature: float = 0.3) -> Transform:
    """Tailored activation transformation of a smooth phi: Q(1) = Q'(1) = C'(1) = 1, C''(1) = curvature / depth. (I18)

    `curvature` is that of the whole chain of `depth` nonlinear layers.  Use as `dks`.
    Raises: ValueError for a curvature that is not positive, or an activation with kinks (use `tat_leaky_relu`) or
    without solution.
    Source: zhang2022.
    """
    phi = _continuous(phi, "tat")
    if not curvature > 0:
        raise ValueError(f"tat: the curvature is {curvature}, but must be positive: 0 is that of a linear network.")
    if any(_jump(derivative(phi), at) for at in phi.breakpoints):
        raise ValueError(f"tat: the derivative of {phi.name} jumps, so C''(1) is infinite: use tat_leaky_relu, or dks.")
    _check_depth(depth)

    def outside(m: Moments) -> list[tuple[float, float]]:
        scale, variance = m.slope**-0.5, m.square - m.mean**2
        rest = np.sqrt(np.maximum(m.slope - variance, 0))  # C'(1) >= Q(1) - C(0): negative by rounding only
        return [(-m.mean + rest, scale), (-m.mean - rest, scale)]

    def missed(m: Moments, shift: float, scale: float) -> tuple[float, float]:
        return scale**2 * (m.growth + shift * m.tilt) - 1, scale**2 * m.curvature * depth / curvature - 1

    return _solved(phi, outside, missed, "tat")


class LeakyShape(NamedTuple):
    """The leaky relu that TAT chooses: scale * leaky_relu(u, slope)."""

    slope: float
    scale: float

    @property
    def activation(self) -> Activation:
        """As data, with all closed forms."""
        return abrelu(self.slope * self.scale, self.scale)


def tat_leaky_relu(depth: int, *, correlation: float = 0.9) -> LeakyShape:
    """The leaky relu with which a chain of `depth` layers maps correlation 0 to `correlation`, at any variance. (I18)

    Raises: ValueError unless 0 < correlation < 1 and relu itself, slope 0, reaches it at this depth.
    Source: zhang2022.
    """
    _check_depth(depth)
    if not 0 < correlation < 1:
        raise ValueError(f"tat_leaky_relu: the correlation is {correlation}, but must be in (0, 1).")

    def missed(slope: float) -> float:
        c = 0.0
        for _ in range(depth):
            c += (
                (1 - slope) ** 2 / (math.pi * (1 + slope**2)) * (math.sqrt(max(1 - c**2, 0)) - c * math.acos(min(c, 1)))
            )
        return c - correlation

    if missed(0.0) < 0:
        raise ValueError(
            f"tat_leaky_relu: at depth {depth} relu reaches correlation {missed(0.0) + correlation:.3g} only: lower "
            f"the correlation {correlation} that is asked for, or take relu."
        )
    slope = brentq(missed, 0.0, 1.0, xtol=1e-14)
    return LeakyShape(slope, math.sqrt(2 / (1 + slope**2)))


def _local_slope(depth: int | Callable[[float], float], slope: float) -> float:
    if not callable(depth):
        _check_depth(depth)
        return slope ** (1 / depth)
    if not depth(1.0) < slope < depth(slope):
        raise ValueError(
            f"dks: network(1) = {depth(1.0):g} and network({slope:g}) = {depth(slope):g}, and {slope:g} not between."
        )
    return brentq(lambda c: depth(c) - slope, 1.0, slope, xtol=1e-14)


def _check_depth(depth: int) -> None:
    if depth < 1:
        raise ValueError(f"the depth is {depth}, but a network has at least one nonlinear layer.")


def _continuous(phi: Any, name: str) -> Activation:
    phi = as_activation(phi)
    if not phi.continuous:
        raise ValueError(
            f"{name}: {phi.name} jumps, so the slopes of its maps are infinite: use a continuous activation."
        )
    return phi


def _jump(phi: Activation, at: Any) -> bool:
    with jax.ensure_compile_time_eval(), float64():
        near = [float(phi.fn(jnp.asarray(float(at) + h), *phi.params)) for h in (-JUMP, JUMP)]
    return abs(near[1] - near[0]) > 100 * JUMP


def _moments(phi: Activation) -> Callable[[float, float], Moments]:
    """The moments as a function of (a, b)."""
    first = derivative(phi)
    values = jax.jit(lambda u: [jnp.broadcast_to(f.fn(u, *f.params), u.shape) for f in (phi, first, derivative(first))])
    x, w = legendre(POINTS)

    def moments(a: float, b: float) -> Moments:
        cuts = np.clip([(float(kink) - b) / a for kink in phi.breakpoints], -REACH, REACH)
        knots = np.sort([*np.linspace(-REACH, REACH, PANELS + 1), *cuts])
        z = (knots[:-1, None] + np.diff(knots)[:, None] * x).ravel()
        weight = (np.diff(knots)[:, None] * w).ravel() * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        with jax.ensure_compile_time_eval(), float64():
            f, f1, f2 = map(np.asarray, values(jnp.asarray(a * z + b)))
        integrands = (f, f**2, a * z * f1, a * z * f * f1, (a * f1) ** 2, (a**2 * f2) ** 2)
        return Moments(*(np.dot(weight, integrand) for integrand in integrands))

    return moments


def _solved(
    phi: Activation,
    outside: Callable[[Moments], list[tuple[float, float]]],
    missed: Callable[[Moments, float, float], tuple[float, float]],
    name: str,
) -> Transform:
    """Search for (a, b) at which, with the shift and scale that two conditions give, the other two hold as well.

    Of several solutions the one with the least output scale, which amplifies rounding least, and a positive shift.
    """
    moments = _moments(phi)

    def conditions(x: np.ndarray, branch: int) -> tuple[float, float]:
        m = moments(math.exp(np.clip(x[0], -20, 5)), x[1])
        return missed(m, *outside(m)[branch])

    solutions = []
    branches = len(outside(moments(*STARTS[0])))
    for start_a, start_b in STARTS:
        for branch in range(branches):
            with np.errstate(all="ignore"):
                found = root(conditions, [math.log(start_a), start_b], args=(branch,), tol=1e-13)
                a, b = math.exp(np.clip(found.x[0], -20, 5)), float(found.x[1])
                numbers = Transform(a, b, *map(float, outside(moments(a, b))[branch]))
            if np.abs(found.fun).max() < SOLVED and a > SMALLEST:
                solutions.append(numbers)
    if solutions:
        return min(solutions, key=lambda one: (round(one.output_scale, 6), one.input_shift < 0))
    raise ValueError(
        f"{name}: no transformation of {phi.name} was found: it may have too few degrees of freedom (a piecewise "
        "linear one) or ask for more curvature than it has. Use another activation, or another target."
    )
