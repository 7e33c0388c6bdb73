"""Gradient descent on any loss, in continuous time, by solving its differential equation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import ode

from widenet.compat.neural_tangents.kernel import as_matrix
from widenet.compat.neural_tangents.predict.blocks import Targets, row_shape, targets
from widenet.compat.neural_tangents.predict.mse import check_start


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ODEState:
    """The state of training: outputs, and their velocities if there is momentum."""

    fx_train: Any = None
    fx_test: Any = None
    qx_train: Any = None
    qx_test: Any = None


def gradient_descent(
    loss: Callable[[Any, Any], Any],
    k_train_train: Any,
    y_train: Any,
    learning_rate: Any = 1.0,
    momentum: Any = None,
    trace_axes: int | Sequence[int] = (-1,),
) -> Callable[..., Any]:
    """`predict_fn(t=None, fx_train_or_state_0=0.0, fx_test_0=None, k_test_train=None)` for loss(f(x), y).

    df/dt = -K dloss/df at time eta t; with momentum m the time is sqrt(eta) t and
    f'' = (m - 1) / sqrt(eta) f' - K dloss/df.
    t: steps, a number or an increasing array.  t=None asks for the end of training, which a solver of differential
    equations need not reach.  An `ODEState` to start from gives an `ODEState` back.
    """
    y = targets(y_train, trace_axes)
    k = jnp.asarray(k_train_train)
    slope = jax.grad(lambda fx: loss(fx, y.y))
    speed = learning_rate if momentum is None else learning_rate**0.5
    friction = None if momentum is None else (momentum - 1.0) / speed

    def predict_fn(
        t: Any = None, fx_train_or_state_0: Any = 0.0, fx_test_0: Any = None, k_test_train: Any = None
    ) -> Any:
        given = fx_train_or_state_0
        if isinstance(given, ODEState) and fx_test_0 is not None:
            raise ValueError("fx_test_0 is in the ODEState: leave it out.")
        state = given if isinstance(given, ODEState) else ODEState(given, fx_test_0)
        check_start(state.fx_train, state.fx_test, k_test_train)
        times = jnp.asarray(jnp.inf if t is None else t, k.dtype) * speed
        start = complete(state, y, k, k_test_train, momentum is not None)
        made = solved(velocity(y, k, k_test_train, slope, friction), start, times)
        if isinstance(given, ODEState):
            return made
        return made.fx_train if fx_test_0 is None else made.fx_test if given is None else (made.fx_train, made.fx_test)

    return predict_fn


def complete(state: ODEState, y: Targets, k: jax.Array, k_test_train: Any, momentum: bool) -> ODEState:
    """A state with arrays in place of numbers, and velocities zero where they are missing."""
    if not momentum and (state.qx_train is not None or state.qx_test is not None):
        raise ValueError("the state has velocities, but there is no momentum: give gradient_descent(momentum=...).")
    shapes = y.y.shape, None if k_test_train is None else _test_shape(y, k_test_train)

    def filled(value: Any, shape: Any, missing: Any) -> Any:
        value = missing if value is None else value
        return None if value is None or shape is None else jnp.broadcast_to(jnp.asarray(value, k.dtype), shape)

    rest = 0.0 if momentum else None
    return ODEState(
        filled(state.fx_train, shapes[0], 0.0),
        filled(state.fx_test, shapes[1], None),
        filled(state.qx_train, shapes[0], rest),
        None if state.fx_test is None else filled(state.qx_test, shapes[1], rest),
    )


def _test_shape(y: Targets, k_test_train: Any) -> tuple[int, ...]:
    rows = iter(row_shape(k_test_train))
    return tuple(size if a in y.traced else next(rows) for a, size in enumerate(y.y.shape))


def velocity(y: Targets, k: jax.Array, k_test_train: Any, slope: Any, friction: Any) -> Callable[..., ODEState]:
    """The time derivative of a state."""

    def force(kernel: Any, columns: jax.Array) -> jax.Array:
        return -y.outputs(as_matrix(kernel) @ columns, row_shape(kernel))

    def of(state: ODEState, _: Any) -> ODEState:
        columns = y.columns(slope(state.fx_train))
        train = force(k, columns)
        test = None if state.fx_test is None else force(k_test_train, columns)
        if friction is None:
            return ODEState(train, test)
        train = train + friction * state.qx_train
        test = None if test is None else test + friction * state.qx_test
        return ODEState(state.qx_train, state.qx_test, train, test)

    return of


def solved(derivative: Any, start: ODEState, times: jax.Array) -> ODEState:
    """The states at `times`; the solver wants a start strictly before the first of them."""
    flat = times.reshape(-1)
    before = jnp.where(flat[:1] == 0, jnp.asarray(-1e-24, flat.dtype), jnp.zeros((), flat.dtype))
    states = ode.odeint(derivative, start, jnp.concatenate([before, flat]))
    return jax.tree.map(lambda s: s[1:].reshape(*times.shape, *s.shape[1:]), states)
