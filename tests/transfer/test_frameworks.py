"""Models of other libraries, where these are installed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest

import widenet as wn
from tests.transfer.models import WIDTHS, X, Y
from widenet import parametrizations as wp

BATCH = X.astype("float32"), Y.astype("float32")
pytestmark = [pytest.mark.slow, pytest.mark.float32]


def test_flax_modules_with_biases_and_norms_under_muon():
    nn = pytest.importorskip("flax.linen")

    class Net(nn.Module):
        width: int

        @nn.compact
        def __call__(self, x):
            x = nn.LayerNorm()(nn.tanh(nn.Dense(self.width)(x)))
            return nn.Dense(4)(nn.tanh(nn.Dense(self.width)(x)))

    report = wn.coordinate_check(Net, WIDTHS, BATCH, optimizer=wp.muon())
    assert report.passed, str(report)
    assert report.kinds["params/Dense_1/kernel"] == "hidden"


def test_equinox_modules_without_what_is_no_array():
    eqx = pytest.importorskip("equinox")

    def model(width):
        def parts(key):
            return eqx.partition(eqx.nn.MLP(8, 4, width, 2, activation=jnp.tanh, key=key), eqx.is_inexact_array)

        static = parts(jax.random.key(0))[1]
        return lambda key: parts(key)[0], lambda params, x: jax.vmap(eqx.combine(params, static))(x)

    report = wn.coordinate_check(model, WIDTHS, BATCH, infer={"convention": "equinox"})
    assert report.passed, str(report)


def test_transformed_functions_of_haiku():
    hk = pytest.importorskip("haiku")

    def model(width):
        return hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([width, width, 4], activation=jnp.tanh)(x)))

    report = wn.coordinate_check(model, WIDTHS, BATCH, infer={"convention": "haiku"})
    assert report.passed, str(report)
