"""Tangent features of our own networks: a gradient of a layer is an outer product, which is never formed (F4).

df_o(x)/dW = sigma_w / sqrt(fan_in) sum_t z_t delta_t^T, with z_t what the layer is given at position t and
delta_t = df_o / dh_t.  So only z and delta are kept, and the gradients of the weights are never computed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from widenet.finite.blocks import BLOCK_NUMBERS
from widenet.finite.forward import Scope, evaluate, forward, in_dtype, per_copy
from widenet.finite.forward_positions import patches
from widenet.finite.jacobian import HIGHEST, Reader, gradients, gradients_in_batch, inner_products, one_hot
from widenet.finite.parameters import names, uses_by_owner
from widenet.program.ops import BatchNorm, Conv, DepthwiseConv, Embed, Heads, Linear, LocalConv, Op, Repeat, Table
from widenet.program.trace import Net, Program, trace
from widenet.program.var import Var

Tape = dict[int, Any]  # by index of the variable; a repeated block has the tape of its body, stacked


class Layer(NamedTuple):
    """The tangent features of one weight; positions of all its uses are side by side in T."""

    z: Array  # sigma_w / sqrt(fan_in) z: [r, T, fan_in]
    delta: Array  # df_o / dh: [r, T, fan_out, c]
    bias: Array | None  # df_o / db: [r, fan_out, c]


Layers = Mapping[str, Any]  # name -> Layer, or the stacked Layers of a repeated block


def structured_reader(net: Net) -> Reader:
    """The reader of one of our networks."""

    @jax.jit
    def of_block(params: Any, x: Any, outputs: Array) -> Any:
        return features(trace(net, x.shape), params, x, outputs)

    def pair_numbers(shape: tuple[int, ...]) -> int:
        return _pair_numbers(trace(net, shape))

    return Reader(of_block, contract, pair_numbers, lambda shape: is_coupled(trace(net, shape)))


def _pair_numbers(program: Program) -> int:
    sizes = [1]
    for uses in uses_by_owner(program).values():
        op = uses[0].op
        own = _pair_numbers(op.body) if isinstance(op, Repeat) else sum(math.prod(use.positions) for use in uses) ** 2
        sizes.append(own)
    return max(sizes)


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


def features(program: Program, params: Any, x: Any, outputs: Array, key: Any = None) -> Layers | list[Array]:
    """The tangent features of the outputs with these (flat) indices at the samples x."""
    return output_and_features(program, params, x, outputs, key)[1]


def output_and_features(
    program: Program, params: Any, x: Any, outputs: Array, key: Any = None
) -> tuple[Array, Layers | list[Array]]:
    """The outputs of the network `[n, k]`, and its tangent features: its gradients where they have no structure."""
    if not is_structured(program):
        y = evaluate(program, params, x, key)
        function = partial(_evaluated, program, key)
        differentiate = gradients_in_batch if is_coupled(program) else gradients
        return y.reshape(y.shape[0], -1), differentiate(function, params, x, outputs)
    made = jax.eval_shape(lambda: _recorded(program, params, x, key, None)[1])
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), _part(made, "h"))

    def run(probes: Tape) -> tuple[Array, Tape]:
        y, tape = _recorded(program, params, x, key, probes)
        return y.reshape(y.shape[0], -1), _part(tape, "z")

    y, pull, inputs = jax.vjp(run, zeros, has_aux=True)

    def delta(cotangent: Array) -> Tape:
        return pull(jnp.broadcast_to(cotangent, y.shape))[0]

    deltas = jax.vmap(delta, out_axes=-1)(one_hot(outputs, y[0]))
    return y, _layers(program, inputs, deltas)


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


def _layer(program: Program, uses: list[Var], inputs: Tape, deltas: Tape) -> Layer | Layers:
    op = uses[0].op
    if isinstance(op, Repeat):
        index = program.index[uses[0]]
        return jax.vmap(lambda z, d: _layers(op.body, z, d))(inputs[index], deltas[index])
    parts = [_use(use, inputs[program.index[use]], deltas[program.index[use]]) for use in uses]
    biases = [part.bias for part in parts if part.bias is not None]
    z, delta = (jnp.concatenate(arrays, axis=1) for arrays in zip(*(part[:2] for part in parts), strict=True))
    return Layer(z, delta, sum(biases[1:], biases[0]) if biases else None)


def _use(var: Var, z: Array, delta: Array) -> Layer:
    assert isinstance(var.op, Linear)
    if isinstance(var.op, Conv):
        taken = patches(z, var.op.window, var)
        z = taken.reshape(*taken.shape[:2], -1)
    z = z.reshape(z.shape[0], -1, z.shape[-1])
    delta = delta.reshape(*z.shape[:2], *delta.shape[-2:])
    bias = in_dtype(var.op.sigma_b, z) * jnp.sum(delta, axis=1) if var.op.has_bias else None
    return Layer(in_dtype(var.op.sigma_w, z) / math.sqrt(z.shape[-1]) * z, delta, bias)


def rows(layers: Any, kept: slice, axis: int = 0) -> Any:
    """The features of some of the samples."""
    if isinstance(layers, list):
        return [leaf[kept] for leaf in layers]
    at = (slice(None),) * axis + (kept,)
    return {
        name: jax.tree.map(lambda a: a[at], item) if isinstance(item, Layer) else rows(item, kept, axis + 1)
        for name, item in layers.items()
    }


@partial(jax.jit, static_argnums=2)
def contract(a: Any, b: Any, crossed: bool) -> Array:
    """The tangent kernel of two blocks of samples, `[r1, r2, c]`, or `[r1, r2, c1, c2]` if `crossed` (F4)."""
    if isinstance(a, list):
        return inner_products(a, b, crossed)
    parts = []
    for name, one in a.items():
        if isinstance(one, Layer):
            parts.append(_contract_layer(one, b[name], crossed))
        else:
            parts.append(jnp.sum(jax.lax.map(lambda pair: contract(*pair, crossed), (one, b[name])), axis=0))
    return sum(parts[1:], parts[0])


def _contract_layer(a: Layer, b: Layer, crossed: bool) -> Array:
    rule = _by_pairs if pairs_are_cheaper(a, b, crossed) else _by_gradients
    theta = rule(a, b, crossed)
    if a.bias is None:
        return theta
    spec = "rkc,sko->rsco" if crossed else "rkc,skc->rsc"
    return theta + jnp.einsum(spec, a.bias, b.bias, precision=HIGHEST)


def pairs_are_cheaper(a: Layer, b: Layer, crossed: bool) -> bool:
    """Is it cheaper to compare all pairs of positions than to form the gradients of the weight?"""
    (r1, t1, d), (r2, t2, _) = a.z.shape, b.z.shape
    k, c = a.delta.shape[-2:]
    outputs = c * b.delta.shape[-1] if crossed else c
    pairs = r1 * r2 * t1 * t2 * (d + k * outputs)
    gradients = (r1 * t1 + r2 * t2) * d * k * c + r1 * r2 * d * k * outputs
    fits = r1 * r2 * t1 * t2 * (1 + outputs) <= BLOCK_NUMBERS
    return pairs < gradients and (fits or (r1 + r2) * d * k * c > BLOCK_NUMBERS)


def _by_pairs(a: Layer, b: Layer, crossed: bool) -> Array:
    inner = jnp.einsum("rtd,sud->rtsu", a.z, b.z, precision=HIGHEST)
    if crossed:
        outer = jnp.einsum("rtkc,suko->rtsuco", a.delta, b.delta, precision=HIGHEST)
        return jnp.einsum("rtsu,rtsuco->rsco", inner, outer, precision=HIGHEST)
    outer = jnp.einsum("rtkc,sukc->rtsuc", a.delta, b.delta, precision=HIGHEST)
    return jnp.einsum("rtsu,rtsuc->rsc", inner, outer, precision=HIGHEST)


def _by_gradients(a: Layer, b: Layer, crossed: bool) -> Array:
    one, two = (jnp.einsum("rtd,rtkc->rdkc", layer.z, layer.delta, precision=HIGHEST) for layer in (a, b))
    return jnp.einsum("rdkc,sdko->rsco" if crossed else "rdkc,sdkc->rsc", one, two, precision=HIGHEST)
