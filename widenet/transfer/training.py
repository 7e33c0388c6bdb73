"""How a model of one size is trained: its parametrization, its optimizer, its loss. (V1)"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from widenet.finite.specs import specs as specs_of_net
from widenet.parametrizations.apply import rescale_init, with_multipliers
from widenet.parametrizations.factors import Factors, factors
from widenet.parametrizations.for_optax import parametrized
from widenet.parametrizations.infer import infer
from widenet.parametrizations.optimizers import Optimizer, adam
from widenet.parametrizations.parametrization import Parametrization, mup
from widenet.parametrizations.trees import mapped
from widenet.program.samples import features_of
from widenet.transfer.cores import Core, completed, default_core
from widenet.transfer.losses import Loss, default_loss
from widenet.transfer.model import Apply, Model

Models = Callable[[int], Model]  # of the size that changes


@dataclass(frozen=True)
class Training:
    """What is done to a model of every size.

    parametrization: its widths are relative to the smallest one.  optimizer: one, or one for each role; what acts on
    matrices only, such as Muon, leaves vectors to Adam.  core: a function from factors to its direction, a
    transformation of optax without a learning rate, or (apply, loss) -> `widenet.optimizers.kfac(...)`; by default that
    of widenet.optimizers or optax.
    loss: loss(outputs, y), of every sample or their mean; by default the squared error of real y, cross entropy of
    integers.  infer: options of `widenet.parametrizations.infer`, such as {"convention": "equinox"}.
    zero_readout: do readouts start from zero?
    """

    parametrization: Parametrization = mup
    optimizer: Optimizer | Mapping[str, Optimizer] = adam
    core: Callable[[Factors], Core] | None = None
    loss: Loss | None = None
    infer: Mapping[str, Any] = field(default_factory=dict)
    zero_readout: bool = False


class Trainer(NamedTuple):
    """A model of one size with its optimizer.

    init(key) -> params;  start(params, batch) -> state;  step(params, state, rate, (x, y)) -> (params, state, loss)
    """

    init: Callable[[Any], Any]
    apply: Apply
    start: Callable[[Any, Any], Any]
    step: Callable[[Any, Any, Any, Any], tuple[Any, Any, Array]]
    objective: Callable[[Any, Any], Array]
    model: Model
    factors: Factors | None


def trainer(training: Training, model: Model, base: Model, delta: Model, batch: Any, base_depth: int = 1) -> Trainer:
    """The model with the parametrization relative to `base`; `delta` differs from `base` in every width.

    base_depth: branches of the base network, where the model is an architecture.
    """
    loss = training.loss or default_loss(batch[1])
    if model.optimizer is not None:
        return _trainer(model.init, model.apply, lambda rate: _own(model.optimizer, rate), loss, model, None)
    found = factors_of(training, model, base, delta, batch, base_depth)

    def init(key: Any) -> Any:
        return rescale_init(model.init(key), base.init(key), found, zero_readout=training.zero_readout)

    apply = model.apply if model.net else with_multipliers(model.apply, found)
    core = (training.core or default_core)(found)
    if hasattr(core, "update"):
        return _trainer(init, apply, lambda rate: parametrized(core, found, rate), loss, model, found)
    return _natural(init, apply, core, loss, model, found)


def factors_of(training: Training, model: Model, base: Model, delta: Model, batch: Any, base_depth: int = 1) -> Factors:
    """The factors of a model of one size."""
    optimizer = completed(training.optimizer)
    if model.net is not None:
        shape = features_of(batch[0]).shape
        return specs_of_net(
            model.net,
            shape,
            model.width,
            parametrization=training.parametrization,
            optimizer=optimizer,
            base_width=base.width,
            base_depth=base_depth,
            **training.infer,
        )
    key = jax.random.key(0)
    found = infer(*(lambda each=each: each.init(key) for each in (base, model, delta)), **training.infer)
    return factors(found, training.parametrization, optimizer)


def _own(optimizer: Any, rate: Any) -> Any:
    """The user's optimizer, or what his function of the learning rate makes."""
    return optimizer if hasattr(optimizer, "update") else optimizer(rate)


def _trainer(
    init: Any, apply: Apply, transformation: Callable[[Any], Any], loss: Loss, model: Model, found: Factors | None
) -> Trainer:
    def objective(params: Any, batch: Any) -> Array:
        return jnp.mean(loss(apply(params, batch[0]), batch[1]))

    def start(params: Any, batch: Any) -> Any:
        return transformation(1.0).init(params)

    def step(params: Any, state: Any, rate: Any, batch: Any) -> tuple[Any, Any, Array]:
        value, gradients = jax.value_and_grad(objective)(params, batch)
        updates, state = transformation(rate).update(gradients, state, params)
        return jax.tree.map(_moved, params, updates), state, value

    return Trainer(init, apply, start, step, objective, model, found)


def _natural(init: Any, apply: Apply, core: Core, loss: Loss, model: Model, found: Factors) -> Trainer:
    """With a direction that is no function of the gradient alone."""
    made, rates = core(apply, loss), found.column("rate")

    def objective(params: Any, batch: Any) -> Array:
        return jnp.mean(loss(apply(params, batch[0]), batch[1]))

    def step(params: Any, state: Any, rate: Any, batch: Any) -> tuple[Any, Any, Array]:
        value = objective(params, batch)
        direction, state = made.update(params, batch, state)
        updates = mapped(lambda path, leaf: -rate * rates[path] * leaf, direction)
        return jax.tree.map(_moved, params, updates), state, value

    return Trainer(init, apply, made.init, step, objective, model, found)


def _moved(leaf: Any, update: Any) -> Any:
    return (leaf + update).astype(leaf.dtype)
