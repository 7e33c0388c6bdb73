"""A parametrization as data: powers of width in multipliers, initialization and learning rates. (U1)-(U4)

W = n^-a w,   w ~ N(0, n^-2b),   learning rate eta n^-c,   the optimizer sees gradients times n^d
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

from widenet.parametrizations.depth import Depth, depth_linear, depth_none, depth_sqrt
from widenet.parametrizations.exponents import ZERO, Exponents, Power, exponents
from widenet.parametrizations.optimizers import Optimizer, an_optimizer

Given = Iterable[float | Fraction | str]
HALF = Fraction(1, 2)
FORMS: Mapping[str, Exponents] = {
    "A": ZERO,  # no multipliers
    "B": exponents((0, 0, 1)),  # tied embeddings
    "C": exponents(("-1/2", 0, "1/2")),  # as in the theory of tensor programs
    "D": exponents((0, "1/2", 1)),  # mean field: every entry of order one
}
NATIVE = exponents((0, "1/2", "1/2"))  # the multipliers sigma_w / sqrt(fan_in) of widenet's own networks


class Effects(NamedTuple):
    """What a step does to the network, as powers of width. (U3)"""

    r: Exponents  # what a layer's own update adds to its output: n^-r
    g: Power  # entries of dL/dh of hidden layers: n^-g


@dataclass(frozen=True)
class Parametrization:
    """Powers of the width n, of input, hidden and output layers.

    a: multipliers n^-a.  b: standard deviations n^-b.
    effects: r, the size n^-r of what the update of a layer adds to the layer's output, for every optimizer; or None,
    and c: learning rates n^-c as they were given, for multipliers n^-(a - shift).
    d: what gradients are multiplied by, n^d, for optimizers with an epsilon; None for what keeps them of order one.
    depth: what branches are scaled by.
    """

    name: str
    a: Exponents
    b: Exponents
    effects: Exponents | None = None
    c: Exponents = ZERO
    d: Exponents | None = None
    shift: Exponents = ZERO
    depth: Depth = depth_none

    @property
    def weights(self) -> Exponents:
        """a + b: W = n^-a w has entries of size n^-(a + b)."""
        return self.a.plus(self.b)

    def sizes(self, optimizer: Optimizer) -> Effects:
        """What a step of this optimizer does. (U3)"""
        p, weights = optimizer.degree, self.weights
        if self.effects is not None:
            return Effects(self.effects, min(weights.output, 1 + self.effects.output))
        c = self.c.plus(self.plain.times(1 + optimizer.multiplier_degree))  # without multipliers
        if optimizer.entrywise:
            output = c.output - 1
            return Effects(Exponents(c.input, c.hidden - 1, output), min(weights.output, 1 + output))
        output = c.output - (1 + p) / 2
        g = min(weights.output, 1 + output)
        return Effects(Exponents(c.input + HALF - p * (HALF - g), c.hidden - p * (1 - g), output), g)

    @property
    def plain(self) -> Exponents:
        """The multipliers that c was given for."""
        return self.a.plus(self.shift.times(-1))

    def rates(self, optimizer: Optimizer) -> Exponents:
        """c: learning rates eta n^-c of input, hidden and output layers, where all widths are n. (U2), (U3)"""
        rule = 1 + an_optimizer(optimizer).multiplier_degree
        if self.effects is None:
            return self.c.plus(self.shift.times(-rule))
        (r, g), p = self.sizes(optimizer), optimizer.degree
        if optimizer.entrywise:
            c = Exponents(r.input, r.hidden + 1, r.output + 1)
        else:
            c = Exponents(r.input - HALF + p * (HALF - g), r.hidden + p * (1 - g), r.output + (1 + p) / 2)
        return c.plus(self.a.times(-rule))

    def gradients(self, optimizer: Optimizer) -> Exponents:
        """d: entries of the gradient in w are of size n^-d, which epsilon must follow. (U5)"""
        g = self.sizes(optimizer).g
        return self.a.plus(Exponents(g, g, Fraction(0)))

    def to_form(self, form: str | Given) -> Parametrization:
        """The same training with other multipliers: (a, b, c, d) -> (a + t, b - t, c - (1 + p) t, d + t). (U2)

        form: "A", no multipliers, "B", 1/n at the readout, as for tied embeddings, "C", that of tensor programs, "D",
        of mean field, all entries of order one; or three exponents a.
        Raises: ValueError for another letter.
        """
        if isinstance(form, str) and form not in FORMS:
            raise ValueError(f"forms are {', '.join(FORMS)}, or three exponents a; got {form!r}.")
        a = FORMS[form] if isinstance(form, str) else exponents(form, "a")
        by = a.plus(self.a.times(-1))
        return replace(
            self,
            a=a,
            b=self.b.plus(by.times(-1)),
            d=None if self.d is None else self.d.plus(by),
            shift=self.shift.plus(by),
        )

    def with_depth(self, depth: Depth) -> Parametrization:
        """The same in width, and branches by `depth`.

        Raises: ValueError for what is no `Depth`.
        """
        if not isinstance(depth, Depth):
            raise ValueError(f"depth is an object, such as depth_sqrt or depth(3 / 4); got {depth!r}.")
        return replace(self, depth=depth, name=f"{self.name}, depth ({depth.alpha}, {depth.gamma})")

    def __str__(self) -> str:
        """Its name and exponents."""
        return f"{self.name}: a = {self.a}, b = {self.b}"


def a_parametrization(given: object) -> Parametrization:
    """What is given, if it is a parametrization; raises ValueError if it is something else, such as its name."""
    if not isinstance(given, Parametrization):
        raise ValueError(f"a parametrization is an object, such as mup or abc(...); got {given!r}.")
    return given


def abc(a: Given, b: Given, c: Given, d: Given | None = None, *, name: str = "abc") -> Parametrization:
    """One's own parametrization: multipliers n^-a, standard deviations n^-b, learning rates n^-c, gradients times n^d.

    Each is three exponents, of input, hidden and output layers.  c is taken as it is, whatever the optimizer.
    Source: yang2021, definition 3.1; yang2023adaptive (d).
    """
    given = None if d is None else exponents(d, "d")
    return Parametrization(name, exponents(a, "a"), exponents(b, "b"), c=exponents(c, "c"), d=given)


def uniform(s: float | Fraction | str) -> Parametrization:
    """UP_s: every layer's update changes its output by n^-s; 0 is muP, 1/2 the NTK parametrization.

    Source: yang2021, appendix G.
    Raises: ValueError if s is outside of [0, 1/2].
    """
    (size, *_) = exponents((s, 0, 0), "s")
    if not 0 <= size <= HALF:
        raise ValueError(f"the uniform family goes from s = 0 (muP) to s = 1/2 (NTK); got {s}.")
    weights = Exponents(Fraction(0), HALF, 1 - size)
    return Parametrization(f"uniform ({size})", ZERO, weights, Exponents(size, size, Fraction(0)))


mup = replace(uniform(0), name="muP")
ntp = replace(uniform("1/2").to_form(NATIVE), name="NTP")
mfp = replace(mup.to_form("D"), name="MFP")
sp = Parametrization("SP", ZERO, exponents((0, "1/2", "1/2")))
sp_layerwise = Parametrization("SP, rates by layer", ZERO, sp.b, c=exponents((0, 1, 1)))  # everett2024, Adam
depth_mup = replace(mup.with_depth(depth_sqrt), name="Depth-muP")
complete_p = replace(mup.with_depth(depth_linear), name="CompleteP")
