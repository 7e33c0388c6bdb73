"""Agreement with neural-tangents 0.6.5, by values made in an environment of its own (tests/golden/make_peer.py)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import widenet as wn
from tests.nets import PEER

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "peer.npz")


@pytest.mark.parametrize("name", PEER)
def test_kernels_are_those_of_the_peer(name):
    net, shape = PEER[name]
    x1, x2 = (GOLDEN[letter + i] for letter in "xs"[len(shape) - 1] for i in "12")
    k = wn.kernel(net)(x1, x2)
    for quantity in ("nngp", "ntk"):
        peer = GOLDEN[f"{name}/{quantity}"]
        known = np.isfinite(peer)  # the peer's rectified powers are NaN where x1 = x2
        ours = getattr(k, quantity)
        assert np.isfinite(ours).all()
        equal = np.isclose(np.abs(_cosines(x1, x2)), 1, rtol=0, atol=1e-12)
        apart = known & ~equal
        np.testing.assert_allclose(ours[apart], peer[apart], rtol=1e-10, atol=1e-12)
        # the peer takes the arccos of a rounded cosine, so where x1 = +-x2 it is off by 1e-8 a layer itself
        np.testing.assert_allclose(ours[known & equal], peer[known & equal], rtol=1e-6)


def _cosines(x1, x2):
    a, b = (x.reshape(len(x), -1) for x in (x1, x2))
    return a @ b.T / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1)
