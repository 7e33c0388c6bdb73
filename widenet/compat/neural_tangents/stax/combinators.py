"""Layers of layers: serial, repeat, parallel; and the layers that split and join branches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import and_, mul, rshift
from typing import Any

import numpy as np

from widenet.compat.neural_tangents.stax.diagonal import Diagonal
from widenet.compat.neural_tangents.stax.node import Context, Grid, Layer, Node, Tree, grid_of, position_axes
from widenet.compat.neural_tangents.stax.triple import Triple, layer_of, simple, triple
from widenet.layers.combine import add_up, concatenate, scale
from widenet.layers.positions import mix
from widenet.layers.repeat import repeat as repeated
from widenet.program.ops import LinComb
from widenet.program.var import Channels, Var


def _combined(name: str, layers: Sequence[Layer], build: Any, fold: Any) -> Triple:
    axes = next((layer.axes for layer in layers if layer.axes is not None), None)
    wants = [layer.diagonal for layer in layers if layer.diagonal is not None]
    diagonal: Diagonal | None = reduce(fold, wants) if wants else None
    patterns = tuple(pattern for layer in layers for pattern in layer.patterns)
    dropout, hidden = any(layer.dropout for layer in layers), max((layer.hidden for layer in layers), default=1)
    return triple(Layer(name, build, axes, diagonal, patterns, dropout, hidden))


def serial(*layers: Any) -> Triple:
    """Layers one after the other; each is a triple `(init_fn, apply_fn, kernel_fn)`."""
    steps = [layer_of(layer) for layer in layers]

    def build(tree: Tree, context: Context) -> Tree:
        for step in steps:
            tree = step.build(tree, context)
        return tree

    return _combined("serial", steps, build, rshift)


def parallel(*layers: Any) -> Triple:
    """Layers side by side, one for each input."""
    branches = [layer_of(layer) for layer in layers]

    def build(tree: Tree, context: Context) -> Tree:
        if type(tree) not in (tuple, list) or len(tree) != len(branches):
            raise ValueError(
                f"parallel of {len(branches)} layers needs as many inputs: put FanOut({len(branches)}) before it, or "
                "give a tuple of arrays."
            )
        return type(tree)(branch.build(part, context) for branch, part in zip(branches, tree, strict=True))

    return _combined("parallel", branches, build, and_)


def repeat(layer: Any, n: int) -> Triple:
    """`layer` n times, each with weights of its own; compile time does not grow with n.

    Any layer may be repeated whose outputs are shaped as its inputs (the peer miscounts an odd number of convolutions).
    """
    step = layer_of(layer)

    def build(tree: Tree, context: Context) -> Tree:
        if n > 0 and isinstance(tree, Node):
            first = step.build(tree, context)
            if isinstance(first, Node) and _same_shape(step, first, context):
                return _in_a_loop(step, tree, first, n, context)
        for _ in range(n):
            tree = step.build(tree, context)
        return tree

    return _combined("repeat", [step], build, rshift)


def _same_shape(step: Layer, node: Node, context: Context) -> bool:
    """Does another copy give what the first one gave, so that the rest can run in a loop?"""
    again = step.build(node, context)
    if not isinstance(again, Node):
        return False
    changes = (again.positions, again.var.channels, again.channels, again.axes, again.grid is node.grid, again.pooled)
    return changes == (node.positions, node.var.channels, node.channels, node.axes, True, node.pooled)


def _in_a_loop(step: Layer, node: Node, first: Node, n: int, context: Context) -> Node:
    def block(var: Var) -> Var:
        return step.build(first.after(var), context).var

    same = (node.positions, node.var.channels, node.channels) == (first.positions, first.var.channels, first.channels)
    if same:
        return first.after(repeated(block, n)(node.var))
    return first.after(repeated(block, n - 1)(first.var))


def FanOut(num: int) -> Triple:
    """`num` copies of the input, for `parallel`."""
    return triple(Layer("FanOut", lambda tree, _: [tree] * num))


def Identity() -> Triple:
    """The input itself."""
    return simple("Identity", lambda node, _: node)


def FanInSum() -> Triple:
    """The sum of the inputs.

    Their covariance is computed: correlated branches, activations and the data themselves may be summed.  (The peer
    assumes independence, and gives twice the variance for h + h where it is four times.)
    """
    return _fan_in("FanInSum", lambda nodes: add_up(*(node.var for node in nodes)))


def FanInProd() -> Triple:
    """The product of the inputs, channel by channel.

    Dependent factors are refused (the peer takes them as independent).
    """
    return _fan_in("FanInProd", lambda nodes: reduce(mul, (node.var for node in nodes)))


def _fan_in(name: str, join: Any) -> Triple:
    def build(nodes: Tree, context: Context) -> Node:
        _check_branches(name, nodes)
        shapes = {(node.positions, node.channels) for node in nodes}
        if len(shapes) > 1:
            raise ValueError(f"{name} needs branches of one shape (positions, channels); got {sorted(shapes)}.")
        wide = [as_wide(node) for node in nodes] if _mixed_channels(nodes) else nodes
        return _joint(name, nodes, context).after(join(wide))

    return triple(Layer(name, build))


def _check_branches(name: str, nodes: Tree) -> None:
    if type(nodes) not in (tuple, list) or not all(isinstance(node, Node) for node in nodes):
        raise ValueError(f"{name} joins several inputs: put FanOut and parallel before it, or give a tuple of arrays.")


def _joint(name: str, nodes: Sequence[Node], context: Context) -> Node:
    """What the branches have in common beside their variables."""
    first, *rest = (grid_of(node) for node in nodes)
    if context.masked and any(grid.root != first.root or (grid.index != first.index).any() for grid in rest):
        raise NotImplementedError(
            f"{name} of masked branches with different windows is not implemented: use padding='SAME'."
        )
    return nodes[0]


def _mixed_channels(nodes: Sequence[Node]) -> bool:
    return len({node.var.channels for node in nodes}) > 1


def as_wide(node: Node) -> Node:
    """Data beside hidden layers, counted as so many channels as the user declared."""
    if node.var.channels.wide:
        return node
    return node.after(Var(LinComb((1.0,)), (node.var,), node.positions, Channels(1, 0)))


def FanInConcat(axis: int = -1) -> Triple:
    """The inputs side by side along `axis`: channels, or one of the positions.

    In the limit a block of channels weighs as its share of the channels of the finite network.
    """

    def build(nodes: Tree, context: Context) -> Node:
        _check_branches("FanInConcat", nodes)
        first = nodes[0]
        place = axis % (len(first.positions) + 2)
        if place == first.axes.batch:
            raise NotImplementedError("FanInConcat along the batch axis is not implemented: concatenate the data.")
        if place == first.axes.channel:
            joint = _joint("FanInConcat", nodes, context)
            return joint.after(_channels(nodes, context), channels=sum(node.channels for node in nodes))
        return _positions(nodes, position_axes(first).index(place), context)

    return triple(Layer("FanInConcat", build))


def _channels(nodes: Sequence[Node], context: Context) -> Var:
    if context.finite or len(nodes) == 1:
        return concatenate(*(node.var for node in nodes)) if len(nodes) > 1 else nodes[0].var
    total = sum(node.channels for node in nodes)
    shares = [node.channels * len(nodes) / total for node in nodes]
    wide = [as_wide(node).var if _mixed_channels(nodes) else node.var for node in nodes]
    if not _mixed_channels(nodes) and not nodes[0].var.channels.wide:
        return concatenate(*wide)
    return concatenate(*(v if s == 1 else scale(v, math.sqrt(s)) for v, s in zip(wide, shares, strict=True)))


def _positions(nodes: Sequence[Node], axis: int, context: Context) -> Node:
    sizes = [node.positions[axis] for node in nodes]
    rest = {(*node.positions[:axis], *node.positions[axis + 1 :], node.channels) for node in nodes}
    if len(rest) > 1:
        raise ValueError(f"FanInConcat needs equal shapes but for its axis; got {[node.positions for node in nodes]}.")
    positions = (*nodes[0].positions[:axis], sum(sizes), *nodes[0].positions[axis + 1 :])
    starts = np.cumsum([0, *sizes])
    wide = [as_wide(node) for node in nodes] if _mixed_channels(nodes) else list(nodes)
    parts = [_placed(node, axis, start, positions) for node, start in zip(wide, starts[:-1], strict=True)]
    grid = _grid(nodes, axis) if context.masked else None
    return replace(nodes[0], var=add_up(*parts), grid=grid)


def _placed(node: Node, axis: int, start: int, positions: tuple[int, ...]) -> Var:
    """One branch at its place among all positions, zero elsewhere."""
    matrices = [np.eye(size) for size in node.positions]
    matrices[axis] = np.eye(positions[axis])[:, start : start + node.positions[axis]]
    return mix(node.var, tuple(matrices), positions, "concatenate")


def _grid(nodes: Sequence[Node], axis: int) -> Grid:
    grids = [grid_of(node) for node in nodes]
    if len({grid.root for grid in grids}) > 1:
        raise NotImplementedError("FanInConcat of masked branches with different positions is not implemented.")
    return Grid(grids[0].root, np.concatenate([grid.index for grid in grids], axis))
