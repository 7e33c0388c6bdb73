"""The directions of optimizers, without learning rates, that go with the data that describe them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from widenet.initializers.fans import Axes
from widenet.optimizers.library import optax
from widenet.parametrizations.factors import Factors
from widenet.parametrizations.leaf import Role
from widenet.parametrizations.optimizers import Optimizer, adam
from widenet.parametrizations.specs import Specs
from widenet.parametrizations.trees import filled

EPSILON = 1e-8  # of Adam, for the base model; it goes on as gradients do

Core = Any  # a transformation of optax, or a function (apply, loss) -> widenet.optimizers.Kfac


def completed(optimizer: Optimizer | Mapping[str, Optimizer]) -> Optimizer | dict[str, Optimizer]:
    """The optimizers by role: what acts on matrices leaves vectors and scalars to Adam; K-FAC sees multipliers."""
    if isinstance(optimizer, Mapping):
        return {role: _seeing(each) for role, each in optimizer.items()}
    if optimizer.entrywise or _stem(optimizer) == "sgd":
        return optimizer
    return {Role.VECTOR: adam, Role.SCALAR: adam, "rest": _seeing(optimizer)}


def _seeing(optimizer: Optimizer) -> Optimizer:
    return replace(optimizer, outside=None) if optimizer.natural and _stem(optimizer) == "k-fac" else optimizer


def _stem(optimizer: Optimizer) -> str:
    return optimizer.name.split(" (")[0]


def default_core(factors: Factors) -> Core:
    """The core of each parameter's optimizer, as `widenet.optimizers` and optax have it.

    Raises: ValueError for an optimizer without one, which the user's `core=` is then to give.
    """
    kinds = {str(each): each for each in factors.optimizers.values()}
    if any(_stem(each) == "k-fac" for each in kinds.values()):
        return _kfac(factors, kinds)
    if len(kinds) == 1:
        return _core(next(iter(kinds.values())), factors)
    by_path = {path: str(each) for path, each in factors.optimizers.items()}
    return optax().partition({name: _core(each, factors) for name, each in kinds.items()}, partial(_named, by_path))


def _named(by_path: Mapping[str, str], params: Any) -> Any:
    return filled(by_path, params, None)


def _core(optimizer: Optimizer, factors: Factors) -> Any:
    known = CORES.get(_stem(optimizer))
    if known is None:
        raise ValueError(
            f"no transformation is known for the optimizer {optimizer}; there are {', '.join(CORES)} and k-fac.  Give "
            "core=, a function from factors to a transformation of optax without a learning rate."
        )
    return known(optimizer, factors)


def _sgd(optimizer: Optimizer, factors: Factors) -> Any:
    return optax().identity()


def _adam(optimizer: Optimizer, factors: Factors) -> Any:
    from widenet.optimizers import scale_by_adam

    by_path = factors.column("epsilon")
    return scale_by_adam(eps=lambda name: EPSILON * by_path[name.removesuffix("/value")])


def _lion(optimizer: Optimizer, factors: Factors) -> Any:
    return optax().scale_by_lion()


def _muon(optimizer: Optimizer, factors: Factors) -> Any:
    from widenet.optimizers import scale_by_muon

    return scale_by_muon(scale=optimizer.own_scale, axes=axes_of(factors.specs))


def _shampoo(optimizer: Optimizer, factors: Factors) -> Any:
    from widenet.optimizers import scale_by_shampoo

    if "," in optimizer.name:
        raise ValueError(f"{optimizer} has two exponents, of which only the sum is known here: give core=.")
    return scale_by_shampoo(float(1 - optimizer.degree) / 4, axes=axes_of(factors.specs))


def _soap(optimizer: Optimizer, factors: Factors) -> Any:
    from widenet.optimizers import scale_by_soap

    return scale_by_soap(axes=axes_of(factors.specs))


CORES: dict[str, Callable[[Optimizer, Factors], Any]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adam,
    "lion": _lion,
    "muon": _muon,
    "shampoo": _shampoo,
    "soap": _soap,
}


def _kfac(factors: Factors, kinds: Mapping[str, Optimizer]) -> Core:
    from widenet.optimizers import kfac, scale_by_adam

    others = [each for each in kinds.values() if _stem(each) not in ("k-fac", "adam", "adamw")]
    if others:
        raise ValueError(f"K-FAC beside {others[0]} has no transformation here: give core=, or Adam for the rest.")
    rest = _adam(adam, factors) if len(kinds) > 1 else scale_by_adam()
    return lambda apply, loss: kfac(apply, loss, axes=axes_of(factors.specs), rest=rest)


def axes_of(specs: Specs) -> Callable[[str], Axes | None]:
    """Which axes of a parameter are those of matrices, for `widenet.optimizers`; None for vectors and scalars."""

    def axes(name: str) -> Axes | None:
        leaf = specs[name.removesuffix("/value")]
        places = {word: tuple(i for i, axis in enumerate(leaf.axes) if axis == word) for word in ("in", "out", "stack")}
        if not places["in"]:
            return None
        return Axes(places["in"], places["out"], places["stack"])

    return axes
