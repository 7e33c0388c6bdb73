"""The finite network of a layer: `init_fn` and `apply_fn`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from widenet.compat.neural_tangents.stax.data import leaves_of_shapes, read_inputs, spec_of, user_array, user_shape
from widenet.compat.neural_tangents.stax.network import network_of
from widenet.compat.neural_tangents.stax.node import Context, Layer, leaves, rebuilt
from widenet.compat.neural_tangents.stax.standard import rescaled
from widenet.finite.forward import apply
from widenet.finite.parameters import init
from widenet.program.ops import Repeat


def init_of(layer: Layer) -> Callable[..., Any]:
    """`init_fn(rng, input_shape)`: the shape of the output, and random parameters.

    The parameters are those of widenet, `{"dense1": {"w": [fan_in, fan_out], "b": [fan_out]}, ...}`, in place of nested
    tuples: pass them on as they are.  A repeated layer has one entry with a leading axis for its copies.
    """

    def init_fn(rng: Any, input_shape: Any, **_: Any) -> tuple[Any, Any]:
        spec = spec_of(layer, input_shape)
        network = network_of(layer, spec, Context(finite=True))
        batch = leaves_of_shapes(input_shape)[0][spec.axes.batch]
        shape = rebuilt(network.output, [user_shape(node, batch) for node in leaves(network.output)])
        program = network.program
        if not program.weights and not any(isinstance(var.op, Repeat) for var in program.variables):
            return shape, {}
        return shape, rescaled(program, init(network.net, rng, spec.shape, layer.hidden))

    return init_fn


def apply_of(layer: Layer) -> Callable[..., Any]:
    """`apply_fn(params, inputs, *, rng=None, mask_constant=None, pattern=None)`: the output of the finite network.

    rng draws the masks of Dropout.  With mask_constant the output is a `MaskedArray`, as the peer's.
    """

    def apply_fn(params: Any, inputs: Any, **options: Any) -> Any:
        read = read_inputs(layer, inputs, options, options.get("pattern"))
        network = network_of(layer, read.spec, read.context(finite=True))
        key = options.get("rng")
        if key is None and layer.dropout:
            raise ValueError("Dropout in mode 'train' draws masks: call apply_fn(params, x, rng=key).")
        values = network.split(apply(network.net, params, in_dtype_of(params, read.data), key=key))
        made = zip(leaves(network.output), values, strict=True)
        return rebuilt(network.output, [user_array(node, value, read) for node, value in made])

    return apply_fn


def in_dtype_of(params: Any, data: Any) -> Any:
    """The data in the precision of the parameters, if there are any."""
    floats = [leaf for leaf in jax.tree.leaves(params) if jnp.issubdtype(jnp.result_type(leaf), jnp.floating)]
    if not floats:
        return data
    dtype = jnp.result_type(*floats)
    return jax.tree.map(lambda part: part if part.dtype == bool else part.astype(dtype), data)
