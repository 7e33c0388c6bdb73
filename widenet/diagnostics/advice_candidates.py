"""The candidates: scales of Gaussian weights, orthogonal weights, LSUV, and rules for branches. (S4)"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from widenet.activations import Activation
from widenet.activations.dual import second_moment
from widenet.corrections import finite_width
from widenet.diagnostics.advice_measure import Drawn
from widenet.diagnostics.advice_rewrite import Scales, Skip, Values, layers_of, rewritten, skips_of
from widenet.finite.forward import function_of
from widenet.finite.parameters import Params, init, names
from widenet.initializers.gains import Point, critical_point
from widenet.initializers.initializer import Constant, delta_orthogonal, normal, orthogonal
from widenet.initializers.recipes import Branches, fixup, skip_init
from widenet.initializers.unit_variance import lsuv
from widenet.precision import float64
from widenet.program.ops import Conv, DepthwiseConv, Flatten, Input, Linear, LocalConv, Nonlin
from widenet.program.trace import Program
from widenet.spectra.isometry import isometric_init

ORDERED_BIAS = 0.1  # sigma_b of the candidate on the edge of chaos
ISOMETRY = 0.25  # variance of the squared singular values that isometric_init aims at
HE = math.sqrt(2)


@dataclass(frozen=True)
class Candidate:
    """How all layers are drawn, and why one would."""

    name: str
    why: str
    scales: Scales
    orthogonal: bool = False
    data_scale: float = 1.0
    branches: Branches | None = None
    recipe: str = ""  # the call that makes `branches`
    tuned: bool = False  # on data, by LSUV


@dataclass(frozen=True)
class Setting:
    """What candidates are made for."""

    program: Program  # unrolled
    x: Any
    width: int
    key: Any
    phi: Activation
    skips: tuple[Skip, ...]
    missing: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, program: Program, x: Any, width: int, key: Any) -> Setting:
        """The activation that occurs most, and the skip connections.

        Raises: ValueError for a network that is too small to compare anything on.
        """
        phis: Counter[Activation] = Counter()
        for var in program.variables:
            if isinstance(var.op, Nonlin) and len(var.args) == 1:
                phis[next((phi for phi in phis if phi.name == var.op.phi.name), var.op.phi)] += 1
        linears = layers_of(program)
        if not phis or len(linears) < 3:
            raise ValueError(
                f"the network has {sum(phis.values())} activations and {len(linears)} layers with weights: recommend "
                "compares initializations of deep networks, with an activation and three layers or more."
            )
        return cls(program, x, width, key, phis.most_common(1)[0][0], skips_of(program))

    @cached_property
    def gaussian(self) -> Params:
        """One draw of standard normal weights and biases, used by all candidates."""
        ones = rewritten(self.program, Values([Scales(1.0, 1.0)] * len(layers_of(self.program))))
        return init(ones, self.key, self.x.shape, width=self.width, dtype=self.x.dtype)

    @cached_property
    def orthogonal(self) -> Params:
        """The same with orthogonal weights of unit variance, where a layer is one matrix."""
        called, made = names(self.program), dict(self.gaussian)
        for i, (weight, uses) in enumerate(self.program.weights.items()):
            op = uses[0].op
            if not isinstance(op, Linear) or isinstance(op, (LocalConv, DepthwiseConv)):
                continue
            entry = made[called[weight]]
            *window, n_in, n_out = entry["w"].shape
            law = delta_orthogonal() if _keeps_all(op) and n_in <= n_out else orthogonal()
            w = law(jax.random.fold_in(self.key, i), entry["w"].shape, entry["w"].dtype)
            made[called[weight]] = {**entry, "w": w * math.sqrt(math.prod(window) * n_in)}
        return made

    @property
    def convolutional(self) -> bool:
        """Are there windows, of which delta-orthogonal weights use the centre?"""
        return any(isinstance(var.op, Conv) for var in self.program.variables)

    @property
    def is_chain(self) -> bool:
        """Dense layers and one activation in turn, perhaps after a flatten?"""
        ops = [var.op for var in self.program.variables]
        active = {op.phi.name for op in ops if isinstance(op, Nonlin)}
        plain = all(type(op) in (Input, Flatten, Linear, Nonlin) for op in ops)
        return plain and len(active) == 1 and all(len(var.args) <= 1 for var in self.program.variables)


def _keeps_all(op: Linear) -> bool:
    """Does the centre of the window see every position, of all channels?"""
    return isinstance(op, Conv) and op.groups == 1 and max(op.window.strides) == 1


def candidates(given: Setting) -> list[Candidate]:
    """All that apply and differ; the others are put into `given.missing` with the reason."""
    found: dict[Any, Candidate] = {}
    for candidate in _all(given):
        rounded = tuple(f"{scale:.6g}" for scale in candidate.scales)
        law = rounded, candidate.orthogonal, candidate.tuned, candidate.recipe
        if law in found:
            given.missing[candidate.name] = f"it is the same as {found[law].name}."
        else:
            found[law] = candidate
    return list(found.values())


def _all(given: Setting) -> Iterator[Candidate]:
    phi, width = given.phi, given.width
    with float64():
        unit = float(second_moment(phi, jnp.asarray(1.0, jnp.float64))) ** -0.5
    edge = f"edge of chaos of {phi.name}, sigma_b = {ORDERED_BIAS}"
    for name, sigma_b in ((f"critical point of {phi.name}", None), (edge, ORDERED_BIAS)):
        try:
            point = critical_point(phi, sigma_b=sigma_b)
        except ValueError as none:
            given.missing[name] = str(none)
        else:
            yield from _critical(given, name, point, both=sigma_b is None)
    yield Candidate("LeCun (flax, keras)", "keeps the variance of linear layers.", Scales(1.0, 0.0))
    yield Candidate("He", "keeps the variance of relu layers.", Scales(HE, 0.0))
    why = "U(-1, 1)/sqrt(fan-in), compared as Gaussians of its variance."
    yield Candidate("torch's default", why, Scales(3**-0.5, (3 * width) ** -0.5))
    why = f"keeps the variance 1 of {phi.name} layers, whatever that does to gradients."
    yield Candidate("unit variance at q = 1", why, Scales(unit, 0.0))
    own = {(float(var.op.sigma_w), float(var.op.sigma_b)) for var in layers_of(given.program)}  # type: ignore[attr-defined]
    if len(own) == 1:
        yield Candidate("as written", "the scales of the architecture.", Scales(*own.pop()))
    yield from _isometric(given)
    why = (
        "orthogonal weights, each scaled so that its layer has unit variance on the data; gradients are not looked at."
    )
    yield Candidate("LSUV", why, Scales(1.0, 0.0), orthogonal=True, tuned=True)
    yield from _branches(given, unit)


def _critical(given: Setting, name: str, point: Point, *, both: bool) -> Iterator[Candidate]:
    scales = Scales(point.sigma_w, point.sigma_b)
    same = "chi_1 = 1: squared gradients keep their size where q is at its fixed point."
    yield Candidate(name, f"{same}{_draws(given, scales, 'iid')}", scales)
    if both:
        where = (
            "; convolutions of stride 1 have them at the centre, unless channels get fewer"
            if given.convolutional
            else ""
        )
        why = f"as the Gaussian one at infinite width, but no directions are lost in the weights{where}."
        yield Candidate(f"orthogonal, {name}", f"{why}{_draws(given, scales, 'orthogonal')}", scales, orthogonal=True)


def _draws(given: Setting, scales: Scales, ensemble: str) -> str:
    """How much q differs between draws at this width, to order 1/width."""
    net = rewritten(given.program, Values([scales] * len(layers_of(given.program))))
    try:
        found = finite_width(net, ensemble=ensemble, q0=float(np.mean(np.square(given.x))))
    except NotImplementedError:
        return ""  # only known for perceptrons
    relative = (float(found.V[-2]) / float(found.K[-2]) ** 2 + 2) / given.width  # (W1), of the mean over a layer
    return f" Between draws of width {given.width}, the last hidden q varies by {math.sqrt(max(relative, 0)):.0%}."


def _isometric(given: Setting) -> Iterator[Candidate]:
    name = "orthogonal, isometric_init"
    if not given.is_chain:
        given.missing[name] = "its theory is that of dense layers and one activation in turn."
        return
    depth = sum(isinstance(var.op, Nonlin) for var in given.program.variables)
    try:
        found = isometric_init(given.phi, depth, ISOMETRY)
    except ValueError as none:
        given.missing[name] = str(none)
        return
    scale = math.sqrt((found.q - found.sigma_b**2) / found.sigma_w**2 / float(np.mean(np.square(given.x))))
    why = f"squared singular values with variance {found.variance:.3g}, in layers of variance {found.q:.3g}."
    yield Candidate(name, why, Scales(found.sigma_w, found.sigma_b), orthogonal=True, data_scale=scale)


def _branches(given: Setting, unit: float) -> Iterator[Candidate]:
    depth, weights = len(given.skips), min((len(skip.weights) for skip in given.skips), default=0)
    rules: dict[str, Callable[[], tuple[Branches, str, float, str]]] = {
        "SkipInit, ReZero": lambda: (
            *(skip_init(), "wi.skip_init()", HE),
            "He's law, and a trained multiplier of each branch that is 0 at first: blocks begin as the identity.",
        ),
        "Fixup": lambda: (
            *(fixup(depth, weights), f"wi.fixup(depth={depth}, layers={weights})", HE),
            "the last weight of each branch is 0, the others times a power of depth: blocks begin as the identity (the "
            "readout, 0 in the paper, is not here, to see gradients).",
        ),
        "branches / sqrt(depth)": lambda: (
            skip_init(depth**-0.5, kernel=normal(unit)),
            f"wi.skip_init({depth**-0.5:.6g}, kernel=wi.normal({unit:.8g}))",
            unit,
            "branches that keep variance 1, over sqrt(depth): q stays of order one at every depth.",
        ),
    }
    if not depth:
        for name in rules:
            given.missing[name] = "the architecture has no skip connection, h + branch(h)."
        return
    for name, rule in rules.items():
        try:
            branches, recipe, sigma_w, why = rule()
        except ValueError as none:
            given.missing[name] = str(none)
        else:
            yield Candidate(name, why, Scales(sigma_w, 0.0), branches=branches, recipe=recipe)


def drawn(given: Setting, candidate: Candidate) -> Drawn:
    """The architecture with the candidate's scales, and the weights of its law."""
    values, x = _values(given, candidate), given.x * np.asarray(candidate.data_scale, given.x.dtype)
    params = given.orthogonal if candidate.orthogonal else given.gaussian
    if candidate.tuned:
        values = _tuned(given, values, params)
    return Drawn(values, params, x, _gaussian_factors(given, candidate))


def _gaussian_factors(given: Setting, candidate: Candidate) -> int | None:
    if not candidate.orthogonal:
        return 1
    return None if given.convolutional or candidate.tuned else 0  # tuned scales depend on the draw


def _values(given: Setting, candidate: Candidate) -> Values:
    """The scales of each layer, and the multiplier of branches."""
    layers, rule = layers_of(given.program), candidate.branches
    if rule is None:
        return Values([candidate.scales] * len(layers))
    last = {skip.weights[-1] for skip in given.skips}
    inner = {var for skip in given.skips for var in skip.weights} - last
    outer = 0.0 if isinstance(rule.last, Constant) else float(rule.last.gain)
    scales = {**dict.fromkeys(inner, float(rule.inner.gain)), **dict.fromkeys(last, outer)}
    found = [Scales(scales.get(var, candidate.scales.sigma_w), 0.0) for var in layers]
    return Values(found, float(rule.multiplier.value))


def _tuned(given: Setting, values: Values, params: Params) -> Values:
    """The scales that LSUV finds on the data."""
    apply = function_of(rewritten(given.program, values))
    found, called = lsuv(apply, params, given.x).report.scales, names(given.program)
    weights = [var.op.weight for var in layers_of(given.program) if isinstance(var.op, Linear)]
    keys = (f"['{called[weight]}']['w']" for weight in weights)
    return Values(
        [Scales(found.get(key, 1.0) * own.sigma_w, 0.0) for key, own in zip(keys, values.layers, strict=True)]
    )
