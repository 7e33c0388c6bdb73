"""Steps of groups of parameters, and the learning rates that make them of order one."""

from __future__ import annotations

from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from tests.parametrizations.models import apply, mlp, transformer
from widenet import parametrizations as wp
from widenet.precision import float64

GROUPS = {"bias": "bias$", "embedding": "first", "up": "hidden", "head": ""}


def test_exponents_are_those_of_the_reference_table():
    wanted = {wp.sgd: (0, 0, 1, 1), wp.adamw: (Fraction(1, 2), Fraction(1, 2), Fraction(3, 2), 1)}
    for optimizer, values in wanted.items():
        made = wp.lr_exponents(optimizer)
        assert tuple(made[g] for g in ("embedding", "bias", "query", "head")) == values
    assert wp.lr_exponents(wp.adam, wp.mup)["down"] == 1


@pytest.mark.parametrize("optimizer", [wp.sgd, wp.adamw], ids=str)
def test_exponents_are_the_factors_of_a_model(optimizer):
    specs = wp.infer(transformer(8), transformer(32), stacked="^blocks")
    made = wp.factors(specs, wp.ntp.to_form("A"), optimizer).column("rate")
    paths = {"query": "blocks/attention/query/kernel", "norm": "blocks/norm/scale", "head": "head/kernel"}
    for group, path in paths.items():
        assert made[path] == pytest.approx(4 ** -float(wp.lr_exponents(optimizer)[group]))


@pytest.mark.parametrize(("optimizer", "power"), [(wp.sgd, 2), (wp.lion, 1)], ids=str)
def test_steps_are_sums_over_the_jacobian(optimizer, power):
    with float64():
        params, x = mlp(5, dtype=float), jax.random.normal(jax.random.key(1), (3, 8))
        rates = {"first/kernel": 3.0, "hidden/kernel": 0.5, "readout/kernel": 2.0} | {
            f"{layer}/bias": 7.0 for layer in ("first", "hidden", "readout")
        }
        made = wp.group_steps(apply, params, x, GROUPS, optimizer=optimizer, rates=rates)
        jacobian = jax.jacrev(apply)(params, x)  # [n, k, ...]
        sums = {
            f"{layer}/{name}": float(np.sum(np.abs(leaf) ** power) / 12)
            for layer, leaves in jacobian.items()
            for name, leaf in leaves.items()
        }
    assert made["embedding"] == pytest.approx(3.0 * sums["first/kernel"])
    assert made["head"] == pytest.approx(2.0 * sums["readout/kernel"])
    assert made["bias"] == pytest.approx(7.0 * sum(sums[f"{layer}/bias"] for layer in jacobian))


def test_steps_of_sgd_add_up_to_the_ntk():
    net = wn.zoo.vit(depth=1, patch=2)
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 1))
    readout = wn.serial(net, wn.dense(width=2))
    params = wn.init(readout, 0, x.shape, 8)
    made = wp.group_steps(wn.function_of(readout), params, x.astype(np.float32))
    theta = wn.empirical_ntk(readout, params)(x)
    assert sum(made.values()) == pytest.approx(np.trace(theta) / 2, rel=1e-4)


def test_what_cannot_be_is_said():
    params, x = mlp(4), jnp.ones((1, 8))
    with pytest.raises(ValueError, match="no group for first/kernel, hidden/kernel, readout/kernel"):
        wp.group_steps(apply, params, x, {"bias": "bias"})
    with pytest.raises(ValueError, match="rates has none for hidden/bias"):
        wp.group_steps(apply, params, x, rates={f"{n}/kernel": 1.0 for n in params} | {"first/bias": 1.0})
    with pytest.raises(ValueError, match="a step of muon is not a sum over entries"):
        wp.group_steps(apply, params, x, optimizer=wp.muon())
