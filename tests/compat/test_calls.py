"""Every call that the peer was asked for gives the same here."""

import numpy as np
import pytest

import widenet.compat.neural_tangents as nt
from tests.compat.calls import calls
from tests.compat.golden import GOLDEN, agree, data, parts
from tests.compat.names import public_names

CALLS = calls(nt.stax)
LONG = {  # whose layers are in quicker calls too
    *("masked_valid", "standard", "aggregate_rows", "norm_all", "concat_positions", "attention_concat"),
    *("mse_of_all_outputs", "image_slice"),
}
LACKING = {"experimental"}  # models of TensorFlow
RICHER = {  # `to_dense` is a function there, and the number of points is not needed here
    "Aggregate aggregate_axis=None batch_axis=0.0 channel_axis=-1.0 to_dense implementation='DENSE'",
    "ElementwiseNumerical fn deg df=None",
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in CALLS])
def test_a_call_gives_what_the_peer_gives(name):
    made, expected = CALLS[name](nt, data()), parts(name)
    assert set(made) == set(expected)
    for part, value in expected.items():
        agree(made[part], value)


@pytest.mark.parametrize("module", ["neural_tangents", "stax", "predict", "Kernel"])
def test_no_public_name_is_missing_and_arguments_are_the_same(module):
    theirs = set(map(str, GOLDEN[f"names/{module}"])) - LACKING - RICHER
    assert theirs <= set(public_names(nt)[module])
    assert len(theirs) >= 7


def test_names_with_other_arguments_are_there():
    assert all(hasattr(nt.stax, described.split()[0]) for described in RICHER)
    with pytest.raises(AttributeError, match="no 'experimental'; for TensorFlow"):
        nt.experimental  # noqa: B018


def test_the_order_of_positions_is_always_the_natural_one():
    """The peer reverses (h, w) after an odd number of convolutions, and says so in `is_reversed`."""
    kernel = nt.stax.Conv(4, (2, 3))[2](data()["i1"])
    assert not kernel.is_reversed
    assert kernel.nngp.shape[2:] == (3, 3, 3, 3)
    assert nt.stax.Conv(4, (1, 3))[2](data()["i1"], get="nngp").shape[2:] == (4, 4, 3, 3)
    turned = nt.stax.Conv(4, (1, 3))[2](data()["i1"]).reverse()
    assert turned.nngp.shape[2:] == (3, 3, 4, 4)
    after = nt.stax.serial(nt.stax.Flatten(), nt.stax.Dense(1))[2]
    np.testing.assert_allclose(after(turned).ntk, after(turned.reverse()).ntk)
