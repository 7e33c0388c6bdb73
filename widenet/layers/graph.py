"""Layers that mix positions along a graph, and layers that heed a mask."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from widenet.layers.layer import layer
from widenet.layers.positions import mix
from widenet.program.ops import SampleMix
from widenet.program.var import Var, below_structure


@layer
def aggregate(x: Var, operator: Any = None) -> Var:
    """z = A x over nodes: a graph layer without its weights (G1).

    operator: A for all samples, `[nodes, nodes]` as numpy or scipy.sparse; see `gcn_operator`, `sage_operator` and
    `gin_operator`.  None reads each sample's own matrix, given with the data by `samples(x, graph=...)`.
    Raises: ValueError for an operator of another size than there are nodes.
    Source: kipf2017, eq. (2); du2019.
    """
    count = math.prod(x.positions)
    if operator is None:
        return _by_sample(x, "graph")
    operator = operator if hasattr(operator, "tocsr") else np.asarray(operator, float)
    if operator.shape != (count, count):
        raise ValueError(
            f"aggregate after {x}: the operator of a graph of {count} nodes is {(count, count)}; got {operator.shape}."
        )
    return mix(x, (operator,), x.positions, "aggregate")


@layer
def masked(x: Var) -> Var:
    """x, and zero at the positions that the sample's mask (`samples(x, mask=...)`) leaves out (M1)."""
    return _by_sample(x, "mask")


@layer
def masked_mean(x: Var) -> Var:
    """The mean over the positions of the sample's mask (M1)."""
    return _by_sample(x, "mean", ())


def _by_sample(x: Var, kind: str, positions: tuple[int, ...] | None = None) -> Var:
    if not x.positions:
        raise ValueError(f"{SampleMix(kind).label} after {x}: there are no positions; leave it out.")
    shape = x.positions if positions is None else positions
    return below_structure(lambda a: Var(SampleMix(kind), (a,), shape, a.channels), x)


def gcn_operator(adjacency: Any) -> Any:
    """D^(-1/2) (A + I) D^(-1/2), D the degrees of A + I: the operator of a graph convolution (kipf2017, eq. (2))."""
    own = _with_loops(adjacency, 1.0)
    root = 1 / np.sqrt(_degrees(own))
    return _scaled(root, own, root)


def sage_operator(adjacency: Any) -> Any:
    """D^(-1) (A + I): the mean over a node and its neighbours (hamilton2017, its mean aggregator)."""
    own = _with_loops(adjacency, 1.0)
    return _scaled(1 / _degrees(own), own, np.ones(own.shape[0]))


def gin_operator(adjacency: Any, eps: float = 0.0) -> Any:
    """A + (1 + eps) I: the sum over neighbours, and the node itself (xu2019, eq. (4.1))."""
    return _with_loops(adjacency, 1 + eps)


def _with_loops(adjacency: Any, weight: float) -> Any:
    if adjacency.shape[0] != adjacency.shape[1]:
        raise ValueError(f"an adjacency matrix is square; got {adjacency.shape}.")
    if hasattr(adjacency, "tocsr"):
        import scipy.sparse

        return adjacency + weight * scipy.sparse.eye_array(adjacency.shape[0])
    return np.asarray(adjacency, float) + weight * np.eye(len(adjacency))


def _degrees(operator: Any) -> np.ndarray:
    return np.asarray(operator.sum(axis=1), float).ravel()


def _scaled(left: np.ndarray, operator: Any, right: np.ndarray) -> Any:
    if hasattr(operator, "tocsr"):
        return (operator.multiply(left[:, None]).multiply(right[None])).tocsr()
    return left[:, None] * operator * right[None]
