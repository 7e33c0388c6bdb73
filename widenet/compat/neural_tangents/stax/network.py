"""The program of a layer for data of given shapes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np

from widenet.compat.neural_tangents.stax.data import Spec, tree_of
from widenet.compat.neural_tangents.stax.node import Context, Layer, Node, Tree, leaves
from widenet.layers.combine import concatenate
from widenet.layers.positions import flatten, time_step
from widenet.program.trace import Net, Program, trace
from widenet.program.var import Var


@dataclass(frozen=True, eq=False)
class Network:
    """One of the two networks that a layer describes."""

    layer: Layer
    spec: Spec
    context: Context

    def outputs(self, x: Var) -> Tree:
        """The nodes that the layer makes of the data."""
        return self.layer.build(roots(x, self.spec, self.context), self.context)

    @cached_property
    def output(self) -> Tree:
        """The same for one tracing, to read shapes from."""
        found: list[Tree] = []

        def net(x: Var) -> Var:
            found.append(self.outputs(x))
            return _joined(found[-1])

        trace(net, self.spec.shape)
        return found[-1]

    @cached_property
    def nets(self) -> list[Net]:
        """One architecture for each output."""
        return [self._net_of(i) for i in range(len(leaves(self.output)))]

    def _net_of(self, i: int) -> Net:
        return lambda x: leaves(self.outputs(x))[i].var

    def net(self, x: Var) -> Var:
        """All outputs in one variable: several are flattened, side by side."""
        return _joined(self.outputs(x))

    @cached_property
    def program(self) -> Program:
        """The program of all outputs."""
        return trace(self.net, self.spec.shape)

    def split(self, y: Any) -> list[Any]:
        """The outputs from the value of `net`."""
        nodes = leaves(self.output)
        if len(nodes) == 1:
            return [y]
        sizes = [math.prod(node.positions) * node.channels for node in nodes]
        parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
        return [
            y[:, part].reshape(y.shape[0], *node.positions, node.channels)
            for node, part in zip(nodes, parts, strict=True)
        ]


def _joined(tree: Tree) -> Var:
    nodes = leaves(tree)
    return nodes[0].var if len(nodes) == 1 else concatenate(*(flatten(node.var) for node in nodes))


@lru_cache(maxsize=128)
def network_of(layer: Layer, spec: Spec, context: Context) -> Network:
    """The network of a layer; the same object for the same shapes."""
    return Network(layer, spec, context)


def roots(x: Var, spec: Spec, context: Context) -> Tree:
    """The inputs of a layer as nodes."""
    if spec.tree is None:
        return Node(x, spec.channels[0], spec.axes)
    if context.finite and len(set(spec.channels)) > 1:
        raise NotImplementedError(
            f"finite networks of several inputs need equally many features; they have {spec.channels}: pad with zeros."
        )
    return tree_of(spec, [Node(time_step(x, i), d, spec.axes) for i, d in enumerate(spec.channels)])
