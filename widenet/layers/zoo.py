"""Architectures by name: functions that give a network, and the short form that the command line takes."""

from __future__ import annotations

import difflib
import inspect
import math
from collections.abc import Callable
from typing import Any

from widenet.activations import NAMED, erf, relu, sigmoid, tanh
from widenet.activations.activation import Activation
from widenet.layers.combine import residual as skip
from widenet.layers.dense import dense
from widenet.layers.layer import serial
from widenet.layers.positions import flatten, time_step
from widenet.layers.repeat import repeat
from widenet.program.ops import Weight
from widenet.program.trace import Net
from widenet.program.var import Var

SQRT_2 = math.sqrt(2)  # keeps the variance of a relu network


def mlp(activation: Activation = relu, depth: int = 3, *, sigma_w: Any = SQRT_2, sigma_b: Any = 0.0) -> Net:
    """A multilayer perceptron of `depth` hidden layers and one linear readout; images are flattened first."""
    layer = dense(sigma_w=sigma_w, sigma_b=sigma_b)
    if depth < 1:
        return serial(flatten(), layer)
    return serial(flatten(), layer, repeat(serial(activation, layer), depth - 1), activation, layer)


def residual(
    activation: Activation = relu, depth: int = 4, *, sigma_w: Any = 1.0, sigma_b: Any = 0.0, scale: Any = 1.0
) -> Net:
    """A pre-activation residual network: `depth` times x + scale / sqrt(depth) dense(phi(x)), then a readout."""
    branch = serial(activation, dense(sigma_w=sigma_w, sigma_b=sigma_b))
    blocks = repeat(skip(branch, scale=scale / math.sqrt(max(depth, 1))), depth)
    return serial(flatten(), dense(sigma_w=sigma_w, sigma_b=sigma_b), blocks, activation, dense(sigma_w=sigma_w))


def rnn(activation: Activation = erf, *, sigma_w: Any = 1.0, sigma_u: Any = 1.0, sigma_b: Any = 0.0) -> Net:
    """An Elman network with tied weights over the first position axis, read out at the last step.

    s_t = phi(sigma_w W s_{t-1} + sigma_u U x_t + sigma_b b),  W and U the same at every step.
    Source: yang2019, example RNN.
    """

    def net(x: Var) -> Var:
        w, u = Weight(name="W"), Weight(name="U")
        state = None
        for step in time_steps(x):
            drive = dense(step, sigma_u, sigma_b, weight=u)
            state = activation(drive if state is None else drive + dense(state, sigma_w, weight=w))
        return dense(state)

    return net


def gru(*, steps: int | None = None, sigma_w: Any = 1.0, sigma_u: Any = 1.0, sigma_b: Any = 0.0) -> Net:
    """Gated recurrent cells over the first position axis, each step with weights of its own.

    z = sigmoid(g_z), r = sigmoid(g_r), m = tanh(U_m x + W_m (r s)), s' = s + z (m - s).
    With weights of its own the gates are independent of the state, and the limit is closed form; ties between steps
    make them dependent, which the kernel reading refuses and `monte_carlo` computes.  steps: the first so many.
    Source: cho2014, eq. (5)-(8).
    """

    def gate(x: Var, state: Var, phi: Activation) -> Var:
        return phi(dense(x, sigma_u, sigma_b) + dense(state, sigma_w))

    def cell(x: Var, state: Var) -> Var:
        update, reset = gate(x, state, sigmoid), gate(x, state, sigmoid)
        return state + update * (gate(x, reset * state, tanh) - state)

    def net(x: Var) -> Var:
        first, *rest = time_steps(x)[:steps]
        state = tanh(dense(first, sigma_u, sigma_b))
        for step in rest:
            state = cell(step, state)
        return dense(state)

    return net


def time_steps(x: Var) -> list[Var]:
    """The variables at each index of the first position axis; further axes become channels."""
    if not x.positions:
        raise ValueError(f"a recurrent network needs a time axis: data [n, t, d]; got {x}.")
    return [flatten(time_step(x, t)) for t in range(x.positions[0])]


ZOO: dict[str, Callable[..., Net]] = {"mlp": mlp, "residual": residual, "rnn": rnn, "gru": gru}


def parse(spec: str) -> Net:
    """The network of a short form NAME[:ACTIVATION][:DEPTH][:key=value ...], such as 'mlp:relu:3:sigma_w=1.4'.

    Raises: ValueError for an unknown name, activation or option, with the nearest known one.
    """
    name, *words = spec.split(":")
    make = ZOO[known(name, ZOO, "network")]
    options = _options(words, inspect.signature(make).parameters, name)
    return make(**options)


def _options(words: list[str], parameters: Any, name: str) -> dict[str, Any]:
    options: dict[str, Any] = {}
    for word in words:
        key, _, value = word.rpartition("=")
        if not key:
            key = "depth" if word.isdigit() else "activation"
        key = known(key, parameters, f"option of {name}")
        options[key] = NAMED[known(value, NAMED, "activation")] if key == "activation" else _number(key, value)
    return options


def _number(key: str, value: str) -> float | int:
    try:
        return int(value) if value.isdigit() and key in ("depth", "steps") else float(value)
    except ValueError:
        raise ValueError(f"{key} must be a number; got {value!r}.") from None


def known(name: str, names: Any, what: str) -> str:
    """`name`, if it is one of `names`; else a ValueError that suggests the nearest."""
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown {what} {name!r};{hint} choose from {', '.join(names)}.")
