"""Optimizers as data: how large a step they make of a gradient. (U1)-(U3)"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from widenet.parametrizations.exponents import Power, power

Scale = Callable[[float, float], float]  # of fan-in and fan-out


@dataclass(frozen=True)
class Optimizer:
    """What the width of a network sees of an optimizer.

    degree: p of Q(s g) = s^p Q(g), how the update depends on the size of the gradient.
    entrywise: the update has one size an entry (Adam); else it follows the singular vectors of the gradient (Muon).
    outside: p again, of the reaction to a multiplier in front of the weight; the degree, but where the preconditioner
        does not see the multiplier (K-FAC).
    own_scale: what the optimizer multiplies its update by, a function of fan-in and fan-out; None for nothing.
    """

    name: str
    degree: Power
    entrywise: bool = False
    outside: Power | None = None
    own_scale: Scale | None = None

    @property
    def multiplier_degree(self) -> Power:
        """p for the law of forms (U2)."""
        return self.degree if self.outside is None else self.outside

    @property
    def natural(self) -> bool:
        """Does it divide by the curvature, so that a zero readout would leave no gradient to follow?"""
        return self.degree < 0

    def __str__(self) -> str:
        """Its name."""
        return self.name


def an_optimizer(given: object) -> Optimizer:
    """What is given, if it is an optimizer; raises ValueError if it is a name, or a function that was not called."""
    if not isinstance(given, Optimizer):
        raise ValueError(f"an optimizer is an object, such as adam, muon() or shampoo(1 / 4); got {given!r}.")
    return given


sgd = Optimizer("sgd", Fraction(1))  # with any momentum
adam = Optimizer("adam", Fraction(0), entrywise=True)
adamw = Optimizer("adamw", Fraction(0), entrywise=True)
lion = Optimizer("lion", Fraction(0), entrywise=True)
soap = Optimizer("soap", Fraction(0))  # Adam, but in a basis in which a gradient of low rank has few entries


def muon(scale: str | Scale | None = None) -> Optimizer:
    """Muon: the update has all singular values one, times a `scale` of its own.

    scale: None, or one that is in use: "keller", sqrt(max(1, fan_out / fan_in)), the default of optax and of the first
    release, "kimi", 0.2 sqrt(max(fan_in, fan_out)), which gives the RMS of Adam, "spectral", sqrt(fan_out / fan_in), or
    a function (fan_in, fan_out) -> float.  Learning rates are divided by it.
    Code of Muon trains vectors by Adam: {"rest": muon(), "vector": adam, "scalar": adam} for `factors`.
    Source: jordan2024 (keller), liu2025 (kimi), yang2023spectral (spectral).
    Raises: ValueError for another name.
    """
    if isinstance(scale, str):
        if scale not in MUON_SCALES:
            raise ValueError(f"muon knows the scales {', '.join(map(repr, MUON_SCALES))}; got {scale!r}.")
        return Optimizer(f"muon ({scale})", Fraction(0), own_scale=MUON_SCALES[scale])
    return Optimizer("muon", Fraction(0), own_scale=scale)


MUON_SCALES: dict[str, Scale] = {
    "keller": lambda fan_in, fan_out: math.sqrt(max(1.0, fan_out / fan_in)),
    "kimi": lambda fan_in, fan_out: 0.2 * math.sqrt(max(fan_in, fan_out)),
    "spectral": lambda fan_in, fan_out: math.sqrt(fan_out / fan_in),
}


def shampoo(left: float | Fraction | str = Fraction(1, 4), right: float | Fraction | str | None = None) -> Optimizer:
    """Shampoo, the update L^-left G R^-right, with damping relative to the eigenvalues of L and R.

    left, right: exponents; right = left if None.
    Source: gupta2018 (1/4), ishikawa2024 (1/2 and others).
    """
    sides = [power(left, "left")]
    sides.append(sides[0] if right is None else power(right, "right"))
    text = str(sides[0]) if sides[0] == sides[1] else f"{sides[0]}, {sides[1]}"
    return Optimizer(f"shampoo ({text})", 1 - 2 * sum(sides))


def kfac(*, with_multipliers: bool = False) -> Optimizer:
    """K-FAC, the update B^-1 G A^-1, with damping relative to the traces of A and B.

    with_multipliers: are the factors those of the whole layer, multiplier included?  Most code takes them of what
    enters the matrix and of gradients behind the multiplier; then forms move the learning rate as for SGD.
    `widenet.optimizers.kfac` has the multipliers.
    Source: martens2015; ishikawa2024 (its width scaling).
    """
    return Optimizer("k-fac", Fraction(-1), outside=None if with_multipliers else Fraction(1))
