"""Graph networks of torch: modules that look like those of torch_geometric, and the real ones where they are."""

from __future__ import annotations

from itertools import pairwise

import jax
import numpy as np
import pytest

import widenet as wn
import widenet.torch as wt
from widenet import initializers as wi

torch = pytest.importorskip("torch")
nn = torch.nn

RING = np.roll(np.eye(12), 1, axis=1) + np.roll(np.eye(12), -1, axis=1) + np.eye(12, k=3) + np.eye(12, k=-3)
X = np.random.default_rng(0).normal(size=(12, 6)) + 0.5


class Passing(nn.Module):
    """What is common to layers that pass messages."""

    def propagate(self, operator, h):
        return operator @ self.message(h)

    def message(self, h):
        return h


class GCN(Passing):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.lin = nn.Linear(n_in, n_out, bias=False)
        self.bias = nn.Parameter(torch.ones(n_out))

    def forward(self, h, operator):
        return self.propagate(operator, self.lin(h)) + self.bias


class SAGE(Passing):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.lin_l = nn.Linear(n_in, n_out)
        self.lin_r = nn.Linear(n_in, n_out, bias=False)

    def forward(self, h, operator):
        return self.lin_l(self.propagate(operator, h)) + self.lin_r(h)


class GIN(Passing):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.nn = nn.Sequential(nn.Linear(n_in, n_out), nn.LayerNorm(n_out), nn.ReLU(), nn.Linear(n_out, n_out))

    def forward(self, h, operator):
        return self.nn(self.propagate(operator, h))


class Net(nn.Module):
    def __init__(self, layer, widths, head=False):
        super().__init__()
        self.layers = nn.ModuleList(layer(a, b) for a, b in pairwise(widths))
        self.head = nn.Linear(widths[-1], 2) if head else None


@pytest.mark.parametrize(("layer", "matrices"), [(GCN, 1), (SAGE, 2), (GIN, 2)], ids=["gcn", "sage", "gin"])
def test_one_variance_a_layer_goes_to_all_of_its_matrices(layer, matrices):
    net = Net(layer, (6, 150, 160), head=True)
    weights = wi.virgo_harmonic(RING, X, (6, 150, 160, 2))
    names = wt.graph_init_(net, weights, key=0)
    filled = [name for name in names if name.endswith("weight")]
    assert len(filled) == 2 * matrices + 1
    for name in filled:
        layer_number = 2 if name.startswith("head") else int(name.split(".")[1])
        w, variance = net.get_parameter(name).detach().numpy(), weights.variances[layer_number]
        assert abs(w.var() / variance - 1) < 5 * np.sqrt(0.8 / w.size)
        assert abs(w).max() <= np.sqrt(3 * variance) * (1 + 1e-6)
    biases = [name for name, _ in net.named_parameters() if name.endswith("bias") and ".nn.1." not in name]
    assert sorted(names) == sorted([*filled, *biases])
    assert all(not net.get_parameter(name).any() for name in biases)


def test_as_many_variances_as_matrices_go_one_to_each():
    net = Net(GIN, (6, 40, 50))
    weights = wi.graph_nngp([wn.gin_operator(RING), None] * 2, X, (6, 40, 40, 50, 50))
    names = [name for name in wt.graph_init_(net, weights, key=3) if name.endswith("weight")]
    for number, (name, draw) in enumerate(zip(names, weights.initializers(), strict=True)):
        w = net.get_parameter(name).detach().numpy()
        numbers = draw(jax.random.fold_in(jax.random.key(3), number), w.T.shape, np.float32)
        np.testing.assert_array_equal(w, np.asarray(numbers).T)


def test_signals_of_a_module_keep_their_variance():
    operator, x = torch.tensor(wn.sage_operator(RING)).float(), torch.tensor(X).float()
    weights = wi.graph_nngp((wn.sage_operator(RING), None), X, (6, 100, 100, 100), wn.tanh, q=0.8)
    net, squares = Net(SAGE, weights.widths), []
    for draw in range(60):
        wt.graph_init_(net, weights, key=draw)
        h = x
        with torch.no_grad():
            for layer in net.layers:
                z = layer(h, operator)
                h = z.tanh()
        squares.append(float((z**2).mean()))
    sem = np.std(squares, ddof=1) / np.sqrt(len(squares))
    assert abs(np.mean(squares) - 0.8) < 4 * sem + 0.8 * 3 / 100
    assert sem < 0.02


def test_shared_weights_are_filled_once_and_torch_s_generator_is_used():
    net = Net(GCN, (6, 6, 6))
    net.layers[1].lin.weight = net.layers[0].lin.weight
    weights = wi.dezoort_hanin(wn.gcn_operator(RING), (6, 6, 6))
    names = wt.graph_init_(net, weights, generator=torch.Generator().manual_seed(1))
    assert [name for name in names if name.endswith("weight")] == ["layers.0.lin.weight"]
    before = net.layers[0].lin.weight.clone()
    wt.graph_init_(net, weights, generator=torch.Generator().manual_seed(1))
    assert torch.equal(before, net.layers[0].lin.weight)


@pytest.mark.parametrize(
    ("net", "widths", "message"),
    [
        (
            Net(SAGE, (6, 7, 8)),
            (6, 7, 8, 9),
            "has 2 layers with 4 weights .layers.0.lin_l.weight.*there are 3 variances",
        ),
        (Net(GCN, (6, 7, 8)), (6, 9, 8), r"layers.1.lin.weight has shape \(8, 7\).*widths say 9 inputs"),
        (nn.Sequential(nn.ReLU(), nn.Embedding(3, 4)), (6, 7), "no layer with a weight matrix"),
        (nn.LazyLinear(4), (6, 4), "run the module on one batch"),
    ],
)
def test_modules_that_do_not_match_are_refused_before_anything_is_filled(net, widths, message):
    before = [p.clone() for p in net.parameters() if not nn.parameter.is_lazy(p)]
    with pytest.raises(ValueError, match=message):
        wt.graph_init_(net, wi.dezoort_hanin(wn.gcn_operator(RING), widths))
    assert all(torch.equal(a, b) for a, b in zip(before, net.parameters(), strict=False))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_layers_of_torch_geometric():
    """Which matrices are filled, and the signal of GCNConv, SAGEConv, GINConv and GATConv against ours."""
    pyg = pytest.importorskip("torch_geometric.nn")
    edges = torch.tensor(np.array(np.nonzero(RING)))
    loops = torch.cat([edges, torch.arange(12).repeat(2, 1)], 1)
    x, widths = torch.tensor(X).float(), (6, 100, 100)

    def mlp(a, b):
        return pyg.GINConv(nn.Sequential(nn.Linear(a, b), nn.Tanh(), nn.Linear(b, b)))

    cases = [
        (pyg.GCNConv, wn.gcn_operator(RING), widths, ["lin.weight"]),
        (lambda a, b: pyg.SAGEConv(a, b), (wn.sage_operator(RING), None), widths, ["lin_l.weight", "lin_r.weight"]),
        (mlp, [wn.gin_operator(RING), None] * 2, (6, 100, 100, 100, 100), ["nn.0.weight", "nn.2.weight"]),
        (pyg.GATConv, wi.gat_operator(RING), widths, ["lin.weight"]),
    ]
    for layer, operators, sizes, expected in cases:
        weights = wi.graph_nngp(operators, X, sizes, wn.tanh)
        net, squares = Net(layer, widths), []
        for draw in range(40):
            names = wt.graph_init_(net, weights, key=draw)
            assert [n for n in names if n.endswith("weight")] == [f"layers.{i}.{n}" for i in (0, 1) for n in expected]
            h = x
            with torch.no_grad():
                for name, parameter in net.named_parameters():
                    parameter.mul_(0.0 if ".att_" in name else 1.0)
                for one in net.layers:
                    z = one(h, loops if isinstance(one, pyg.SAGEConv) else edges)
                    h = z.tanh()
            squares.append(float((z**2).mean()))
        sem = np.std(squares, ddof=1) / np.sqrt(len(squares))
        assert abs(np.mean(squares) - 1) < 4 * sem + 3 / 100, layer
