"""Layers that select, mix and aggregate positions: Index, DotGeneral, Aggregate."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from widenet.compat.neural_tangents.kernel import full_index
from widenet.compat.neural_tangents.stax.data import Spec
from widenet.compat.neural_tangents.stax.diagonal import Bool, Diagonal
from widenet.compat.neural_tangents.stax.enums import AggregateImplementation
from widenet.compat.neural_tangents.stax.node import (
    Axes,
    Context,
    Grid,
    Layer,
    Node,
    check_axes,
    grid_of,
    on_nodes,
    position_axes,
    remasked,
)
from widenet.compat.neural_tangents.stax.triple import Triple, named, simple, triple
from widenet.layers.combine import scale
from widenet.layers.graph import aggregate
from widenet.layers.positions import mix, mix_positions


class _Slice:
    """`Slice[1:10, :, ::-1]` is what `x[1:10, :, ::-1]` is indexed with."""

    def __getitem__(self, idx: Any) -> Any:
        return idx


Slice = _Slice()


@named
def Index(idx: Any, batch_axis: int = 0, channel_axis: int = -1) -> Triple:
    """x[idx], for integers and slices of position axes.

    Raises: NotImplementedError for an index of samples (index the data) or of channels.
    """

    def build(node: Node, context: Context) -> Node:
        parts = full_index(idx, len(node.positions) + 2)
        if any(parts[i] != slice(None) for i in node.axes):
            raise NotImplementedError(
                f"Index {idx}: samples and channels cannot be indexed inside a network; index the data or the kernel."
            )
        chosen = [parts[i] for i in position_axes(node)]
        matrices, kept = [], []
        for part, size in zip(chosen, node.positions, strict=True):
            rows = np.eye(size)[part]
            matrices.append(rows.reshape(-1, size))
            kept += [] if isinstance(part, int) else [len(rows)]
        var = mix(node.var, tuple(matrices), tuple(kept), f"index{chosen}")
        dropped = [i for i, part in enumerate(parts) if isinstance(part, int)]
        axes = Axes(*(axis - sum(i < axis for i in dropped) for axis in node.axes))
        return node.after(var, axes=axes, grid=_chosen(node, tuple(chosen)) if context.masked else None)

    return simple("Index", build, axes=Axes(batch_axis, channel_axis))


def _chosen(node: Node, idx: tuple[Any, ...]) -> Grid:
    grid = grid_of(node)
    return Grid(grid.root, grid.index[idx])


@named
def DotGeneral(
    *,
    lhs: Any = None,
    rhs: Any = None,
    dimension_numbers: Any = (((), ()), ((), ())),
    precision: Any = None,
    batch_axis: int = 0,
    channel_axis: int = -1,
) -> Triple:
    """`jax.lax.dot_general` of the input with a constant: any fixed linear map of positions.

    precision is ignored.  Raises: ValueError if both or a contraction over channels are given; NotImplementedError
    where samples take part.
    """
    if lhs is not None and rhs is not None:
        raise ValueError("DotGeneral: give lhs or rhs; the input is the other factor.")
    constant = rhs if lhs is None else lhs
    left = lhs is not None
    (c, b) = dimension_numbers
    contracted, batched = tuple(c[int(left)]), tuple(b[int(left)])

    def build(node: Node, context: Context) -> Node:
        if constant is None:
            return node
        if context.masked:
            raise NotImplementedError("masks through DotGeneral are not implemented: leave out mask_constant.")
        rank = len(node.positions) + 2
        if node.axes.channel in [axis % rank for axis in contracted + batched]:
            raise ValueError("DotGeneral cannot act on the (infinite) channel axis.")
        if node.axes.batch in [axis % rank for axis in contracted + batched]:
            raise NotImplementedError("DotGeneral over the batch axis is not implemented: combine kernels instead.")
        if np.ndim(constant) == 0:
            return node.after(scale(node.var, constant))
        return _mixed(node, np.asarray(constant), left, dimension_numbers, contracted, batched)

    spatial = Diagonal(input=Bool.YES if constant is None or not contracted else Bool.NO)
    return simple("DotGeneral", build, axes=Axes(batch_axis, channel_axis), diagonal=spatial)


def _mixed(
    node: Node,
    constant: np.ndarray,
    left: bool,
    dimension_numbers: Any,
    contracted: tuple[int, ...],
    batched: tuple[int, ...],
) -> Node:
    """The map of positions, read off from what it does to each of them alone."""
    count, rank = math.prod(node.positions), len(node.positions) + 2
    probes = np.moveaxis(np.eye(count).reshape(count, *node.positions, 1), (0, -1), node.axes)
    with jax.ensure_compile_time_eval():
        lhs, rhs = (constant, probes) if left else (probes, constant)
        made = np.asarray(jax.lax.dot_general(jnp.asarray(lhs), jnp.asarray(rhs), dimension_numbers))
    contracted, batched = (tuple(axis % rank for axis in group) for group in (contracted, batched))
    extra = made.ndim - (rank - len(contracted)) if left else 0
    axes = Axes(*(_moved(axis, contracted, batched, extra) for axis in node.axes))
    rows = np.moveaxis(made, axes, (0, -1))[..., 0]
    return node.after(mix_positions(node.var, rows.reshape(count, -1).T, rows.shape[1:], name="dot_general"), axes=axes)


def _moved(axis: int, contracted: tuple[int, ...], batched: tuple[int, ...], extra: int) -> int:
    """Where a free axis of the input is afterwards: shared axes first, those of a left constant next, then the rest."""
    before = sum(other < axis and other not in contracted + batched for other in range(axis))
    return len(batched) + extra + before


class Pattern(NamedTuple):
    """How an Aggregate layer reads the graph that a call is given."""

    axes: tuple[int, ...] | None
    to_dense: Callable[[Any], Any]
    sparse: bool

    @property
    def key(self) -> Any:
        """What layers that share the graph of a call have in common."""
        return self.axes, self.sparse

    def operator(self, pattern: Any, spec: Spec) -> Any:
        """`[n, P, P]`: the operator on all positions, transposed, since pattern[i, j] is an edge from i to j."""
        over = self._over(spec)
        sizes = tuple(spec.positions[i] for i in over)
        count = math.prod(sizes)
        if self.sparse:
            adjacency = _adjacency(jnp.asarray(pattern), sizes)
        else:
            dense = jnp.asarray(self.to_dense(pattern))
            if dense.shape[1:] != 2 * sizes:
                raise ValueError(f"pattern must be [n, {sizes} twice] for these positions; got {dense.shape}.")
            adjacency = dense.reshape(dense.shape[0], count, count)
        operator = jnp.swapaxes(adjacency.astype(jnp.result_type(float)), 1, 2)
        return _on_all(operator, over, spec.positions)

    def _over(self, spec: Spec) -> tuple[int, ...]:
        rank = len(spec.positions) + 2
        places = [i for i in range(rank) if i not in spec.axes]
        return (
            tuple(range(len(places))) if self.axes is None else tuple(sorted(places.index(a % rank) for a in self.axes))
        )


def _adjacency(edges: jax.Array, sizes: tuple[int, ...]) -> jax.Array:
    """`[n, P, P]` of edges `[n, E, K, 2]` (tails, heads); those with a negative index are padding."""
    edges = edges[:, :, None] if edges.ndim == 3 else edges
    if edges.ndim != 4 or edges.shape[2:] != (len(sizes), 2):
        raise ValueError(f"a SPARSE pattern is [n, edges, {len(sizes)}, 2]; got {edges.shape}.")
    exists = (edges >= 0).all(axis=(2, 3))
    strides = jnp.asarray([math.prod(sizes[i + 1 :]) for i in range(len(sizes))])
    tails, heads = ((jnp.maximum(edges[..., end], 0) * strides).sum(-1) for end in (0, 1))
    empty = jnp.zeros((math.prod(sizes),) * 2)
    return jax.vmap(lambda t, h, e: empty.at[t, h].add(e))(tails, heads, exists.astype(empty.dtype))


def _on_all(operator: jax.Array, over: tuple[int, ...], positions: tuple[int, ...]) -> jax.Array:
    """An operator on some of the axes as one on all positions."""
    rest = [i for i in range(len(positions)) if i not in over]
    if not rest:
        return operator
    own, others = tuple(positions[i] for i in over), tuple(positions[i] for i in rest)
    n, count = operator.shape[0], math.prod(others)
    both = jnp.einsum("nij,kl->nikjl", operator, jnp.eye(count)).reshape(n, *own, *others, *own, *others)
    order = np.argsort([*over, *rest])
    axes = (0, *(1 + order), *(1 + len(positions) + order))
    total = math.prod(positions)
    return both.transpose(axes).reshape(n, total, total)


def Aggregate(
    aggregate_axis: Any = None,
    batch_axis: int = 0,
    channel_axis: int = -1,
    to_dense: Callable[[Any], Any] | None = None,
    implementation: str = AggregateImplementation.DENSE.value,
) -> Triple:
    """Each position becomes the sum over its predecessors in the graph of its sample.

    The graph comes with the call: `kernel_fn(x1, x2, pattern=(p1, p2))`, `apply_fn(params, x, pattern=p)`; None leaves
    the positions alone.  DENSE: p is `[n, *P, *P]` over the aggregated axes, an edge from the first to the second,
    after `to_dense`.  SPARSE: edges `[n, E, K, 2]`, negative ones are padding.
    """
    axes = None if aggregate_axis is None else tuple(np.atleast_1d(aggregate_axis).tolist())
    sparse = AggregateImplementation(implementation) == AggregateImplementation.SPARSE
    reader = Pattern(axes, to_dense or (lambda p: p), sparse)
    needed = Axes(batch_axis, channel_axis)

    def build(node: Node, context: Context) -> Node:
        check_axes("Aggregate", node, needed)
        if not context.pattern:
            return node
        return remasked(node.after(aggregate(node.var)), context)

    diagonal = Diagonal(input=Bool.NO, output=Bool.NO)
    return triple(Layer("Aggregate", on_nodes(build), needed, diagonal, (reader,)))
