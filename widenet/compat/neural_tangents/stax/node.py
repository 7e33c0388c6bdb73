"""What the layers of the compatible interface compose: a variable of widenet, and what the peer knows beside it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from widenet.compat.neural_tangents.stax.diagonal import Diagonal
from widenet.layers.graph import masked
from widenet.layers.positions import mix
from widenet.program.var import Var

Tree = Any  # a Node, or tuples and lists of Trees


class Axes(NamedTuple):
    """Where arrays have their samples and their channels; positions take the other places, in order."""

    batch: int = 0
    channel: int = -1


@dataclass(frozen=True)
class Context:
    """What a network is built for.

    One description gives the two: the infinite one has hidden layers without width, the finite one those of the user.
    """

    finite: bool
    masked: bool = False  # are there masks with the data?
    pattern: bool = False  # are there graphs with the data?


@dataclass(frozen=True, eq=False)
class Grid:
    """Which position of the data (a flat index into `root`) each position inherits its mask from."""

    root: tuple[int, ...]
    index: np.ndarray  # [*positions]


@dataclass(frozen=True, eq=False)
class Node:
    """A variable of one of the two networks."""

    var: Var
    channels: int  # of the finite network
    axes: Axes  # of the user's arrays at this point; not negative
    grid: Grid | None = None  # masks: where in the data each position inherits its mask from; None: as in the data
    pooled: bool = False  # masks: have positions been pooled or flattened?

    @property
    def positions(self) -> tuple[int, ...]:
        """The shape of the positions."""
        return self.var.positions

    def after(self, var: Var, **changes: Any) -> Node:
        """The same with another variable."""
        return replace(self, var=var, **changes)


Build = Callable[[Tree, Context], Tree]


@dataclass(frozen=True, eq=False)
class Layer:
    """The description of a layer: how it continues a network, and what it needs of the arrays."""

    name: str
    build: Build
    axes: Axes | None = None  # None: any
    diagonal: Diagonal | None = None
    patterns: tuple[Any, ...] = ()  # how Aggregate layers in it read the graph of a call
    dropout: bool = False  # is there a Dropout in it that draws masks?
    hidden: int = 1  # widths inside of attention heads, of which a finite network of widenet has one


def on_nodes(build: Callable[[Node, Context], Node]) -> Build:
    """Say so where a layer for one variable is given several."""

    def checked(node: Tree, context: Context) -> Node:
        if not isinstance(node, Node):
            raise TypeError(
                f"a layer of one input was given {len(node)}: put parallel(...) for each of them, or FanInSum, "
                "FanInProd or FanInConcat, before it."
            )
        return build(node, context)

    return checked


def settled(axes: Axes, rank: int) -> Axes:
    """The axes counted from the front."""
    return Axes(axes.batch % rank, axes.channel % rank)


def check_axes(name: str, node: Node, needed: Axes | None, any_channel: bool = False) -> None:
    """Raise a ValueError if a layer wants the axes elsewhere than they are."""
    if needed is None:
        return
    there = settled(needed, len(node.positions) + 2)
    if there.batch != node.axes.batch or not (any_channel or there.channel == node.axes.channel):
        raise ValueError(
            f"{name} has batch_axis={there.batch} and channel_axis={there.channel}, but the layer before it gives "
            f"batch_axis={node.axes.batch}, channel_axis={node.axes.channel}: give all layers the same axes."
        )


def position_axes(node: Node) -> list[int]:
    """The places of the positions in the user's arrays."""
    return [i for i in range(len(node.positions) + 2) if i not in node.axes]


def remasked(node: Node, context: Context) -> Node:
    """Positions that do not exist set to zero again, where a layer may have filled them.

    The mask of the data is read at the positions of the data: others are put where they come from, and taken back.
    """
    if not context.masked or not node.positions:
        return node
    if node.grid is None:
        return node.after(masked(node.var))
    root, index = node.grid.root, node.grid.index.ravel()
    scatter = np.zeros((math.prod(root), len(index)))
    scatter[index, np.arange(len(index))] = 1.0
    on_grid = masked(mix(node.var, (scatter,), root, "mask grid"))
    return node.after(mix(on_grid, (scatter.T,), node.positions, "mask grid"))


def grid_of(node: Node) -> Grid:
    """Where its positions inherit their masks from."""
    return node.grid or Grid(node.positions, np.arange(math.prod(node.positions)).reshape(node.positions))


def leaves(tree: Tree) -> list[Any]:
    """The nodes (or arrays) of nested tuples and lists, in order."""
    return [leaf for part in tree for leaf in leaves(part)] if is_branch(tree) else [tree]


def is_branch(tree: Tree) -> bool:
    """Is it a plain tuple or list, rather than a leaf?"""
    return type(tree) in (tuple, list)


def map_tree(f: Callable[[Any], Any], tree: Tree) -> Tree:
    """f of every leaf, in the same tuples and lists."""
    return type(tree)(map_tree(f, part) for part in tree) if is_branch(tree) else f(tree)


def rebuilt(tree: Tree, values: Sequence[Any]) -> Tree:
    """`values` in place of the leaves of `tree`."""
    rest = iter(values)
    return map_tree(lambda _: next(rest), tree)
