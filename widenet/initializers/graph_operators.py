"""Operators of graphs in the forms that users have them: scipy.sparse, dense, edge_index, or a function. (I19)"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigs

Map = Callable[[np.ndarray], np.ndarray]  # [nodes, k] -> [nodes, k], linear

SHOWN = 5  # bad nodes to name
DENSE = 200  # nodes up to which all eigenvalues are cheaper than an iteration
EQUAL = 1e-6  # relative: eigenvalues of components that differ by less than an iteration resolves


def adjacency(graph: Any, nodes: int | None = None) -> Any:
    """The sparse matrix `[nodes, nodes]` of a graph: A[i, j] is the weight of the edge to i from j.

    graph: scipy.sparse, a dense matrix, or edge_index, whole numbers `[2, edges]`, the first row the nodes that edges
    leave, the second those that they enter (torch_geometric's; an edge that is listed twice has weight 2).
    nodes: how many there are; the largest index + 1 of edge_index if None.
    Raises: ValueError for another shape, entries that are negative or not finite, or an index out of range.
    """
    matrix = graph if scipy.sparse.issparse(graph) else np.asarray(graph)
    square = matrix.ndim == 2 and matrix.shape[0] == matrix.shape[1] and nodes in (None, matrix.shape[0])
    if not square:
        matrix = _from_edges(matrix, nodes)
    sparse = scipy.sparse.csr_array(matrix).astype(float)
    if not np.isfinite(sparse.data).all() or (sparse.data < 0).any():
        raise ValueError(
            "the graph has weights that are negative or not finite: take their absolute values, or drop them."
        )
    return sparse


def _from_edges(edges: Any, nodes: int | None) -> Any:
    if scipy.sparse.issparse(edges) or edges.ndim != 2 or len(edges) != 2 or edges.dtype.kind not in "iu":
        wanted = "[nodes, nodes]" if nodes is None else f"{(nodes, nodes)}"
        raise ValueError(
            f"a graph is a matrix {wanted} or edge_index, whole numbers [2, edges]; got {edges.dtype} of shape "
            f"{edges.shape}: give one row and column for each node."
        )
    nodes = int(edges.max(initial=-1)) + 1 if nodes is None else nodes
    if edges.size and not 0 <= edges.min() <= edges.max() < nodes:
        raise ValueError(
            f"edge_index names the nodes {edges.min()} to {edges.max()}, but there are {nodes}, counted from 0."
        )
    source, target = edges
    return scipy.sparse.coo_array((np.ones(len(source)), (target, source)), shape=(nodes, nodes))


def residual_operator(operator: Any, t: float) -> Any:
    """(1 - t) I + t A: aggregation that keeps a share of the node itself, so that deep networks smooth less. (I22)

    Raises: ValueError unless 0 <= t <= 1.
    Source: dezoort2023.
    """
    if not 0 <= t <= 1:
        raise ValueError(f"residual_operator: t is {t}, but must be in [0, 1]: the share of the neighbours.")
    sparse = adjacency(operator)
    return ((1 - t) * scipy.sparse.eye_array(sparse.shape[0]) + t * sparse).tocsr()


def gat_operator(graph: Any, target: Any = None, source: Any = None, *, negative_slope: float = 0.2) -> Any:
    """Attention over a node and its neighbours: A[i, j] = softmax_j leaky_relu(target_i + source_j). (I19)

    target, source: scores `[nodes]` a . h of the two halves of the attention vector; zero if None, as at the start with
    attention vectors of zero, where A is the mean of `widenet.sage_operator` on a graph without weights.
    Raises: ValueError for scores of another shape.
    Source: velickovic2018, eq. (3).
    """
    pattern = adjacency(graph)
    nodes = pattern.shape[0]
    rows, columns = (pattern + scipy.sparse.eye_array(nodes)).tocoo().coords
    target, source = (np.zeros(nodes) if s is None else np.asarray(s, float) for s in (target, source))
    if target.shape != (nodes,) or source.shape != (nodes,):
        raise ValueError(f"gat_operator: scores have shape {(nodes,)}; got {target.shape} and {source.shape}.")
    scores = target[rows] + source[columns]
    scores = np.where(scores > 0, scores, negative_slope * scores)
    largest = np.full(nodes, -np.inf)
    np.maximum.at(largest, rows, scores)
    shares = np.exp(scores - largest[rows])
    return scipy.sparse.csr_array((shares / np.bincount(rows, shares, nodes)[rows], (rows, columns)), (nodes, nodes))


def as_map(operator: Any, nodes: int) -> Map:
    """`operator` as a function of columns: itself, or multiplication with its matrix; None is the identity.

    Raises: ValueError for a matrix, or a result, of the wrong shape.
    """
    if operator is None:
        return lambda h: h
    if callable(operator):
        return _checked(operator, nodes)
    if scipy.sparse.issparse(operator) or np.asarray(operator).shape == (nodes, nodes):
        matrix = operator.tocsr() if scipy.sparse.issparse(operator) else np.asarray(operator, float)
        if matrix.shape != (nodes, nodes):
            raise ValueError(f"the operator has shape {matrix.shape}, but x has {nodes} nodes: give {(nodes, nodes)}.")
        return lambda h: matrix @ h
    matrix = adjacency(operator, nodes)
    return lambda h: matrix @ h


def _checked(operator: Map, nodes: int) -> Map:
    def apply(h: np.ndarray) -> np.ndarray:
        out = np.asarray(operator(h), float)
        if out.shape != h.shape:
            raise ValueError(f"the operator made shape {out.shape} of {h.shape}: it maps [nodes, k] to [nodes, k].")
        return out

    return apply


def normalized(graph: Any, nodes: int) -> Map:
    """h -> D^(-1/2) (A + I) D^(-1/2) h of a graph, or of a function h -> A h. (I20)"""
    own = as_map(graph, nodes) if callable(graph) else adjacency(graph, nodes).__matmul__
    root = 1 / np.sqrt(own(np.ones((nodes, 1))) + 1)
    return lambda h: root * (own(root * h) + root * h)


def check_reached(maps: Sequence[Map], nodes: int) -> None:
    """Raise a ValueError if a node receives nothing from any of the operators of a layer."""
    probe = np.random.default_rng(0).normal(size=(nodes, 1))  # a row that is not zero gives a number that is not
    dead = np.flatnonzero(~np.any([one(probe)[:, 0] != 0 for one in maps], axis=0))
    if len(dead):
        named = ", ".join(map(str, dead[:SHOWN])) + (", ..." if len(dead) > SHOWN else "")
        raise ValueError(
            f"{len(dead)} of {nodes} nodes receive nothing ({named}): they are isolated, and no weights give them a "
            "signal. Add self-loops (widenet.gcn_operator and sage_operator do), or drop these nodes."
        )


def growth(operator: Any, nodes: int | None) -> float:
    """The largest eigenvalue of an operator without negative entries, which must be that of every component. (I22)

    A function is taken to be of a connected graph.
    Raises: ValueError for isolated nodes, or for components with different eigenvalues.
    """
    if callable(operator):
        if nodes is None:
            raise ValueError("an operator that is a function does not tell its size: give nodes=.")
        check_reached([as_map(operator, nodes)], nodes)
        return _perron(
            LinearOperator((nodes, nodes), lambda v: _checked(operator, nodes)(v.reshape(-1, 1)), dtype=float)
        )
    matrix = adjacency(operator, nodes)
    check_reached([matrix.__matmul__], matrix.shape[0])
    count, labels = connected_components(matrix, directed=True, connection="strong")
    found = [_perron(matrix[members][:, members]) for members in (np.flatnonzero(labels == i) for i in range(count))]
    if max(found) - min(found) > EQUAL * max(found):
        raise ValueError(
            f"the graph is not connected: in its {count} components signals grow by {min(found):.6g} to "
            f"{max(found):.6g} a layer, so no weights keep all of them. Use a normalized operator (widenet."
            "gcn_operator, sage_operator), the largest component, or graph_nngp, which keeps the mean over nodes."
        )
    return max(found)


def _perron(matrix: Any) -> float:
    if matrix.shape[0] <= DENSE:
        return float(np.linalg.eigvals(matrix @ np.eye(matrix.shape[0])).real.max())
    start = np.ones(matrix.shape[0])
    try:
        return float(eigs(matrix, k=1, which="LR", v0=start, return_eigenvectors=False)[0].real)
    except ArpackNoConvergence:
        raise ValueError(
            "the iteration for the operator's largest eigenvalue did not converge: use a normalized operator "
            "(widenet.gcn_operator), or graph_nngp, which needs no eigenvalue."
        ) from None
