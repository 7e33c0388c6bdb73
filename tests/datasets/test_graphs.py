"""Loaders of graphs: files of Planetoid that are written here, the real ones where they are, and those of networkx."""

from __future__ import annotations

import collections
import os
import pickle
import sys

import numpy as np
import pytest
import scipy.sparse

from widenet import datasets


def write(folder, **replaced):
    """A graph of 7 nodes, of which 2 are to train on, 4 is left out of the index, and the test nodes are 3, 5 and 6."""
    labels = np.eye(3, dtype=np.int32)
    edges = collections.defaultdict(list, {0: [1, 1, 0], 1: [0], 2: [6], 3: [], 5: [6], 6: [5]})
    parts = {
        "x": scipy.sparse.csr_matrix(np.eye(2, 4)),
        "y": labels[[2, 1]],
        "allx": scipy.sparse.csr_matrix(np.eye(3, 4)),
        "ally": labels[[2, 1, 0]],
        "tx": scipy.sparse.csr_matrix(np.diag([6.0, 3, 5])[:, [0, 1, 2, 2]]),
        "ty": labels[[1, 2, 0]],
        "graph": edges,
    } | replaced
    for part, value in parts.items():
        (folder / f"ind.toy.{part}").write_bytes(pickle.dumps(value, protocol=2))
    (folder / "ind.toy.test.index").write_text("6\n3\n5\n")


def assert_is_toy(graph):
    expected = np.zeros((7, 7))
    for i, j in ((0, 1), (2, 6), (5, 6)):
        expected[i, j] = expected[j, i] = 1
    np.testing.assert_array_equal(graph.adjacency.toarray(), expected)
    np.testing.assert_array_equal(graph.y, [2, 1, 0, 2, -1, 0, 1])
    np.testing.assert_array_equal(
        graph.x[[0, 3, 4, 5, 6]], [[1, 0, 0, 0], [0, 3, 0, 0], [0] * 4, [0, 0, 5, 5], [6, 0, 0, 0]]
    )
    np.testing.assert_array_equal(graph.train, [0, 1])
    np.testing.assert_array_equal(graph.validation, [2])
    np.testing.assert_array_equal(graph.test, [3, 5, 6])


def test_files_of_planetoid_are_read_from_a_folder_or_its_subfolder(tmp_path, monkeypatch):
    (tmp_path / "planetoid").mkdir()
    write(tmp_path / "planetoid")
    assert_is_toy(datasets.planetoid("toy", tmp_path / "planetoid"))
    monkeypatch.setenv("WIDENET_DATA", str(tmp_path))
    assert_is_toy(datasets.planetoid("toy"))


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Bad:
        def __reduce__(self):
            return os.system, ("exit 1",)

    write(tmp_path, graph=Bad())
    with pytest.raises(pickle.UnpicklingError, match="system, which is no array"):
        datasets.planetoid("toy", tmp_path)


def test_a_folder_without_the_files_is_refused(tmp_path, monkeypatch):
    write(tmp_path)
    (tmp_path / "ind.toy.ty").unlink()
    with pytest.raises(FileNotFoundError, match=r"planetoid holds ind\.toy\.x and its companions"):
        datasets.planetoid("toy", tmp_path)
    monkeypatch.delenv("WIDENET_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match="set WIDENET_DATA to a folder"):
        datasets.planetoid("toy")


@pytest.mark.parametrize(
    ("name", "shape", "edges", "isolated"), [("cora", (2708, 1433), 5278, 0), ("citeseer", (3327, 3703), 4552, 48)]
)
def test_the_real_files_are_the_graphs_of_the_literature(name, shape, edges, isolated):
    try:
        graph = datasets.planetoid(name)
    except FileNotFoundError:
        pytest.skip(f"WIDENET_DATA does not hold {name}")
    assert graph.x.shape == shape
    assert graph.adjacency.nnz == 2 * edges
    assert np.sum(graph.adjacency.sum(axis=1) == 0) == isolated
    assert (len(graph.validation), len(graph.test)) == (500, 1000)
    assert (np.bincount(graph.y[graph.train]) == 20).all()


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "labels"),
    [
        ("karate_club", 34, 78, [17, 17]),
        ("davis_southern_women", 32, 89, [18, 14]),
        ("florentine_families", 15, 20, []),
        ("les_miserables", 77, 254, []),
    ],
)
def test_graphs_that_come_with_networkx(name, nodes, edges, labels):
    pytest.importorskip("networkx")
    graph = datasets.networkx_graph(name)
    assert graph.adjacency.shape == (nodes, nodes)
    assert graph.adjacency.nnz == 2 * edges
    assert abs(graph.adjacency - graph.adjacency.T).max() == 0
    assert sorted(np.bincount(graph.y[graph.y >= 0])) == sorted(labels)
    assert len(graph.train) == 0


def test_other_names_and_a_missing_networkx_are_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "networkx", None)
    with pytest.raises(ModuleNotFoundError, match="pip install networkx"):
        datasets.networkx_graph("karate_club")
    monkeypatch.undo()
    pytest.importorskip("networkx")
    with pytest.raises(ValueError, match="'zebra' is not one of karate_club"):
        datasets.networkx_graph("zebra")
