"""Tangent features of our own networks: a gradient of a layer is a sum of outer products (F4).

df_o(x)/dW = sigma_w / sqrt(fan_in) sum_t z_t delta_t^T, with z_t what the layer is given at position t and
delta_t = df_o / dh_t.  Of few positions only z and delta are kept; of many the gradient is smaller, and is formed.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from widenet.finite.forward import Scope, evaluate, forward, in_dtype, per_copy
from widenet.finite.forward_positions import patches
from widenet.finite.jacobian import HIGHEST, Reader, gradients, gradients_in_batch, inner_products, one_hot
from widenet.finite.parameters import names, uses_by_owner
from widenet.program.ops import BatchNorm, Conv, DepthwiseConv, Embed, Heads, Linear, LocalConv, Op, Repeat, Table
from widenet.program.trace import Net, Program, trace
from widenet.program.var import Var

Tape = dict[int, Any]  # by index of the variable; a repeated block has the tape of its body, stacked


class Layer(NamedTuple):
    """The factors of the gradient of one weight; positions of all its uses are side by side in T.

    A bias is the row of the weight that is given sigma_b, the last of z.
    """

    z: Array  # sigma_w / sqrt(fan_in) z and sigma_b: [r, T, d], d = fan_in + 1, or fan_in without a bias
    delta: Array  # df_o / dh: [r, c, T, fan_out]


class Gradient(NamedTuple):
    """The gradient of one weight, in the order in which a matrix product makes it."""

    w: Array  # [r, d, c, fan_out]


Layers = dict[str, Any]  # name -> a Layer or a Gradient, or the stacked Layers of a repeated block
# A gradient is formed once, and compared with those of this many samples or more.
PARTNERS = 16
# Products of deltas at all pairs of positions, by the axes of outputs that are wanted.
PAIRS = "rctk,scuk->rtsu", "rctk,scuk->rtsuc", "rctk,souk->rtsuco"


def structured_reader(net: Net) -> Reader:
    """The reader of one of our networks."""

    @jax.jit
    def of_block(params: Any, x: Any, outputs: Array) -> Any:
        return output_and_features(trace(net, x.shape), params, x, outputs)[1]

    def held(params: Any, x: Any, outputs: Array) -> Any:
        program = trace(net, x.shape)
        return of_block(params, x, outputs), is_structured(program) and _tapes(program, params, x, outputs)

    return Reader(of_block, contract, held, pair_numbers, lambda shape: is_coupled(trace(net, shape)))


def pair_numbers(made: Any) -> int:
    """Numbers that `contract` holds for two samples and an output, of the features of one."""
    if isinstance(made, dict):
        return max(map(pair_numbers, made.values()), default=1)
    return made.z.shape[-2] ** 2 if isinstance(made, Layer) else 1


def is_structured(program: Program) -> bool:
    """Are all gradients of weights outer products, of what a layer is given and what it sends back?"""
    for var in program.variables:
        op = var.op
        if isinstance(op, Repeat) and not is_structured(op.body):
            return False
        if isinstance(op, (Embed, Table, Heads, LocalConv, DepthwiseConv, BatchNorm)) or (
            isinstance(op, Conv) and op.groups > 1
        ):
            return False
    return True


def is_coupled(program: Program) -> bool:
    """Does the output of a sample depend on the other samples of its batch?"""
    ops = [var.op for var in program.variables]
    return any(isinstance(op, BatchNorm) or (isinstance(op, Repeat) and is_coupled(op.body)) for op in ops)


def output_and_features(
    program: Program, params: Any, x: Any, outputs: Array, key: Any = None
) -> tuple[Array, Layers | list[Array]]:
    """The outputs of the network `[n, k]`, and tangent features of those with these (flat) indices."""
    if is_structured(program):
        y, inputs, deltas = _tapes(program, params, x, outputs, key)
        return y, _layers(program, inputs, deltas)
    y = evaluate(program, params, x, key)
    differentiate = gradients_in_batch if is_coupled(program) else gradients
    return y.reshape(y.shape[0], -1), differentiate(partial(_evaluated, program, key), params, x, outputs)


def _tapes(program: Program, params: Any, x: Any, outputs: Array, key: Any = None) -> tuple[Array, Tape, Tape]:
    """The outputs, what each linear layer is given `[n, ...]`, and the derivatives in what it makes `[c, n, ...]`."""
    made = jax.eval_shape(lambda: _recorded(program, params, x, key, None)[1])
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), _part(made, "h"))

    def run(probes: Tape) -> tuple[Array, Tape]:
        y, tape = _recorded(program, params, x, key, probes)
        return y.reshape(y.shape[0], -1), _part(tape, "z")

    y, pull, inputs = jax.vjp(run, zeros, has_aux=True)

    def delta(cotangent: Array) -> Tape:
        return pull(jnp.broadcast_to(cotangent, y.shape))[0]

    return y, inputs, jax.vmap(delta)(one_hot(outputs, y[0]))


def _evaluated(program: Program, key: Any, params: Any, x: Any) -> Array:
    return evaluate(program, params, x, key)


class Record(NamedTuple):
    """What a linear layer was given, and what it made."""

    z: Array
    h: Array


def _part(tape: Any, name: str) -> Any:
    return jax.tree.map(lambda record: getattr(record, name), tape, is_leaf=lambda node: isinstance(node, Record))


def _recorded(
    program: Program, params: Any, x: Any, key: Any, probes: Tape | None, samples: Any = None
) -> tuple[Array, Tape]:
    """The output of the network and a record of every linear layer, with `probes` added to what it makes."""
    tape: Tape = {}

    def rule(op: Op, var: Var, scope: Scope, *xs: Array) -> Array:
        index = program.index[var]
        probe = None if probes is None else probes.get(index)
        if isinstance(op, Repeat):
            y, tape[index] = _recorded_repeat(op, var, scope, xs[0], probe)
            return y
        y = forward(op, var, scope, *xs)
        if isinstance(op, Linear):
            y = y if probe is None else y + probe
            tape[index] = Record(xs[0], y)
        return y

    return evaluate(program, params, x, key, rule, samples), tape


def _recorded_repeat(op: Repeat, var: Var, scope: Scope, x: Array, probes: Tape | None) -> tuple[Array, Tape]:
    def copy(h: Array, own: Any) -> tuple[Array, Tape]:
        (params, key), probe = own
        return _recorded(op.body, params, h, key, probe, scope.samples)

    return jax.lax.scan(copy, x, (per_copy(op, var, scope), probes), length=op.times)


def _layers(program: Program, inputs: Tape, deltas: Tape) -> Layers:
    called = names(program)
    return {called[owner]: _layer(program, uses, inputs, deltas) for owner, uses in uses_by_owner(program).items()}


def _layer(program: Program, uses: list[Var], inputs: Tape, deltas: Tape) -> Any:
    op = uses[0].op
    if isinstance(op, Repeat):
        index = program.index[uses[0]]
        return jax.vmap(lambda z, d: _layers(op.body, z, d), (0, 1))(inputs[index], deltas[index])
    biased = any(isinstance(use.op, Linear) and use.op.has_bias for use in uses)
    parts = [_use(use, biased, inputs[program.index[use]], deltas[program.index[use]]) for use in uses]
    layer = Layer(
        jnp.concatenate([part.z for part in parts], axis=1),
        jnp.concatenate([part.delta for part in parts], axis=2),
    )
    return layer if factors_are_cheaper(layer) else gradient_of(layer)


def _use(var: Var, biased: bool, z: Array, delta: Array) -> Layer:
    assert isinstance(var.op, Linear)
    if isinstance(var.op, Conv):
        taken = jax.lax.optimization_barrier(patches(z, var.op.window, var))  # gathered once, not in every product
        z = taken.reshape(*taken.shape[:2], -1)
    z = z.reshape(z.shape[0], -1, z.shape[-1])
    delta = jnp.moveaxis(delta.reshape(delta.shape[0], *z.shape[:2], delta.shape[-1]), 0, 1)
    scaled = in_dtype(var.op.sigma_w, z) / math.sqrt(z.shape[-1]) * z
    if biased:
        scaled = jnp.pad(scaled, ((0, 0), (0, 0), (0, 1)), constant_values=in_dtype(var.op.sigma_b, z))
    return Layer(scaled, delta)


def factors_are_cheaper(layer: Layer) -> bool:
    """Is it cheaper to compare all pairs of positions than to form gradients and compare these?"""
    (t, d), k = layer.z.shape[1:], layer.delta.shape[-1]
    return t**2 * (d + k) < d * k * (1 + 2 * t / PARTNERS)


def gradient_of(layer: Layer) -> Gradient:
    """The gradient that these are the factors of."""
    return Gradient(jnp.einsum("rtd,rctk->rdck", layer.z, layer.delta, precision=HIGHEST))


def rows(layers: Any, kept: slice, axis: int = 0) -> Any:
    """The features of some of the samples."""
    if not isinstance(layers, dict):
        return jax.tree.map(lambda a: a[(slice(None),) * axis + (kept,)], layers)
    return {name: rows(item, kept, axis + isinstance(item, dict)) for name, item in layers.items()}


@partial(jax.jit, static_argnums=2)
def contract(a: Any, b: Any, axes: int) -> Array:
    """The tangent kernel of two blocks of samples (F4), with `axes` as for `inner_products`."""
    if isinstance(a, list):
        return inner_products(a, b, axes)
    if isinstance(a, Layer):
        return by_pairs(a, b, axes)
    if isinstance(a, Gradient):
        return by_gradients(a, b, axes)
    parts = []
    for name, one in a.items():
        if isinstance(one, dict):
            parts.append(jnp.sum(jax.lax.map(lambda pair: contract(*pair, axes), (one, b[name])), axis=0))
        else:
            parts.append(contract(one, b[name], axes))
    return sum(parts[1:], parts[0])


def by_gradients(a: Gradient, b: Gradient, axes: int) -> Array:
    """What a weight adds to the kernel, from its gradients."""
    one, two = ([own.w if axes == 0 else jnp.moveaxis(own.w, 2, 1)] for own in (a, b))
    return inner_products(one, two, axes)


def by_pairs(a: Layer, b: Layer, axes: int) -> Array:
    """What a weight adds to the kernel, from all pairs of positions."""
    inner = jnp.einsum("rtd,sud->rtsu", a.z, b.z, precision=HIGHEST)
    outer = jnp.einsum(PAIRS[axes], a.delta, b.delta, precision=HIGHEST)
    return jnp.sum(jnp.expand_dims(inner, range(4, 4 + axes)) * outer, axis=(1, 3))
