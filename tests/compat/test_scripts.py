"""Scripts that were written for the peer run with the name `neural_tangents` meaning ours, and give what they gave."""

import runpy
import sys
from unittest import mock

import jax
import numpy as np
import pytest

import widenet.compat.neural_tangents as nt
from tests.compat.golden import CLOSE, FOLDER, agree, parts

SCRIPTS = FOLDER.parent / "golden"
INACCURATE = {"mlp_rectified_square": 1e-7}  # the peer, for nearly parallel inputs
QUICK = {  # of the architectures; tests/kernels has all of them in widenet's own words
    *("conv1d_transpose_valid_flatten", "avg_pool1d_same_edges", "resize1d_nearest", "graph_aggregate", "masked_conv"),
    *("masked_attention", "positions_all", "positions_equal", "conv2d_valid_flatten"),
}


def loaded(script):
    """The networks of a script, built from our layers."""
    ours = {"neural_tangents": nt, "neural_tangents.stax": nt.stax}
    with mock.patch.dict(sys.modules, ours), mock.patch.object(jax.config, "update"):
        return runpy.run_path(str(SCRIPTS / f"make_{script}.py"))


PEER, ARCHITECTURES = loaded("peer"), loaded("architectures")
RUNS = {
    **{name: (net, "x", {}) for name, net in PEER["VECTORS"].items()},
    **{name: (net, "s", {}) for name, net in PEER["SEQUENCES"].items()},
    **{name: (net, "c", {}) for name, net in ARCHITECTURES["SEQUENCES"].items()},
    **{name: (net, "c", {"pattern": ("g1", "g2")}) for name, net in ARCHITECTURES["GRAPHS"].items()},
    **{name: (net, "masked", {"mask_constant": 100.0}) for name, net in ARCHITECTURES["MASKS"].items()},
    **{name: (net, "i", {}) for name, net in ARCHITECTURES["IMAGES"].items()},
    **{name: (net, "v", {}) for name, net in ARCHITECTURES["VOLUMES"].items()},
    "positions_all": (ARCHITECTURES["POSITIONS"], "c", {}),
    "positions_equal": (ARCHITECTURES["POSITIONS"], "c", {"diagonal_spatial": True}),
}
EXPECTED = {**np.load(SCRIPTS / "architectures.npz"), **np.load(SCRIPTS / "peer.npz")}


def batches(kind):
    """Both batches of one kind of data."""
    if kind != "masked":
        return EXPECTED[f"{kind}1"], EXPECTED[f"{kind}2"]
    return tuple(np.where(EXPECTED[f"m{i}"][..., None], EXPECTED[f"c{i}"], 100.0) for i in (1, 2))


def is_slow(name):
    return name not in QUICK and RUNS[name][1] in "civ"


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * is_slow(n)) for n in RUNS])
def test_a_network_of_the_script_has_the_kernels_of_the_peer(name):
    net, kind, options = RUNS[name]
    if "pattern" in options:
        options = {"pattern": tuple(EXPECTED[graph] for graph in options["pattern"])}
    made = net[2](*batches(kind), ("nngp", "ntk"), **options)
    expected, close = parts(name, EXPECTED), INACCURATE.get(name, CLOSE)
    agree(made.nngp, expected["nngp"], close)
    agree(made.ntk, expected["ntk"], close)


def test_every_layer_of_the_peer_is_in_some_network():
    text = "".join((FOLDER / name).read_text() for name in ("nets.py", "calls.py"))
    text += "".join((SCRIPTS / f"make_{name}.py").read_text() for name in ("peer", "architectures"))
    other = {"AggregateImplementation", "AttentionMechanism", "Padding", "PositionalEmbedding", "from_net"}
    other |= {"Bool", "Diagonal", "MaskedArray", "layer", "requires", "supports_masking", "unmask_fn"}
    assert not [name for name in set(nt.stax.__all__) - other if f"s.{name}" not in text]
