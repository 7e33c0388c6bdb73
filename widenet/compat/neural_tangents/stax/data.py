"""The user's arrays, with axes anywhere, several inputs, masks and graphs, as one batch `[n, *positions, d]`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from widenet.compat.neural_tangents.stax.masked_array import MaskedArray
from widenet.compat.neural_tangents.stax.node import Axes, Context, Layer, Node, is_branch, leaves, map_tree, settled
from widenet.program.samples import samples


class Spec(NamedTuple):
    """The shapes of the inputs: all that a network depends on."""

    tree: Any  # None for one input, nested tuples of None for several
    positions: tuple[int, ...]
    channels: tuple[int, ...]  # of each input
    axes: Axes  # not negative
    branch: type = tuple  # tuples or lists

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the one batch: several inputs are a leading position axis."""
        inputs = () if self.tree is None else (len(self.channels),)
        return (1, *inputs, *self.positions, max(self.channels))


@dataclass(frozen=True, eq=False)
class Inputs:
    """One batch, and what was there beside it."""

    data: Any  # an array or Samples
    spec: Spec
    mask: Any = None  # [n, *positions], true where there is something
    pattern: bool = False

    def context(self, *, finite: bool) -> Context:
        """What the network for these data is."""
        return Context(finite, self.mask is not None, self.pattern)


def spec_of(layer: Layer, shapes: Any, axes: Axes | None = None) -> Spec:
    """The shapes of the inputs of a layer, from those of the user's arrays.

    Raises: NotImplementedError for several inputs with different positions; ValueError without a channel axis.
    """
    all_shapes = leaves_of_shapes(shapes)
    if any(len(shape) < 2 for shape in all_shapes):
        raise ValueError(f"inputs need a batch axis and a channel axis; got the shape {all_shapes[0]}.")
    wanted = axes or layer.axes or Axes()
    placed = [settled(wanted, len(shape)) for shape in all_shapes]
    positions = [
        tuple(s for i, s in enumerate(shape) if i not in at) for shape, at in zip(all_shapes, placed, strict=True)
    ]
    if len(set(positions)) > 1:
        raise NotImplementedError(
            f"several inputs need equal positions; got the shapes {all_shapes}: make the inputs of one network the "
            "features of one array, or compute their kernels one by one."
        )
    channels = tuple(int(shape[at.channel]) for shape, at in zip(all_shapes, placed, strict=True))
    single = is_shape(shapes)
    return Spec(None if single else _structure(shapes), tuple(map(int, positions[0])), channels, placed[0])


def is_shape(shapes: Any) -> bool:
    """Is it one shape, rather than several?"""
    return all(size is None or isinstance(size, (int, np.integer)) for size in shapes)


def leaves_of_shapes(shapes: Any) -> list[tuple[int, ...]]:
    """All shapes in nested tuples."""
    return [tuple(shapes)] if is_shape(shapes) else [one for part in shapes for one in leaves_of_shapes(part)]


def _structure(shapes: Any) -> Any:
    return None if is_shape(shapes) else tuple(_structure(part) for part in shapes)


def shapes_of(arrays: Any) -> Any:
    """The shapes of arrays in nested tuples and lists, as nested tuples."""
    return tuple(shapes_of(part) for part in arrays) if is_branch(arrays) else tuple(_value(arrays).shape)


def _value(array: Any) -> Any:
    return array.masked_value if isinstance(array, MaskedArray) else array


def read_inputs(layer: Layer, arrays: Any, options: Mapping[str, Any], pattern: Any = None) -> Inputs:
    """The user's arrays as one batch, with the mask that `mask_constant` says and the graph that `pattern` says.

    Raises: TypeError for what is no array.
    """
    for array in leaves(arrays):
        if not isinstance(_value(array), (np.ndarray, jax.Array)):
            raise TypeError(f"inputs must be arrays, or tuples of them; got {type(array)}: write jnp.asarray(x).")
    spec = spec_of(layer, shapes_of(arrays), _axes_option(options))
    parts, masks = zip(*(_clean(array, spec, options.get("mask_constant")) for array in leaves(arrays)), strict=True)
    mask = _joint_mask(masks)
    x = parts[0] if spec.tree is None else _stack(parts, spec)
    graph = None if pattern is None else graph_operator(pattern, layer, spec)
    if mask is None and graph is None:
        return Inputs(x, spec)
    if spec.tree is not None:
        raise NotImplementedError("masks and graphs with several inputs are not implemented: give one array.")
    return Inputs(samples(x, mask=mask, graph=graph), spec, mask, graph is not None)


def _axes_option(options: Mapping[str, Any]) -> Axes | None:
    if options.get("batch_axis") is None and options.get("channel_axis") is None:
        return None
    return Axes(options.get("batch_axis") or 0, options.get("channel_axis", -1))


def _clean(array: Any, spec: Spec, constant: Any) -> tuple[Any, Any]:
    """An array with its axes in order and zero where it is masked, and which positions exist."""
    hidden = array.mask if isinstance(array, MaskedArray) else None
    x = in_order(as_floats(jnp.asarray(_value(array))), spec.axes)
    if constant is not None:
        hidden_here = jnp.isnan(x) if np.isnan(constant) else x == constant
    elif hidden is not None:
        hidden_here = jnp.broadcast_to(in_order(jnp.asarray(hidden), spec.axes), x.shape)
    else:
        return x, None
    return jnp.where(hidden_here, 0.0, x), ~hidden_here.all(axis=-1)


def in_order(x: Any, axes: Axes) -> Any:
    """The user's array as `[n, *positions, d]`."""
    return jnp.moveaxis(x, (axes.batch, axes.channel), (0, -1))


def as_floats(x: Any) -> Any:
    """Integers and booleans as jax's default float, and float16 as well, as the peer does."""
    return x.astype(jnp.result_type(float)) if x.dtype != jnp.result_type(float) else x


def _joint_mask(masks: tuple[Any, ...]) -> Any:
    found = [mask for mask in masks if mask is not None]
    return found[0] if found else None


def _stack(parts: Any, spec: Spec) -> Any:
    """Several inputs as a leading position axis; K = x.x / d is kept by scaling those with fewer features."""
    width = max(spec.channels)
    padded = [
        jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, width - d)]) * math.sqrt(width / d)
        for x, d in zip(parts, spec.channels, strict=True)
    ]
    return jnp.stack(padded, axis=1)


def graph_operator(pattern: Any, layer: Layer, spec: Spec) -> Any:
    """The operators `[n, P, P]` of the Aggregate layers in a network, from the pattern of the call."""
    readers = layer.patterns
    if len({reader.key for reader in readers}) != 1:
        raise NotImplementedError("a network with patterns has Aggregate layers of one kind: the same axes for all.")
    return readers[0].operator(pattern, spec)


def user_shape(node: Node, batch: int) -> tuple[int, ...]:
    """The shape of the user's array of an output."""
    shape: list[int] = list(node.positions)
    for axis, size in sorted([(node.axes.batch, batch), (node.axes.channel, node.channels)]):
        shape.insert(axis, size)
    return tuple(shape)


def user_array(node: Node, y: Any, read: Inputs) -> Any:
    """An output `[n, *positions, channels]` with the user's axes; with its mask if there is one."""
    out = from_order(y, node.axes)
    if read.mask is None:
        return out
    return MaskedArray(out, from_order(hidden_outputs(node, read.mask)[..., None], node.axes))


def from_order(y: Any, axes: Axes) -> Any:
    """`[n, *positions, channels]` with the user's axes."""
    return jnp.moveaxis(y, (0, -1), (axes.batch, axes.channel))


def hidden_outputs(node: Node, mask: Any) -> Any:
    """`[n, *positions]`, true where an output does not exist."""
    flat = mask.reshape(mask.shape[0], -1)
    if node.pooled:
        return ~flat.any(axis=1)
    return ~(mask if node.grid is None else flat[:, node.grid.index])


def tree_of(spec: Spec, values: list[Any]) -> Any:
    """`values`, one for each input, in the tuples of the inputs."""
    rest = iter(values)
    return map_tree(lambda _: next(rest), spec.tree)
