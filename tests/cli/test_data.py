"""Data of all kinds on the command line: data sets, tokens, sequences of different lengths, graphs."""

from __future__ import annotations

import numpy as np
import pytest

import widenet as wn
from widenet.cli import main

RNG = np.random.default_rng(0)
X = RNG.normal(size=(4, 5, 3))
MASK = np.arange(5) < np.array([5, 2, 3, 4])[:, None]
ADJACENCY = np.triu(RNG.uniform(size=(4, 5, 5)) < 0.5, 1)
ADJACENCY = ADJACENCY | ADJACENCY.swapaxes(1, 2)


@pytest.fixture
def kernels(tmp_path):
    """Run `widenet kernel` on arrays, and give what it wrote."""

    def run(net, *options, source=None, **arrays):
        if source is None:
            source = tmp_path / "data.npz"
            np.savez(source, **arrays)
        assert main(["kernel", str(source), "--net", net, "--out", str(tmp_path / "K.npz"), "--force", *options]) == 0
        with np.load(tmp_path / "K.npz") as written:
            return wn.Kernel(written["nngp"], written["ntk"])

    return run


def assert_equal(written, expected):
    for one, two in zip(written, expected, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-10)


def test_a_data_set_has_images_with_channels(kernels):
    images = wn.datasets.digits()[0][:3, ..., None]
    assert_equal(kernels("lenet:window=3", "--rows", "3", source="digits"), wn.kernel(wn.zoo.lenet(window=3))(images))


def test_tokens_are_whole_numbers_in_a_file(kernels, tmp_path):
    tokens = RNG.integers(0, 7, size=(3, 4))
    np.save(tmp_path / "t.npy", tokens)
    written = kernels("gpt:1:vocabulary=7", source=tmp_path / "t.npy")
    assert_equal(written, wn.kernel(wn.zoo.gpt(depth=1, vocabulary=7))(tokens))


def test_rows_are_taken_in_a_random_order_if_asked(tmp_path):
    data, out = tmp_path / "data.npz", tmp_path / "K.npz"
    np.savez(data, x=X[:, 0])
    arguments = ["kernel", str(data), "--net", "mlp:erf:1", "--get", "nngp", "--out", str(out)]
    assert main([*arguments, "--shuffle", "0", "--rows", "3"]) == 0
    with np.load(out) as written:
        rows = written["rows"]
        np.testing.assert_array_equal(rows, np.random.default_rng(0).permutation(4)[:3])
        assert list(rows) != sorted(rows)
        expected = wn.nngp(wn.zoo.mlp(wn.erf, 1))(X[rows, 0])
        np.testing.assert_allclose(written["nngp"], expected, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("mask", [MASK, MASK.astype(int)])
def test_sequences_have_a_mask(kernels, mask):
    written = kernels("rnn:masked", "--rows", "2", x=X, mask=mask)
    assert_equal(written, wn.kernel(wn.zoo.rnn(masked=True))(wn.samples(X[:2], mask=MASK[:2])))


def test_graphs_are_given_by_their_adjacency_or_operator(kernels):
    operators = np.stack([wn.gcn_operator(a) for a in ADJACENCY])
    expected = wn.kernel(wn.zoo.gcn())(wn.samples(X, graph=operators))
    assert_equal(kernels("gcn", x=X, adjacency=ADJACENCY), expected)
    assert_equal(kernels("gcn", x=X, graph=operators), expected)
    assert_equal(kernels("gcn", x=X[:1], adjacency=ADJACENCY[0]), wn.Kernel(*(k[:1, :1] for k in expected)))


def test_classes_of_graphs_are_predicted(tmp_path, capsys):
    np.savez(tmp_path / "g.npz", x=X, adjacency=ADJACENCY, y=[0, 1, 0, 1])
    assert main(["predict", *[str(tmp_path / "g.npz")] * 2, "--net", "gin:1"]) == 0
    assert "accuracy 100.00% on 4 samples" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arrays", "net", "message"),
    [
        ({"mask": MASK}, "rnn", "has a mask, which rnn does not read: write rnn:masked"),
        ({}, "rnn:masked", "has no mask for rnn:masked: save mask="),
        ({}, "gin", "has no graphs for gin: save adjacency="),
        ({"adjacency": ADJACENCY}, "rnn", "has graphs, which rnn does not read: choose from gcn, sage, gin"),
        ({"adjacency": ADJACENCY[:3]}, "gcn", "graph must be (4, 5, 5)"),
        ({"mask": MASK[:, :3]}, "rnn:masked", "the mask must be (4, 5)"),
    ],
)
def test_data_that_do_not_fit_the_network_are_refused(arrays, net, message, tmp_path, capsys):
    np.savez(tmp_path / "d.npz", x=X, **arrays)
    assert main(["kernel", str(tmp_path / "d.npz"), "--net", net, "--out", str(tmp_path / "K.npz")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "message"),
    [("digits:test", "are one set of 1797"), ("mnist:dev", "has parts train and test"), ("mnist", "set WIDENET_DATA")],
)
def test_parts_that_do_not_exist_are_refused(source, message, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("WIDENET_DATA", raising=False)
    assert main(["kernel", source, "--net", "mlp", "--out", str(tmp_path / "K.npz")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("net", "low", "high"), [pytest.param("gru", 1e-9, 1e-3, marks=pytest.mark.slow), ("rnn", 0, 0)]
)
def test_errors_of_integrals_are_written_if_asked(net, low, high, tmp_path, capsys):
    np.save(tmp_path / "x.npy", X[:2, :2])
    out = tmp_path / "K.npz"
    assert main(["kernel", str(tmp_path / "x.npy"), "--net", net, "--get", "nngp", "--error", "--out", str(out)]) == 0
    with np.load(out) as written:
        assert written.files == ["nngp", "nngp_error"]
        assert low <= written["nngp_error"].max() <= high
    assert "nngp_error at most" in capsys.readouterr().out
