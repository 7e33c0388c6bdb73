"""A parametrization as transformations of optax. (U5)"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from widenet.parametrizations.factors import Decay, Factors
from widenet.parametrizations.trees import filled, path_of

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


def scale_by_parametrization(factors: Factors) -> optax.GradientTransformation:
    """Multiplies the update of every parameter by its factor of the learning rate; goes after the optimizer's own core.

    Example: `optax.chain(optax.scale_by_adam(), scale_by_parametrization(factors), optax.scale(-1e-3))`.
    """
    rates = factors.column("rate")

    def update(updates: Any, state: NoState, params: Any = None) -> tuple[Any, NoState]:
        return jax.tree_util.tree_map_with_path(lambda keys, u: u * rates[path_of(keys)], updates), state

    def init(params: Any) -> NoState:
        factors.specs.check(params)
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
        path: weight_decay * f.rate * f.decay if vectors or len(factors.specs[path].shape) > 1 else 0.0
        for path, f in factors.by_path.items()
    }

    def update(updates: Any, state: NoState, params: Any = None) -> tuple[Any, NoState]:
        if params is None:
            raise ValueError("weight decay needs the parameters: call update(gradients, state, params).")
        grown = jax.tree_util.tree_map_with_path(
            lambda keys, u, w: u + shrinks[path_of(keys)] * w.astype(u.dtype), updates, params
        )
        return grown, state

    def init(params: Any) -> NoState:
        factors.specs.check(params)
        return NoState()

    return _optax().GradientTransformation(init, update)


def parametrized(
    core: optax.GradientTransformation,
    factors: Factors,
    learning_rate: Any,
    *,
    weight_decay: float = 0.0,
    decay: Decay | str = Decay.PRODUCT_CONST,
    decay_vectors: bool = False,
) -> optax.GradientTransformation:
    """An optimizer with the learning rates and weight decays of a parametrization.

        w <- w - eta (n^-c core(gradient) + lambda n^.. w)

    core: gives directions, without a learning rate: `optax.scale_by_adam()`, `optax.trace(0.9)`,
    `widenet.optimizers.scale_by_muon()`.  learning_rate: that of the base model, or a schedule.
    decay: as `factors` was made with; "independent" does not multiply lambda by the learning rate.
    """
    optax = _optax()
    steps = [core, scale_by_parametrization(factors)]
    rate = optax.scale_by_learning_rate(learning_rate)
    if not weight_decay:
        return optax.chain(*steps, rate)
    if Decay(str(decay)) == Decay.INDEPENDENT:
        return optax.chain(*steps, rate, add_parametrized_decay(factors, -weight_decay, vectors=decay_vectors))
    return optax.chain(*steps, add_parametrized_decay(factors, weight_decay, vectors=decay_vectors), rate)


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
