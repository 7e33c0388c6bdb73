"""A plain multilayer perceptron, read off its program: linear maps and activations in turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from widenet.activations import identity
from widenet.activations.activation import Activation
from widenet.program.ops import Flatten, Input, Linear, Nonlin, Op, Repeat
from widenet.program.trace import Net, Program, trace
from widenet.program.var import Var, describe

REMEDY = "it reads chains of dense layers and activations alone, such as wn.zoo.mlp(wn.tanh, 10)"


class Layer(NamedTuple):
    """h = sigma_w / sqrt(fan_in) W phi(h before) + sigma_b b; the first layer has no phi."""

    phi: Activation | None
    sigma_w: float
    sigma_b: float


class Chain(NamedTuple):
    """The layers of a network, and the activation after the last one if there is one."""

    layers: tuple[Layer, ...]
    end: Activation | None


def chain_of(net: Net | Activation, reading: str) -> Chain:
    """The layers of `net`; dense layers that follow each other have the identity between them.

    reading: who asks, for messages.
    Raises: TypeError for an activation in place of a net; NotImplementedError for a net that is no such chain, that
    ties weights or fixes a hidden width; TypeError for a scale that is no number.
    """
    if isinstance(net, Activation):
        raise TypeError(
            f"{reading} reads a network, but was given the activation {net.name}: its depth and scales matter; write "
            f"wn.zoo.mlp(wn.{net.name}, 10, sigma_w=..., sigma_b=...)."
        )
    program = trace(net, (1, 1))
    ops = list(_ops(program, reading))
    if not ops or not isinstance(ops[0], Linear):
        raise NotImplementedError(f"{reading} needs a dense layer first: {REMEDY}.")
    layers: list[Layer] = []
    phi: Activation | None = None
    for i, op in enumerate(ops):
        if isinstance(op, Nonlin):
            phi = op.phi
            continue
        assert isinstance(op, Linear)
        if op.weight.width is not None and any(isinstance(later, Linear) for later in ops[i + 1 :]):
            raise NotImplementedError(
                f"{reading} expands in the inverse of the hidden width, but a hidden layer has width="
                f"{op.weight.width}: leave it out."
            )
        scales = _number(op.sigma_w, "sigma_w", reading), _number(op.sigma_b, "sigma_b", reading)
        layers.append(Layer(phi if phi is not None or not layers else identity, *scales))
        phi = None
    return Chain(tuple(layers), phi)


def readout_width(net: Net) -> int | None:
    """The width that was given to the last dense layer, if one was."""
    last = [op for op in _ops(trace(net, (1, 1)), "this reading") if isinstance(op, Linear)][-1]
    return last.weight.width


def _ops(program: Program, reading: str) -> Iterator[Op]:
    """The operations of a chain, repeated blocks written out."""
    for uses in program.weights.values():
        if len(uses) > 1:
            raise NotImplementedError(f"{reading} needs a Weight of its own in each layer: {REMEDY}.")
    before: Var | None = None
    for var in program.variables:
        if not isinstance(var.op, Input):
            if var.args != (before,) or type(var.op) not in (Linear, Nonlin, Flatten, Repeat):
                raise NotImplementedError(f"{reading} does not know {describe(var)}: {REMEDY}.")
            if isinstance(var.op, Repeat):
                yield from list(_ops(var.op.body, reading)) * var.op.times
            elif not isinstance(var.op, Flatten):
                yield var.op
        before = var


def _number(scale: Any, name: str, reading: str) -> float:
    try:
        number = float(scale)
    except TypeError:
        raise TypeError(f"{reading} needs a number for {name}, not a traced value: call it outside of jit.") from None
    if not np.isfinite(number):
        raise ValueError(f"{name} must be a finite number; got {number}.")
    return number
