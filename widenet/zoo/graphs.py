"""Networks on graphs: data `samples(x, graph=operators)` with x `[n, nodes, d]`, one operator for each graph.

With readout="nodes" the output is one for each node, for `kernel(net, positions="all")`; else one for each graph.
masked: nodes outside of the mask of a graph (`samples(..., mask=...)`) are not read out; give them no edges.
"""

from __future__ import annotations

from typing import Any

from widenet.activations import relu
from widenet.activations.activation import Activation
from widenet.layers.dense import dense
from widenet.layers.graph import aggregate, masked_mean
from widenet.layers.graph import masked as at_mask
from widenet.layers.layer import serial
from widenet.layers.positions import position_mean, position_sum
from widenet.layers.repeat import repeat
from widenet.program.trace import Net
from widenet.program.var import Var
from widenet.zoo.plain import SQRT_2


def gcn(
    activation: Activation = relu,
    depth: int = 2,
    *,
    readout: str = "mean",
    masked: bool = False,
    sigma_w: Any = SQRT_2,
    sigma_b: Any = 0.0,
) -> Net:
    """A graph convolutional network of `depth` hidden layers phi(dense(A h)), A from `gcn_operator`, and a readout.

    readout: "mean" or "sum" over nodes, then a dense layer; "nodes", dense(A h) at each.
    Source: kipf2017, eq. (2) and (9).
    """
    layer = dense(sigma_w=sigma_w, sigma_b=sigma_b)
    return _on_graph(serial(aggregate(), layer), activation, depth, _readout(readout, masked), layer)


def sage(
    activation: Activation = relu,
    depth: int = 2,
    *,
    readout: str = "mean",
    masked: bool = False,
    sigma_w: Any = SQRT_2,
    sigma_b: Any = 0.0,
) -> Net:
    """GraphSAGE with its mean aggregator: the layers of `gcn`, with A from `sage_operator`.

    Source: hamilton2017, eq. (2).
    """
    return gcn(activation, depth, readout=readout, masked=masked, sigma_w=sigma_w, sigma_b=sigma_b)


def gin(
    activation: Activation = relu,
    depth: int = 2,
    *,
    readout: str = "sum",
    masked: bool = False,
    sigma_w: Any = SQRT_2,
    sigma_b: Any = 0.0,
) -> Net:
    """A graph isomorphism network: `depth` layers phi(dense(phi(dense(A h)))), A from `gin_operator`, and a readout.

    readout: as for `gcn`, and on the last layer only.
    Source: xu2019, eq. (4.1).
    """
    layer = dense(sigma_w=sigma_w, sigma_b=sigma_b)
    return _on_graph(serial(aggregate(), layer, activation, layer), activation, depth, _readout(readout, masked), layer)


def _on_graph(hidden: Net, activation: Activation, depth: int, read: Net, layer: Net) -> Net:
    if depth < 1:
        raise ValueError(f"a network on graphs has depth 1 or more (hidden layers); got {depth}.")
    return serial(_graphs, hidden, repeat(serial(activation, hidden), depth - 1), activation, read, layer)


def _graphs(x: Var) -> Var:
    if len(x.positions) != 1:
        raise ValueError(f"a network on graphs reads nodes, data [n, nodes, d]; got {x}.")
    return x


def _readout(kind: str, masked: bool) -> Net:
    kinds = {
        "mean": masked_mean() if masked else position_mean(),
        "sum": serial(at_mask(), position_sum()) if masked else position_sum(),
        "nodes": aggregate(),
    }
    if kind not in kinds:
        raise ValueError(f"the readout of a network on graphs is one of {', '.join(kinds)}; got {kind!r}.")
    return kinds[kind]
