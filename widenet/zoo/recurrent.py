"""Recurrent networks over the first position axis of the data `[n, time, d]`, read out at their last state.

A cell is a rule state -> new state at one step, written with gates: a gate is a Gaussian variable
sigma_u U x + sigma_w W s + sigma_b b, with the same U, W and b at every step (tied) or with others at each.

Shared options: bidirectional adds a network of weights of its own from the last step to the first, whose state is
concatenated.  masked reads the mask of each sample, `samples(x, mask=...)`: a step that is not there leaves the state
as it was.  tied=False gives each step weights of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from widenet.activations import activation as make_activation
from widenet.activations import erf, identity, sigmoid, tanh
from widenet.activations.activation import Activation
from widenet.layers.combine import concatenate
from widenet.layers.dense import dense
from widenet.layers.graph import masked as at_mask
from widenet.layers.positions import flatten, mix_positions, time_step
from widenet.program.ops import Weight
from widenet.program.trace import Net
from widenet.program.var import Var, shape_text

STEP_EXISTS = make_activation(lambda u: 1.0 * (u != 0), name="nonzero")  # of a masked Gaussian: is it there?


def rnn(
    activation: Activation = erf,
    *,
    sigma_w: Any = 1.0,
    sigma_u: Any = 1.0,
    sigma_b: Any = 0.0,
    tied: bool = True,
    masked: bool = False,
    bidirectional: bool = False,
) -> Net:
    """An Elman network, in closed form.

    s_t = phi(sigma_u U x_t + sigma_w W s_{t-1} + sigma_b b)
    Source: elman1990; yang2019, example RNN.
    """

    def cell(step: Step, state: State) -> State:
        new = activation(step.gate("", state.output))
        if not masked:
            return State(new)
        new = step.keep(new)
        return State(new if state.output is None else new + state.output - step.keep(state.output))

    return _recurrent("rnn", cell, (sigma_w, sigma_u, sigma_b), tied, masked, bidirectional)


def gru(
    activation: Activation = tanh,
    *,
    gate: Activation = sigmoid,
    sigma_w: Any = 1.0,
    sigma_u: Any = 1.0,
    sigma_b: Any = 0.0,
    tied: bool = True,
    masked: bool = False,
    bidirectional: bool = False,
) -> Net:
    """A network of gated recurrent units.

    z = gate(g_z), r = gate(g_r), s_t = s_{t-1} + z (phi(g_m) - s_{t-1}), where g_m reads r s_{t-1}

    Tied gates depend on the state, and the kernel reading integrates them numerically: its time grows with the square
    of the number of steps and more, and so does its error, which `kernel_error` states and more `points` lower.
    tied=False without a mask is closed form.
    Source: cho2014, eq. (5)-(8).
    """

    def cell(step: Step, state: State) -> State:
        s = state.output
        update = gate(step.gate("z", s))
        inner = step.exists(step.gate("m", None if s is None else gate(step.gate("r", s)) * s))
        change = activation(inner) if s is None else activation(inner) - s
        if masked:
            change = STEP_EXISTS(inner) * change
        new = update * change if s is None else s + update * change
        return State(identity(new) if tied and s is not None else new)  # one integral, not one for each term

    return _recurrent("gru", cell, (sigma_w, sigma_u, sigma_b), tied, masked, bidirectional)


def lstm(
    activation: Activation = tanh,
    *,
    gate: Activation = sigmoid,
    sigma_w: Any = 1.0,
    sigma_u: Any = 1.0,
    sigma_b: Any = 0.0,
    tied: bool = True,
    masked: bool = False,
    bidirectional: bool = False,
) -> Net:
    """A network of long short-term memory.

    c_t = gate(g_f) c_{t-1} + gate(g_i) phi(g_m),  s_t = gate(g_o) phi(c_t)

    Integrated numerically, as `gru`, in more dimensions: percents of error at 8 steps with the default points.  The
    leaves of c_t are those of all steps, tied or not.
    Source: hochreiter1997, with the forget gate of gers2000.
    """

    def cell(step: Step, state: State) -> State:
        s, c = state
        inner = step.exists(step.gate("m", s))
        new = gate(step.gate("i", s)) * activation(inner)
        memory = new if c is None else gate(step.gate("f", s)) * c + new
        output = gate(step.gate("o", s)) * activation(memory)
        if not masked:
            return State(output, memory)
        there = STEP_EXISTS(inner)
        if s is None or c is None:
            return State(there * output, there * memory)
        return State(identity(s + there * (output - s)), c + there * (memory - c))

    return _recurrent("lstm", cell, (sigma_w, sigma_u, sigma_b), tied, masked, bidirectional)


class State(NamedTuple):
    """What a cell passes on; None before the first step stands for zero."""

    output: Var | None
    memory: Var | None = None


class Step(NamedTuple):
    """One step of time: its gates, and its mask."""

    gate: Callable[[str, Var | None], Var]  # the Gaussian gate of this name, for a state
    exists: Callable[[Var], Var]  # zero in the samples that have no such step
    keep: Callable[[Var], Var]


Cell = Callable[[Step, State], State]


def _recurrent(
    name: str, cell: Cell, sigmas: tuple[Any, Any, Any], tied: bool, masked: bool, bidirectional: bool
) -> Net:
    def net(x: Var) -> Var:
        steps = time_steps(x, name, masked)
        last = _run(cell, sigmas, tied, masked, list(enumerate(steps)))
        if bidirectional:
            back = _run(cell, sigmas, tied, masked, list(enumerate(steps))[::-1])
            last = concatenate(last, back)
        return dense(last)

    return net


def _run(cell: Cell, sigmas: tuple[Any, Any, Any], tied: bool, masked: bool, steps: Iterable[tuple[int, Var]]) -> Var:
    """The last state of a cell."""
    steps, weights, state = list(steps), _Weights(tied), State(None)
    sigma_w, sigma_u, sigma_b = sigmas

    for t, x in steps:

        def gate(name: str, s: Var | None, x: Var = x) -> Var:
            drive = dense(x, sigma_u, sigma_b, weight=weights(f"U{name}"))
            return drive if s is None else drive + dense(s, sigma_w, weight=weights(f"W{name}"))

        def keep(s: Var, t: int = t) -> Var:
            return _at_step(s, t, len(steps))

        state = cell(Step(gate, keep if masked else lambda s: s, keep), state)
    assert state.output is not None, "data have one step or more"
    return state.output


class _Weights:
    """The weights of a cell: one for each name, or a new one at each call."""

    def __init__(self, tied: bool) -> None:
        self.tied, self.made = tied, dict[str, Weight]()

    def __call__(self, name: str) -> Weight:
        return self.made.setdefault(name, Weight(name=name)) if self.tied else Weight(name=name)


def _at_step(s: Var, t: int, steps: int) -> Var:
    """s where the sample has a step t, zero where it has none: put at position t, masked, and taken back."""
    column = np.eye(steps)[:, t : t + 1]
    return time_step(at_mask(mix_positions(s, column, (steps,), name=f"at step {t}")), t)


def time_steps(x: Var, name: str, masked: bool) -> list[Var]:
    """The variables at each index of the first position axis; further axes become channels."""
    if not x.positions:
        raise ValueError(f"{name} needs a time axis, data [batch, time, features], but was given {shape_text(x)}.")
    if masked and len(x.positions) > 1:
        raise ValueError(
            f"{name} with a mask reads data [batch, time, features], but was given {shape_text(x)}: reshape them."
        )
    return [flatten(time_step(x, t)) for t in range(x.positions[0])]
