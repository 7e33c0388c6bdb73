"""Parametrizations of widenet's own networks, whose programs say what is infinite."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import widenet as wn
from tests.nets import NETS as NETWORKS
from widenet import parametrizations as wp

LAYER = wn.serial(wn.relu, wn.dense(sigma_b=0.1))
CNN = wn.serial(wn.conv(3), wn.relu, wn.conv_depthwise(3), wn.conv(3), wn.relu, wn.flatten, wn.dense(width=10))
NETS = {
    "repeated": (wn.serial(wn.dense(), wn.repeat(wn.residual(LAYER), 6), wn.dense(width=1)), (1, 8), 6),
    "written out": (wn.serial(wn.dense(), *[wn.residual(LAYER)] * 3, wn.dense(width=1)), (1, 8), 3),
    "branch in a branch": (
        wn.serial(wn.dense(), wn.residual(wn.serial(LAYER, wn.residual(LAYER))), wn.dense()),
        (1, 8),
        1,
    ),
    "no branch": (CNN, (1, 6, 6, 3), 0),
}


@pytest.mark.parametrize("name", NETS)
def test_branches_are_counted(name):
    net, shape, blocks = NETS[name]
    found = wn.specs(net, shape, 16).specs
    assert found.depth == max(blocks, 1)
    inside = {leaf.path for leaf in found if leaf.branch}
    ends = {"dense1/w", f"dense{2 if name == 'repeated' else blocks + 2}/w"}
    assert not (inside & ends if name != "branch in a branch" else inside & {"dense1/w", "dense4/w"})
    assert bool(inside) == bool(blocks)


def test_roles_of_convolutions():
    roles = wn.specs(CNN, (1, 6, 6, 3), 16).specs.roles()
    assert sorted(roles.values()) == ["hidden", "input", "output", "vector"]  # a depthwise one is one number a channel
    assert roles["conv1/w"] == "input"


@pytest.mark.parametrize("name", NETWORKS)
def test_the_specs_of_a_network_fit_its_parameters(name):
    net, sample = NETWORKS[name]
    shape = (2, *sample)
    made = wn.specs(net, shape, 16, parametrization=wp.depth_mup)
    params = jax.eval_shape(lambda: wn.init(net, 0, shape, 16))
    made.specs.check(params)
    assert "tap" not in {
        word for leaf in made.specs for word, grows in zip(leaf.axes, leaf.infinite, strict=True) if grows
    }


def test_mup_draws_a_smaller_readout():
    net, shape, _ = NETS["written out"]
    ntk, mup = (wn.init(net, 0, shape, 64, parametrization=p) for p in (None, wn.mup))
    np.testing.assert_array_equal(mup["dense2"]["w"], ntk["dense2"]["w"])
    np.testing.assert_allclose(mup["dense5"]["w"], ntk["dense5"]["w"] / 8, rtol=1e-6)
    like_base = wn.init(net, 0, shape, 64, parametrization=wn.mup, base_width=64)
    np.testing.assert_array_equal(like_base["dense5"]["w"], ntk["dense5"]["w"])
    same = wn.init(net, 0, shape, 64, parametrization=wp.ntp)
    np.testing.assert_array_equal(same["dense5"]["w"], ntk["dense5"]["w"])


def test_a_base_of_no_depth():
    with pytest.raises(ValueError, match="base_depth is the number of branches"):
        wn.specs(NETS["written out"][0], (1, 8), base_depth=0)
