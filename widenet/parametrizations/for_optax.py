"""A parametrization as transformations of optax. (U5)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from widenet.parametrizations.factors import Decay, Factors
from widenet.parametrizations.trees import filled, mapped, shapes_of

if TYPE_CHECKING:
    import optax


class NoState(NamedTuple):
    """Nothing to remember."""


def _optax() -> Any:
    try:
        import optax
    except ImportError as error:
        raise ImportError("transformations of gradients need optax: pip install 'widenet[training]'.") from error
    return optax


def _check(factors: Factors, params: Any) -> None:
    """Are these parameters those of `factors`, or some of them, as of one optimizer in `optax.partition`?"""
    factors.specs.check_shapes({leaf.path: leaf.shape for leaf in factors.specs} | shapes_of(params))


def scale_by_parametrization(factors: Factors) -> optax.GradientTransformation:
    """Multiplies the update of every parameter by its factor of the learning rate; goes after the optimizer's own core.

    Example: `optax.chain(optax.scale_by_adam(), scale_by_parametrization(factors), optax.scale(-1e-3))`.
    """
    rates = factors.column("rate")

    def update(updates: Any, state: NoState, params: Any = None) -> tuple[Any, NoState]:
        return mapped(lambda path, u: u * rates[path], updates), state

    def init(params: Any) -> NoState:
        _check(factors, params)
        return NoState()

    return _optax().GradientTransformation(init, update)


def add_parametrized_decay(
    factors: Factors, weight_decay: float, *, vectors: bool = False
) -> optax.GradientTransformation:
    """Adds weight decay times each parameter, by its factor; goes behind `scale_by_parametrization`.

    The learning rate is still to multiply it; `parametrized` puts every mode in its right place.
    vectors: do biases and gains decay?
    """
    shrinks = {
        path: weight_decay * f.rate * f.decay if vectors or factors.specs[path].is_matrix else 0.0
        for path, f in factors.by_path.items()
    }

    def update(updates: Any, state: NoState, params: Any = None) -> tuple[Any, NoState]:
        if params is None:
            raise ValueError("weight decay needs the parameters: call update(gradients, state, params).")
        shrunk = mapped(lambda path, w: shrinks[path] * w, params)
        of_floats = filled(dict.fromkeys(shrinks, True), params, False)
        grown = jax.tree.map(
            lambda u, w, is_float: u + w.astype(u.dtype) if is_float else u, updates, shrunk, of_floats
        )
        return grown, state

    def init(params: Any) -> NoState:
        _check(factors, params)
        return NoState()

    return _optax().GradientTransformation(init, update)


def parametrized(
    core: optax.GradientTransformation,
    factors: Factors,
    learning_rate: Any,
    *,
    weight_decay: Any = 0.0,
    decay_vectors: bool = False,
) -> optax.GradientTransformation:
    """An optimizer with the learning rates and weight decays of a parametrization.

        w <- w - eta (n^-c core(gradient) + lambda n^.. w)

    core: gives directions, without a learning rate: `optax.scale_by_adam()`, `optax.trace(0.9)`,
    `widenet.optimizers.scale_by_muon()`.  learning_rate: that of the base model, or a schedule.
    weight_decay: lambda; it goes as `factors` was made with, where "independent" has no learning rate.
    Raises: ValueError for other objects.
    """
    optax = _optax()
    _check_arguments(core, factors, learning_rate)
    steps = [core, scale_by_parametrization(factors)]
    rate = optax.scale_by_learning_rate(learning_rate)
    if isinstance(weight_decay, (int, float)) and not weight_decay:
        return optax.chain(*steps, rate)
    if factors.decay == Decay.INDEPENDENT:
        return optax.chain(*steps, rate, add_parametrized_decay(factors, -weight_decay, vectors=decay_vectors))
    return optax.chain(*steps, add_parametrized_decay(factors, weight_decay, vectors=decay_vectors), rate)


def _check_arguments(core: Any, factors: Any, learning_rate: Any) -> None:
    if not isinstance(factors, Factors):
        raise ValueError(f"factors are those of factors(specs, parametrization, optimizer); got {factors!r}.")
    if not hasattr(core, "init") or not hasattr(core, "update"):
        raise ValueError(f"core is a transformation, such as optax.scale_by_adam(), called; got {core!r}.")
    if not (callable(learning_rate) or hasattr(learning_rate, "dtype") or isinstance(learning_rate, (int, float))):
        raise ValueError(f"learning_rate is a number or a schedule of optax; got {learning_rate!r}.")


def labels(factors: Factors, params: Any) -> Any:
    """A tree with the name of the optimizer of every parameter, for `optax.partition`."""
    factors.specs.check(params)
    return filled({path: optimizer.name for path, optimizer in factors.optimizers.items()}, params, None)


def roles(factors: Factors, params: Any) -> Any:
    """A tree with the role of every parameter, for `optax.partition`."""
    factors.specs.check(params)
    return filled({path: str(role) for path, role in factors.specs.roles().items()}, params, None)


def epsilons(factors: Factors, params: Any, epsilon: float) -> Any:
    """A tree of epsilons that go as gradients do, `epsilon` being that of the base model. (U5)"""
    factors.specs.check(params)
    return filled({path: epsilon * f.epsilon for path, f in factors.by_path.items()}, params, epsilon)
