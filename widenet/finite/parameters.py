"""The parameters of a finite network: what they are called, which shape they have, how they are drawn."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from widenet.parametrizations.parametrization import Parametrization
from widenet.program.ops import (
    Conv,
    DepthwiseConv,
    Embed,
    Heads,
    Linear,
    LocalConv,
    Op,
    Repeat,
    Table,
    Weight,
)
from widenet.program.trace import Net, Program, trace
from widenet.program.var import Var, describe

Params = dict[str, Any]
Owner = Weight | Var  # what has an entry of its own: a weight, or a repeated block


def init(
    net: Net,
    key: Any,
    shape: Sequence[int],
    width: int,
    *,
    parametrization: Parametrization | None = None,
    base_width: int = 1,
    dtype: Any = None,
) -> Params:
    """Parameters of `net` at hidden width `width`: every entry of every W and b standard normal (F1).

    The result is a dict by order of first use, `{"dense1": {"w": [fan_in, fan_out], "b": [fan_out]}, ...}`;
    `b` only where a bias is used.  A named `Weight` has its name, a tied one a single entry, and a `repeat` one entry
    `"repeat1"` with the parameters of its block stacked along a leading axis.

    key: an integer or a jax key.  shape: that of the data, `[n, *positions, d]`; n does not matter.
    parametrization: None for that of the NTK, all kernels' own; others multiply standard deviations by powers of
    width / base_width, muP that of the readout by (width / base_width)^-1/2; learning rates are in `widenet.specs`.
    dtype: of the parameters; None for jax's default float.
    Raises: ValueError for a width below one; whatever tracing `net` raises.
    """
    program, width = trace(net, shape), whole_width(width)
    params = draw_program(program, as_key(key), width, jnp.dtype(dtype or jnp.result_type(float)))
    if parametrization is None:
        return params
    from widenet.finite.specs import initialized  # knows the shapes of parameters from here

    return initialized(program, params, width, parametrization, whole_width(base_width))


def as_key(key: Any) -> Any:
    """A jax key, of a jax key or of an integer seed."""
    return jax.random.key(int(key)) if isinstance(key, (int, np.integer)) else key


def whole_width(width: Any) -> int:
    """`width` as a number of channels.

    Raises: ValueError if it is none.
    """
    try:
        number = operator.index(width)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"width is the number of hidden channels, a whole number >= 1; got {width!r}.")
    return number


def uses_by_owner(program: Program) -> dict[Owner, list[Var]]:
    """The variables that each entry of the parameters makes, entries by first use."""
    uses: dict[Owner, list[Var]] = {}
    for var in program.variables:
        if isinstance(var.op, (Linear, Embed, Table, Heads)):
            uses.setdefault(var.op.weight, []).append(var)
        elif isinstance(var.op, Repeat):
            uses[var] = [var]
    return uses


def names(program: Program) -> dict[Owner, str]:
    """What each entry of the parameters is called: its own name made unique, or its layer and a number."""
    chosen: dict[Owner, str] = {}
    for owner, uses in uses_by_owner(program).items():
        own = owner.name if isinstance(owner, Weight) else None
        chosen[owner] = _first_free(own, uses[0].op.label, set(chosen.values()))
    return chosen


def _first_free(own: str | None, label: str, taken: set[str]) -> str:
    if own is not None and own not in taken:
        return own
    stem, number = (label, 1) if own is None else (f"{own}_", 2)
    while f"{stem}{number}" in taken:
        number += 1
    return f"{stem}{number}"


def draw_program(program: Program, key: Any, width: int, dtype: Any) -> Params:
    """The parameters of a program."""
    return draw_normals(shapes_of(program, width), key, dtype)


def draw_normals(shapes: Any, key: Any, dtype: Any) -> Any:
    """Standard normal arrays of these shapes: a single draw, cut into entries (one compilation, not one a layer)."""
    leaves, tree = jax.tree.flatten(shapes, is_leaf=lambda node: isinstance(node, tuple))
    sizes = [math.prod(shape) for shape in leaves]
    normal = jax.random.normal(key, (sum(sizes),), dtype)
    parts = jnp.split(normal, np.cumsum(sizes)[:-1])
    return jax.tree.unflatten(tree, [part.reshape(shape) for part, shape in zip(parts, leaves, strict=True)])


def shapes_of(program: Program, width: int) -> Params:
    """The shapes of the parameters of a program."""
    called = names(program)
    return {called[owner]: entry_shapes(uses[0].op, uses, width) for owner, uses in uses_by_owner(program).items()}


@singledispatch
def entry_shapes(op: Op, uses: list[Var], width: int) -> Mapping[str, Any]:
    """The shapes of the parameters of one owner, which makes the variables `uses`."""
    raise NotImplementedError(f"the finite reading has no parameters for {type(op).__name__}: see finite/parameters")


@entry_shapes.register
def _linear(op: Linear, uses: list[Var], width: int) -> Mapping[str, Any]:
    fan_in, fan_out = uses[0].args[0].channels.count(width), uses[0].channels.count(width)
    return _with_bias({"w": (fan_in, fan_out)}, (fan_out,), uses)


def _with_bias(shapes: dict[str, Any], bias: tuple[int, ...], uses: list[Var]) -> Mapping[str, Any]:
    biased = any(isinstance(use.op, Linear) and use.op.has_bias for use in uses)
    return shapes | {"b": bias} if biased else shapes


@entry_shapes.register
def _conv(op: Conv, uses: list[Var], width: int) -> Mapping[str, Any]:
    fan_in, fan_out = uses[0].args[0].channels.count(width), uses[0].channels.count(width)
    if fan_in % op.groups or fan_out % op.groups:
        raise ValueError(
            f"{describe(uses[0])} has {op.groups} groups, which do not divide its {fan_in} and {fan_out} channels: "
            "use a width that they divide."
        )
    return _with_bias({"w": (*op.window.sizes, fan_in // op.groups, fan_out)}, (fan_out,), uses)


@entry_shapes.register
def _local_conv(op: LocalConv, uses: list[Var], width: int) -> Mapping[str, Any]:
    fan_in, fan_out = uses[0].args[0].channels.count(width), uses[0].channels.count(width)
    places = math.prod(uses[0].positions)
    return _with_bias({"w": (places, op.window.taps, fan_in, fan_out)}, (places, fan_out), uses)


@entry_shapes.register
def _depthwise_conv(op: DepthwiseConv, uses: list[Var], width: int) -> Mapping[str, Any]:
    channels = uses[0].channels.count(width)
    return _with_bias({"w": (*op.window.sizes, channels)}, (channels,), uses)


@entry_shapes.register
def _embed(op: Embed, uses: list[Var], width: int) -> Mapping[str, Any]:
    return {"w": (op.vocabulary, uses[0].channels.count(width))}


@entry_shapes.register
def _table(op: Table, uses: list[Var], width: int) -> Mapping[str, Any]:
    return {"w": (op.root.shape[1], uses[0].channels.count(width))}


@entry_shapes.register
def _heads(op: Heads, uses: list[Var], width: int) -> Mapping[str, Any]:
    asks, given = (arg.channels.count(width) for arg in uses[0].args)
    out = uses[0].channels.count(width)
    shapes = {
        "query": (op.heads, asks, width),
        "key": (op.heads, given, width),
        "value": (op.heads, given, width),
        "out": (op.heads, width, out),
    }
    return shapes | ({"b": (out,)} if has_bias(op) else {})


def has_bias(op: Heads) -> bool:
    """Does attention add a bias to its output?"""
    return not (isinstance(op.sigma_b, (int, float)) and op.sigma_b == 0)


@entry_shapes.register
def _repeat(op: Repeat, uses: list[Var], width: int) -> Mapping[str, Any]:
    body = shapes_of(op.body, width)
    return jax.tree.map(lambda shape: (op.times, *shape), body, is_leaf=lambda node: isinstance(node, tuple))


def copy_keys(key: Any, times: int) -> Any:
    """A key for each copy of a repeated block."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(times))
