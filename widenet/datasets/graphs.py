"""Loaders of graphs: Planetoid's files, and the small ones that come with networkx."""

from __future__ import annotations

import collections
import os
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from widenet.datasets.load import VARIABLE

UNKNOWN = -1  # the label of a node without one
VALIDATION = 500  # nodes after those to train on
PARTS = ("x", "y", "tx", "ty", "allx", "ally", "graph", "test.index")


class Graph(NamedTuple):
    """Nodes with features `[nodes, d]` and integer labels `[nodes]` (-1: none), and a symmetric 0/1 adjacency matrix.

    train, validation, test: the indices of nodes in the usual split; empty if there is none.
    """

    adjacency: scipy.sparse.csr_array
    x: np.ndarray
    y: np.ndarray
    name: str
    train: np.ndarray = np.arange(0)
    validation: np.ndarray = np.arange(0)
    test: np.ndarray = np.arange(0)


def planetoid(name: str, folder: str | Path | None = None) -> Graph:
    """Cora, Citeseer or Pubmed from the files ind.NAME.* in `folder`, or in WIDENET_DATA or its subfolder planetoid.

    Loops and repeated edges are dropped.  Test nodes that the files leave out (Citeseer) are isolated, with features of
    zero and no label.  Nothing but arrays, sparse matrices and lists is unpickled.
    Raises: FileNotFoundError that says where it looked; pickle.UnpicklingError for files that hold other objects.
    Source: yang2016.
    """
    read = {part: _read(path) for part, path in _paths(name, folder).items()}
    test = read["test.index"]
    known, nodes = read["allx"].shape[0], max(int(test.max()) + 1, len(read["graph"]))
    x, y = np.zeros((nodes, read["allx"].shape[1])), np.full(nodes, UNKNOWN)
    x[:known], y[:known] = read["allx"].toarray(), _labels(read["ally"])
    x[test], y[test] = read["tx"].toarray(), _labels(read["ty"])
    train = np.arange(read["x"].shape[0])
    validation = np.arange(len(train), min(len(train) + VALIDATION, known))
    edges = ((i, j) for i, others in read["graph"].items() for j in others)
    return Graph(_symmetric(edges, nodes), x, y, name, train, validation, np.sort(test))


def networkx_graph(name: str) -> Graph:
    """A graph that comes with networkx: karate_club, davis_southern_women, florentine_families or les_miserables.

    Edges without their weights; features are one-hot; labels are the club, or the side of the bipartite graph.
    Raises: ModuleNotFoundError if networkx is missing; ValueError for another name.
    """
    try:
        import networkx
    except ModuleNotFoundError:
        raise ModuleNotFoundError("this graph comes with networkx: pip install networkx") from None
    labels = {
        "karate_club": "club",
        "davis_southern_women": "bipartite",
        "florentine_families": "",
        "les_miserables": "",
    }
    if name not in labels:
        raise ValueError(f"networkx_graph: {name!r} is not one of {', '.join(labels)}.")
    graph = getattr(networkx, f"{name}_graph")()
    place = {node: i for i, node in enumerate(graph)}
    edges = ((place[a], place[b]) for a, b in graph.edges)
    y = np.full(len(place), UNKNOWN)
    if labels[name]:
        y = np.unique([graph.nodes[node][labels[name]] for node in graph], return_inverse=True)[1]
    return Graph(_symmetric(edges, len(place)), np.eye(len(place)), y, name)


def _symmetric(edges: Iterable[tuple[int, int]], nodes: int) -> scipy.sparse.csr_array:
    ends = np.array([(i, j) for i, j in edges if i != j], int).reshape(-1, 2).T
    one_way = scipy.sparse.coo_array((np.ones(ends.shape[1]), (ends[0], ends[1])), shape=(nodes, nodes)).tocsr()
    return scipy.sparse.csr_array((one_way + one_way.T > 0).astype(float))


def _labels(one_hot: np.ndarray) -> np.ndarray:
    return np.where(one_hot.any(axis=1), one_hot.argmax(axis=1), UNKNOWN)


def _paths(name: str, folder: str | Path | None) -> dict[str, Path]:
    """The file of each part."""
    named = folder or os.environ.get(VARIABLE)
    files = f"ind.{name}.x and its companions (y, tx, ty, allx, ally, graph, test.index)"
    if not named:
        raise FileNotFoundError(f"{name} is not bundled: set {VARIABLE} to a folder that holds {files}.")
    for place in (Path(named), Path(named) / "planetoid"):
        paths = {part: place / f"ind.{name}.{part}" for part in PARTS}
        if all(path.is_file() for path in paths.values()):
            return paths
    raise FileNotFoundError(f"neither {named} nor its subfolder planetoid holds {files}: name the folder that does.")


def _read(path: Path) -> Any:
    if path.name.endswith("test.index"):
        return np.loadtxt(path, int, ndmin=1)
    with path.open("rb") as file:
        return _Plain(file, encoding="latin1").load()  # the files were written by Python 2


RECONSTRUCT: Any = np.empty(0).__reduce__()[0]
PLAIN: dict[str, Any] = {
    **dict.fromkeys(("scipy.sparse.csr.csr_matrix", "scipy.sparse._csr.csr_matrix"), scipy.sparse.csr_matrix),
    **dict.fromkeys(("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"), RECONSTRUCT),
    "numpy.ndarray": np.ndarray,
    "numpy.dtype": np.dtype,
    "collections.defaultdict": collections.defaultdict,
    "builtins.list": list,
    "_codecs.encode": lambda text, _: text.encode("latin1"),  # bytes, as Python 3 writes them for Python 2
}


class _Plain(pickle.Unpickler):
    """A reader of data, which a pickle must not be trusted to be."""

    def find_class(self, module: str, name: str) -> Any:
        found = f"{module}.{name}".replace("__builtin__.", "builtins.")
        if found not in PLAIN:
            raise pickle.UnpicklingError(f"the file holds a {found}, which is no array: it is not one of Planetoid's.")
        return PLAIN[found]
