"""Agreement with neural-tangents 0.6.5 on architectures with positions (tests/golden/make_architectures.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import widenet as wn
from tests.architectures import GRAPHS, KEEPS_POSITIONS, MASKED, PEER_ARCHITECTURES, POSITIONS

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "architectures.npz")
LARGE = {"i:myrtle7", "i:myrtle10", "i:wide_resnet"}  # the zoo's are compared too


def data(kind, name):
    """The data of a net: x1 and x2, whose first samples are equal and whose second ones are antipodal."""
    x1, x2 = GOLDEN[f"{kind}1"], GOLDEN[f"{kind}2"]
    if name in GRAPHS:  # the peer adds up over the first index of its pattern
        return tuple(wn.samples(x, graph=GOLDEN[g].swapaxes(1, 2)) for x, g in ((x1, "g1"), (x2, "g2")))
    if name in MASKED:
        return tuple(wn.samples(x, mask=GOLDEN[m]) for x, m in ((x1, "m1"), (x2, "m2")))
    return x1, x2


def assert_agrees(ours, name, meets):
    """Equal up to rounding; where samples meet the peer itself takes the arccos of a rounded cosine."""
    for quantity in ("nngp", "ntk"):
        peer, mine = GOLDEN[f"{name}/{quantity}"], getattr(ours, quantity)
        assert mine.shape == peer.shape
        np.testing.assert_allclose(mine[~meets], peer[~meets], rtol=1e-8, atol=1e-11)
        np.testing.assert_allclose(mine, peer, rtol=1e-6)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in PEER_ARCHITECTURES]
)
def test_kernels_are_those_of_the_peer(name):
    kind, _, bare = name.partition(":")
    x1, x2 = data(kind, bare)
    meets = np.zeros((len(x1), len(x2)), bool)
    meets[0, 0] = meets[1, 1] = True
    assert_agrees(wn.kernel(PEER_ARCHITECTURES[name])(x1, x2), bare, meets)


@pytest.mark.parametrize("name", POSITIONS)
def test_kernels_of_outputs_with_positions_are_those_of_the_peer(name):
    x1, x2 = GOLDEN["c1"], GOLDEN["c2"]
    meets = np.zeros(GOLDEN[f"{name}/nngp"].shape, bool)
    meets[0, 0] = meets[1, 1] = True
    assert_agrees(wn.kernel(KEEPS_POSITIONS, positions=POSITIONS[name])(x1, x2), name, meets)
