"""The numbers that a parametrization gives every parameter of a model. (U5)"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from widenet.parametrizations.depth import depth_none
from widenet.parametrizations.exponents import Exponents, Power
from widenet.parametrizations.leaf import Leaf, Role
from widenet.parametrizations.optimizers import Optimizer, an_optimizer
from widenet.parametrizations.parametrization import HALF, Parametrization, a_parametrization
from widenet.parametrizations.specs import Specs, table


class Decay(StrEnum):
    """How weight decay goes with width."""

    PRODUCT_CONST = "product_const"  # learning rate times decay as in the base model
    COUPLED_CONST = "coupled_const"  # decay as in the base model: the product goes with the learning rate
    INDEPENDENT = "independent"  # w <- (1 - decay) w, whatever the learning rate


class Factor(NamedTuple):
    """Of one parameter, relative to the base model."""

    init: float  # of its standard deviation
    multiplier: float  # in front of it
    rate: float  # of the learning rate
    decay: float  # of the weight decay, which is multiplied by the learning rate
    epsilon: float  # of gradients: their entries, or their largest singular value if the optimizer sees that


@dataclass(frozen=True)
class Factors:
    """A factor for every parameter, by path."""

    specs: Specs
    parametrization: Parametrization
    by_path: Mapping[str, Factor]
    optimizers: Mapping[str, Optimizer]  # of each parameter
    decay: Decay = Decay.PRODUCT_CONST

    def column(self, name: str) -> dict[str, float]:
        """One number of each parameter: "init", "multiplier", "rate", "decay" or "epsilon"."""
        return {path: getattr(factor, name) for path, factor in self.by_path.items()}

    def __str__(self) -> str:
        """A table."""
        rows: list[tuple[str, ...]] = [("parameter", "role", "optimizer", *Factor._fields)]
        for path, factor in self.by_path.items():
            rows.append((path, self.specs[path].role, str(self.optimizers[path]), *(f"{v:.4g}" for v in factor)))
        return "\n".join([self.parametrization.name, table(rows), *self._remarks()])

    def _remarks(self) -> tuple[str, ...]:
        """What is wrong with the scaling in depth."""
        depth = self.parametrization.depth
        if depth == depth_none:
            return ()
        if not any(leaf.branch for leaf in self.specs):
            return ("nothing is in a residual branch, so that nothing goes with depth: give infer(..., branches=)",)
        return depth.violated(self.specs.block_depth)


def factors(
    specs: Specs,
    parametrization: Parametrization,
    optimizer: Optimizer | Mapping[str, Optimizer],
    *,
    decay: Decay | str = Decay.PRODUCT_CONST,
) -> Factors:
    """The factors of initialization, multiplier, learning rate, weight decay and epsilon of every parameter. (U5)

    optimizer: one for all, or one for each role, {"hidden": muon(), "input": adam, ...}; missing roles are trained by
    that of "rest".
    decay: a `Decay`, or its name.  `coupled_const` is another training in every form.
    Raises: ValueError for tied weights in a form that treats their two uses differently, and for an unknown decay,
    optimizer or parametrization.
    """
    a_parametrization(parametrization)
    if str(decay) not in set(Decay):
        raise ValueError(f"decay is one of {', '.join(Decay)}; got {decay!r}.")
    chosen = {leaf.path: _optimizer_of(leaf, optimizer) for leaf in specs}
    for leaf in specs:
        if leaf.tied:
            _check_tied(leaf, parametrization, chosen[leaf.path])
    made = {
        leaf.path: factor(leaf, parametrization, chosen[leaf.path], specs.depth, Decay(str(decay))) for leaf in specs
    }
    return Factors(specs, parametrization, made, chosen, Decay(str(decay)))


def _optimizer_of(leaf: Leaf, optimizer: Optimizer | Mapping[str, Optimizer]) -> Optimizer:
    if not isinstance(optimizer, Mapping):
        return an_optimizer(optimizer)
    unknown = set(optimizer) - {*Role, "rest"}
    if unknown:
        raise ValueError(f"optimizers are given by role, {', '.join(Role)} or rest; got {', '.join(sorted(unknown))}.")
    found = optimizer.get(leaf.role) or optimizer.get("rest")
    if found is None:
        raise ValueError(f"{leaf.path!r} is a {leaf.role} without optimizer: name one for its role, or for 'rest'.")
    return an_optimizer(found)


def _check_tied(leaf: Leaf, parametrization: Parametrization, optimizer: Optimizer) -> None:
    b, c = parametrization.b, parametrization.rates(optimizer)
    if b.input != b.output or c.input != c.output:
        raise ValueError(
            f"{leaf.path!r} is embedding and readout at once, but {parametrization.name} with a = {parametrization.a} "
            "draws or trains the two differently: use .to_form('B'), and multiply the logits by readout_scale(...)."
        )


def factor(leaf: Leaf, parametrization: Parametrization, optimizer: Optimizer, depth: float, decay: Decay) -> Factor:
    """The factors of one parameter; depth: blocks over those of the base model."""
    if leaf.role == Role.SCALAR:
        rate = multiplier = init = gradient = 1.0
    else:
        n = leaf.fan_in if leaf.role in (Role.HIDDEN, Role.OUTPUT) else leaf.fan_out
        a, b = (_of(leaf.role, e) for e in (parametrization.a, parametrization.b))
        multiplier, init = n ** -float(a), 0.0 if b == float("inf") else n ** -float(b)
        rate, gradient = _rate(leaf, parametrization, optimizer, n), _gradient(leaf, parametrization, optimizer)
        if optimizer.own_scale is not None and leaf.role != Role.VECTOR:
            rate *= optimizer.own_scale(*leaf.fans(of_base=True)) / optimizer.own_scale(*leaf.fans())
    lasting = {Decay.COUPLED_CONST: 1.0}.get(decay, 1 / rate)
    if leaf.branch:
        scheme = parametrization.depth
        rate *= depth ** float(scheme.rate(optimizer))
        lasting *= {
            Decay.PRODUCT_CONST: depth ** float(scheme.decay(optimizer)),
            Decay.COUPLED_CONST: 1.0,
            Decay.INDEPENDENT: depth ** -float(scheme.rate(optimizer)),
        }[decay]
        gradient *= depth ** float(scheme.epsilon())
    return Factor(init, multiplier, rate, lasting, gradient)


def _of(role: Role, exponents: Exponents) -> Power:
    """Vectors are matrices with one input."""
    return exponents.input if role == Role.VECTOR else getattr(exponents, role)


def _rate(leaf: Leaf, parametrization: Parametrization, optimizer: Optimizer, n: float) -> float:
    """Of the learning rate, of both fans where effects are what is kept. (U3)"""
    if parametrization.effects is None:
        return n ** -float(_of(leaf.role, parametrization.rates(optimizer)))
    (r, g), p = parametrization.sizes(optimizer), optimizer.degree
    again = n ** float(_of(leaf.role, parametrization.a) * (1 + optimizer.multiplier_degree))
    effect = n ** -float(_of(leaf.role, r)) * again
    if optimizer.entrywise:
        return effect / leaf.fan_in
    return effect * leaf.fan_in ** -float((1 + p) / 2) * leaf.fan_out ** float(HALF - p * (HALF - g))


def _gradient(leaf: Leaf, parametrization: Parametrization, optimizer: Optimizer) -> float:
    """Of the gradient in w: an entry, or the largest singular value. (U5)"""
    g = parametrization.sizes(optimizer).g
    n = leaf.fan_in if leaf.role in (Role.HIDDEN, Role.OUTPUT) else leaf.fan_out
    entry = n ** -float(_of(leaf.role, parametrization.a)) * leaf.fan_out ** -float(g)
    return entry if optimizer.entrywise else entry * (leaf.fan_in * leaf.fan_out) ** 0.5
