"""Sweeps over learning rates: runs as by hand, optima, drift and score of known curves, files and pictures."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

import widenet as wn
from tests.transfer.models import X, Y, mlp, mlp_apply, residual
from widenet import parametrizations as wp
from widenet.transfer import Sweep

RATES = 2.0 ** np.arange(-6, 3)


def test_a_run_is_training_by_hand():
    def make(width):
        init, apply = mlp(width)
        return SimpleNamespace(init=init, apply=apply, optimizer=optax.sgd)

    sweep = wn.lr_sweep(make, (4, 8), (X, Y), (0.1, 0.2, 1e9), steps=3, seeds=2, chunk=4)
    params = mlp(8)[0](jax.random.fold_in(jax.random.key(0), 1))

    def loss(params):
        return jnp.mean((mlp_apply(params, X) - Y) ** 2)

    assert sweep.start[1, 1] == pytest.approx(float(loss(params)))
    for _ in range(3):
        params = jax.tree.map(lambda p, g: p - 0.2 * g, params, jax.grad(loss)(params))
    assert sweep.loss[1, 1, 1] == pytest.approx(float(loss(params)))


def curves(optima, depth=2.0):
    """log2 loss is a parabola of log2 rate."""
    at = np.log2(RATES)[:, None]
    loss = [2 ** (-depth + 0.3 * (at - np.array(centres)) ** 2) for centres in optima]
    return Sweep("width", (8, 16, 32)[: len(optima)], RATES, np.array(loss), np.ones((len(optima), 2)))


def test_optimum_drift_and_score_of_parabolas():
    sweep = curves([(-2.2, -1.8), (-3.2, -2.8), (-4.2, -3.8)])
    np.testing.assert_allclose(sweep.optimum, 2.0 ** np.array([-2, -3, -4]))
    np.testing.assert_allclose(sweep.optimum_error, 0.2)
    assert sweep.drift.value == pytest.approx(-1)
    assert sweep.transfer_score == pytest.approx(1 - 0.3 * 2**2 / (2 - 0.3 * 0.04))  # at -2 instead of -4
    assert not sweep.at_edge.any()
    assert "octaves" in str(sweep)


def test_a_rate_that_diverges_at_the_largest_size_has_no_score():
    sweep = curves([(-2, -2), (-3, -3), (-5, -5)])
    sweep.loss[2, 3:] = np.inf
    assert sweep.transfer_score == -np.inf
    np.testing.assert_allclose(sweep.optimum[2], 2.0**-5)
    assert curves([(-9, -9), (-3, -3), (-3, -3)]).at_edge.tolist() == [True, False, False]


def test_losses_without_a_logarithm_have_no_score():
    sweep = curves([(-2, -2), (-3, -3)])
    sweep.loss[0, 0, 0] = -1
    with pytest.raises(ValueError, match="not positive"):
        _ = sweep.transfer_score


def test_results_are_saved_and_drawn(tmp_path):
    sweep = curves([(-2, -2.1), (-3, -3.1), (-4, -4.1)])
    sweep.loss[0, -1, 0] = np.inf
    with sweep.save(tmp_path / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * len(RATES) * 2
    assert float(rows[3]["loss"]) == sweep.loss[0, 1, 1]
    content = json.loads(sweep.save(tmp_path / "sweep.json").read_text())
    assert content["loss"][0][-1] == [None, sweep.loss[0, -1, 1]]
    assert sweep.plot(tmp_path / "sweep.png").stat().st_size > 10_000
    with pytest.raises(ValueError, match="csv or"):
        sweep.save(tmp_path / "sweep.txt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": (8,)}, "2 widths"),
        ({"widths": 8}, "two widths or more"),
        ({"depths": (2, 4)}, "the width is one number"),
        ({"widths": 8, "depths": (2, 4)}, "function of two numbers"),
        ({"learning_rates": (0.1, 0.2)}, "three or more"),
        ({"learning_rates": (0.1, 0.3, 0.2)}, "increase"),
        ({"learning_rates": (-1, 0.3, 2)}, "positive"),
        ({"steps": 0}, "steps"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_bad_input_is_named(options, message):
    given = {"widths": (8, 16), "data": (X, Y), "learning_rates": (0.1, 0.2, 0.3), **options}
    with pytest.raises(ValueError, match=message):
        wn.lr_sweep(mlp, **given)


def digits(width):
    def init(key):
        keys = jax.random.split(key, 3)
        shapes, stds = ((64, width), (width, width), (width, 10)), (0.35, (2 / width) ** 0.5, width**-0.5)
        return [jax.random.normal(k, shape) * std for k, shape, std in zip(keys, shapes, stds, strict=True)]

    def apply(params, x):
        return jax.nn.relu(jax.nn.relu(x @ params[0]) @ params[1]) @ params[2]

    return init, apply


@pytest.mark.slow
def test_over_depth_the_best_learning_rate_moves_down_unless_branches_learn_more_slowly():
    """yang2023, fig. 10: without L^-1/2 in the learning rate of branches, the optimum moves down."""
    data = np.random.default_rng(1).normal(size=(64, 8)), np.random.default_rng(2).normal(size=(64, 4))
    options = {"depths": (2, 8, 32), "branches": r"blocks/(\d+)/", "steps": 30}
    drifts = [
        wn.lr_sweep(
            residual(0.5), 32, data, 2.0 ** np.arange(-9, -1), parametrization=wp.mup.with_depth(scheme), **options
        ).drift.value
        for scheme in (wp.depth_sqrt, wp.depth(0.5, 0))
    ]
    assert drifts[1] < -0.15 < drifts[0]


@pytest.mark.slow
@pytest.mark.float32
def test_the_best_learning_rate_stays_in_mup_and_slides_in_sp():
    data = load_digits()
    x, y = jnp.asarray(data.data[:1024] / 16 - 0.3, jnp.float32), jnp.asarray(data.target[:1024])
    found = {}
    for parametrization in (wp.mup, wp.sp):
        found[parametrization.name] = wn.lr_sweep(
            digits, (64, 128, 256, 512, 1024), (x, y), 2.0 ** np.arange(-12, -2), steps=40, batch_size=256,
            parametrization=parametrization,
        )  # fmt: skip
    moved = {name: np.log2(sweep.optimum / sweep.optimum[0]) for name, sweep in found.items()}
    assert (np.abs(moved["muP"]) < 1 + found["muP"].optimum_error).all()
    assert moved["SP"][-1] < -1.4
    assert found["muP"].drift.low < 0 < found["muP"].drift.high
    assert found["SP"].drift.high < 0
    assert found["muP"].transfer_score > 0.95
    assert found["SP"].transfer_score < 0.9


def scanned(depth):
    """Stacked blocks, as many as is asked."""

    def init(key):
        return {"b": jax.random.normal(key, (depth, 8, 8)) / 8**0.5}

    return init, lambda params, x: jax.lax.scan(lambda h, w: (h + h @ w, None), x, params["b"])[0][:, :4]


def test_depths_in_the_place_of_widths_are_refused_where_matrices_count():
    options = {"infer": {"stacked": "b"}, "steps": 1, "seeds": 1}
    with pytest.raises(ValueError, match=r"give model\(width, depth\) and depths="):
        wn.lr_sweep(scanned, (2, 4), (X, Y), RATES, optimizer=wp.muon(), **options)
