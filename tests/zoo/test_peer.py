"""Agreement with neural-tangents 0.6.5 on the networks of the zoo that it can express (tests/golden/make_zoo.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import widenet as wn

FOLDER = Path(__file__).parents[1] / "golden"
ZOO, ARCHITECTURES = np.load(FOLDER / "zoo.npz"), np.load(FOLDER / "architectures.npz")
SPECS = {
    "mlp": "mlp:relu:3:sigma_b=0.1",
    "residual": "residual:relu:4:sigma_w=1.2:sigma_b=0.1:scale=0.7",
    "lenet": "lenet:window=3",
    "wide_resnet": "wide_resnet:16",
    "resnet": "resnet:14",
    "convnext": "convnext:3:patch=2:window=5",
    "vit": "vit:2:patch=2:sigma_qk=1.5:sigma_w=1.2:sigma_b=0.1",
    "gcn": "gcn:3",
    "gin": "gin:2",
}
BEFORE = {"myrtle5": "myrtle5", "myrtle7": "myrtle7", "myrtle10": "myrtle:10", "wide_resnet": "wide_resnet:10"}


def assert_agree(spec, x1, x2, golden, name):
    """Equal up to rounding; where samples meet the peer itself takes the arccos of a rounded cosine."""
    ours = wn.kernel(wn.zoo.parse(spec))(x1, x2)
    meets = np.zeros((3, 4), bool)
    meets[0, 0] = meets[1, 1] = True
    for quantity in ("nngp", "ntk"):
        peer, mine = golden[f"{name}/{quantity}"], getattr(ours, quantity)
        np.testing.assert_allclose(mine[~meets], peer[~meets], rtol=1e-8)
        np.testing.assert_allclose(mine, peer, rtol=1e-6)


LONG = {"resnet"}  # whose layers are those of wide_resnet


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in SPECS])
def test_kernels_are_those_of_the_peer(name):
    if name in wn.zoo.OPERATORS:
        x1, x2 = (wn.samples(ZOO[f"nodes{i}"], graph=ZOO[f"graph{i}"]) for i in (1, 2))
    else:
        x1, x2 = ZOO["images1"], ZOO["images2"]
    assert_agree(SPECS[name], x1, x2, ZOO, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", BEFORE)
def test_kernels_are_those_of_the_architectures_written_out(name):
    assert_agree(BEFORE[name], ARCHITECTURES["i1"], ARCHITECTURES["i2"], ARCHITECTURES, name)
