"""K-FAC of the dense layers of any function of jax. (O10)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from widenet.initializers.reading import Apply, is_floating
from widenet.optimizers.adam import scale_by_adam
from widenet.optimizers.capture import Capture, rows
from widenet.optimizers.curvature import Curvature, Loss, gauss_newton
from widenet.optimizers.damping import Damping, relative_to_trace
from widenet.optimizers.factors import Pair, every_so_often, inverse_powers
from widenet.optimizers.leaves import PerLeaf, average, unbiased, working
from widenet.optimizers.shampoo import check_rates
from widenet.parametrizations.trees import path_of

BY_TRACE = relative_to_trace()


class KfacState(NamedTuple):
    """Updates made; the loss at the last one; by name: the constants, factors and inverses; and the state of `rest`."""

    steps: Array
    loss: Array
    multipliers: dict[str, Array]
    factors: dict[str, Pair]
    inverses: dict[str, Pair]
    rest: Any


class Kfac(NamedTuple):
    """init(params, batch) -> state;    update(params, batch, state, key=None) -> (direction, state)."""

    init: Callable[..., KfacState]
    update: Callable[..., tuple[Any, KfacState]]


def kfac(
    apply: Apply,
    loss: Loss,
    *,
    curvature: Curvature = gauss_newton,
    damping: Damping = BY_TRACE,
    beta: float = 0.95,
    every: int = 1,
    axes: PerLeaf = None,
    rest: Any = None,
) -> Kfac:
    """K-FAC: (A + d_A)^-1 G (B + d_B)^-1 for every weight G `[fan_in, fan_out]` that multiplies data. (O10)

    A = E c^2 a a^T of the layer's data a and its constant c, B = E sum g g^T of the gradients at what it makes,
    averaged with `beta` and their bias undone; inverses are computed at every `every`-th update.  The loss is the mean
    over the batch (x, targets) of loss(apply(params, x), targets), which is `[n]`: one for each sample.

    Layers are found in the equations of `apply`, without hooks.  A weight that is used at several positions or in
    several layers takes them as more samples.  What is not the weight of a dense layer (biases, convolutions,
    embeddings) gets `rest`, an optax transformation: by default `scale_by_adam()`.
    The direction is for a step downhill, as of an optax transformation: subtract it times the learning rate.
    Raises: ValueError for a loss that is not one per sample, a function in which no weight is seen to meet data, and
    one whose axes are not as `axes` say (see `fans_of`).
    Source: martens2015; eschenhagen2023 (positions as samples); ishikawa2024 (the damping).
    """
    check_rates("kfac", beta, every)
    others = scale_by_adam() if rest is None else rest

    def init(params: Any, batch: Any) -> KfacState:
        x, targets = batch
        capture = Capture.of(apply, params, x, axes)
        _check_loss(loss, jax.eval_shape(apply, params, x), targets)
        multipliers = capture.multipliers(x)
        factors = {
            capture.names[i]: Pair(*(jnp.zeros((n, n), multipliers[capture.names[i]].dtype) for n in (f.n_in, f.n_out)))
            for i, f in capture.fans.items()
        }
        start = others.init(_without(params, factors))
        return KfacState(jnp.zeros((), jnp.int32), jnp.full((), jnp.nan), multipliers, factors, factors, start)

    def update(params: Any, batch: Any, state: KfacState, key: Any = None) -> tuple[Any, KfacState]:
        x, targets = batch
        capture = Capture.of(apply, params, x, axes)
        arrays = capture.reading.leaves.arrays
        places, shifts = capture.uses(x)

        def forward(arrays: Any, shifts: Any) -> tuple[Array, Any]:
            return capture.shifted(arrays, shifts, x)

        outputs, pull, given = jax.vjp(forward, list(arrays), shifts, has_aux=True)
        value, slope = jax.value_and_grad(lambda f: jnp.mean(loss(f, targets)))(outputs)
        gradients = dict(zip(capture.names, pull(slope)[0], strict=True))
        kicks = jax.vmap(lambda vector: pull(vector)[1])(curvature(loss, outputs, targets, key).astype(outputs.dtype))

        def over_uses(i: int, parts: list[Array]) -> Array:
            return jnp.concatenate([rows(part) for at, part in zip(places, parts, strict=True) if at == i])

        def layer(i: int) -> tuple[Array, Pair, Pair]:
            name, fans = capture.names[i], capture.fans[i]
            data, ends = over_uses(i, given), over_uses(i, kicks)
            now = Pair(state.multipliers[name] ** 2 * data.T @ data / len(data), ends.T @ ends / len(outputs))
            factors = Pair(*(average(old, new, beta) for old, new in zip(state.factors[name], now, strict=True)))
            means = Pair(*(unbiased(factor, beta, state.steps) for factor in factors))
            inverses = every_so_often(
                every,
                state.steps,
                lambda: inverse_powers(name, means, (1, 1), damping),
                state.inverses[name],
            )
            direction = fans.weight(inverses.into @ working(fans.matrices(gradients[name])) @ inverses.out)
            return direction.astype(gradients[name].dtype), factors, inverses

        layers = {capture.names[i]: layer(i) for i in capture.fans}
        directions = {name: made[0] for name, made in layers.items()}
        factors = {name: made[1] for name, made in layers.items()}
        inverses = {name: made[2] for name, made in layers.items()}
        left = {name: gradient for name, gradient in gradients.items() if name not in factors}
        made, others_state = others.update(left, state.rest, _without(params, factors))
        after = KfacState(
            state.steps + 1, value.astype(state.loss.dtype), state.multipliers, factors, inverses, others_state
        )
        return _filled(params, directions | made), after

    return Kfac(init, update)


def _without(params: Any, names: Any) -> dict[str, Any]:
    """The floating leaves by name, but for these."""
    leaves = ((path_of(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(params)[0])
    return {name: leaf for name, leaf in leaves if is_floating(leaf) and name not in names}


def _filled(params: Any, directions: dict[str, Any]) -> Any:
    """The pytree of directions; zero for what is not floating."""
    paths, tree = jax.tree_util.tree_flatten_with_path(params)
    leaves = [directions.get(path_of(path), jnp.zeros_like(leaf)) for path, leaf in paths]
    return jax.tree.unflatten(tree, leaves)


def _check_loss(loss: Loss, outputs: Any, targets: Any) -> None:
    if not hasattr(outputs, "shape"):
        raise ValueError("apply(params, x) must give one array of outputs [n, ...] for K-FAC.")
    shape = jax.eval_shape(loss, outputs, targets).shape
    if shape != outputs.shape[:1]:
        raise ValueError(
            f"loss(outputs, targets) has shape {shape} for {outputs.shape[0]} samples: give the loss of every sample, "
            f"[{outputs.shape[0]}], not their mean."
        )
