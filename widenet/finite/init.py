"""Random parameters of the finite network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax import Array

from widenet.finite.names import names
from widenet.program.ops import Linear, Repeat
from widenet.program.trace import Net, Program, trace
from widenet.program.var import Var

Key = Array | int


def init(net: Net, key: Key, shape: Sequence[int], width: int, *, dtype: Any = None) -> dict[str, Any]:
    """Standard normal parameters of `net` for data of `shape`, with `width` in place of the infinite widths (F1).

    Gives {'dense1': {'w': [fan_in, fan_out], 'b': [fan_out]}, ...}, 'b' where sigma_b is not zero; a repeated block
    is one entry whose leaves have a leading axis of its copies.  dtype: None for jax's default float.
    Raises: ValueError unless width is a positive integer.
    Source: jacot2018, sec. 3.
    """
    if width < 1:
        raise ValueError(f"width must be a positive integer; got {width}.")
    return draw(trace(net, shape), as_key(key), width, dtype)


def as_key(key: Key) -> Array:
    """A random key; an integer is a seed."""
    return jax.random.key(key) if isinstance(key, int) else key


def draw(program: Program, key: Array, width: int, dtype: Any = None) -> dict[str, Any]:
    """Standard normal parameters of a program."""
    named = names(program)
    params: dict[str, Any] = {}
    for i, (weight, uses) in enumerate(program.weights.items()):
        params[named[weight]] = _dense(uses, jax.random.fold_in(key, i), width, dtype)
    for i, var in enumerate(v for v in program.variables if isinstance(v.op, Repeat)):
        assert isinstance(var.op, Repeat)
        body = var.op.body
        keys = jax.random.split(jax.random.fold_in(key, len(program.weights) + i), var.op.times)
        params[named[var]] = jax.vmap(lambda k, body=body: draw(body, k, width, dtype))(keys)
    return params


def _dense(uses: list[Var], key: Array, width: int, dtype: Any) -> dict[str, Array]:
    op, fan_in = uses[0].op, uses[0].args[0].channels.count(width)
    assert isinstance(op, Linear)
    fan_out = op.weight.width or width
    key_w, key_b = jax.random.split(key)
    dense = {"w": jax.random.normal(key_w, (fan_in, fan_out), dtype)}
    if any(isinstance(var.op, Linear) and var.op.has_bias for var in uses):
        dense["b"] = jax.random.normal(key_b, (fan_out,), dtype)
    return dense
