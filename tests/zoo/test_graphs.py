"""Networks on graphs: against their formula in numpy, and what graphs of different sizes must meet."""

from __future__ import annotations

import numpy as np
import pytest

import widenet as wn

RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 5, 3))
ADJACENCY = np.triu(RNG.uniform(size=(2, 5, 5)) < 0.5, 1).astype(float)
ADJACENCY += ADJACENCY.swapaxes(1, 2)


def graphs(name, x=X, adjacency=ADJACENCY, mask=None):
    return wn.samples(x, graph=np.stack([wn.zoo.OPERATORS[name](a) for a in adjacency]), mask=mask)


def relu_dual(k):
    q = np.einsum("apap->ap", k)
    norms = np.sqrt(q[:, :, None, None] * q)
    angle = np.arccos(np.clip(k / norms, -1, 1))
    return norms * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)


def test_the_gcn_of_nodes_is_that_of_the_paper():
    data = graphs("gcn")
    a = np.asarray(data.graph)
    k = np.einsum("apd,bqd->apbq", X, X) / 3
    for _ in range(2):
        k = relu_dual(2 * np.einsum("api,aibj,bqj->apbq", a, k, a))
    expected = 2 * np.einsum("api,aibj,bqj->apbq", a, k, a)
    ours = wn.nngp(wn.zoo.gcn(readout="nodes"), positions="all")(data)
    np.testing.assert_allclose(ours, expected.transpose(0, 2, 1, 3), rtol=1e-6)


def test_operators_of_graphs_are_those_of_the_papers():
    a = ADJACENCY[0]
    degrees = 1 + a.sum(0)
    np.testing.assert_allclose(graphs("gcn").graph[0], (a + np.eye(5)) / np.sqrt(np.outer(degrees, degrees)))
    np.testing.assert_allclose(graphs("sage").graph[0], (a + np.eye(5)) / degrees[:, None])
    np.testing.assert_allclose(graphs("gin").graph[0], a + np.eye(5))


@pytest.mark.parametrize("name", ["gcn", "sage", "gin"])
def test_kernels_do_not_depend_on_the_order_of_nodes(name):
    order = [3, 0, 4, 1, 2]
    other = graphs(name, X[:, order], ADJACENCY[:, order][:, :, order])
    for one, two in zip(wn.kernel(wn.zoo.parse(name))(graphs(name)), wn.kernel(wn.zoo.parse(name))(other), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-10)


@pytest.mark.parametrize("name", ["gcn", pytest.param("gin", marks=pytest.mark.slow)])
def test_nodes_outside_of_the_mask_are_as_if_they_were_not_there(name):
    adjacency = ADJACENCY.copy()
    adjacency[:, 4], adjacency[:, :, 4] = 0, 0
    mask = np.repeat([[True, True, True, True, False]], 2, 0)
    padded = wn.kernel(wn.zoo.parse(f"{name}:1:masked:sigma_b=0.2"))(graphs(name, adjacency=adjacency, mask=mask))
    small = wn.kernel(wn.zoo.parse(f"{name}:1:sigma_b=0.2"))(graphs(name, X[:, :4], adjacency[:, :4, :4]))
    for one, two in zip(padded, small, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-10)


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ("gcn:readout=max", (2, 5, 3), "is one of mean, sum, nodes; got 'max'"),
        ("gcn:0", (2, 5, 3), "depth 1 or more"),
        ("gin", (2, 3), "reads nodes"),
    ],
)
def test_what_makes_no_sense_is_refused(spec, shape, message):
    with pytest.raises(ValueError, match=message):
        wn.show(wn.zoo.parse(spec), shape)
