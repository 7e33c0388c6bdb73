"""The parts of a change, against products by hand; sizes; slopes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name
from scipy.stats import linregress

import widenet as wn
from tests.transfer.models import X, mlp, mlp_apply
from widenet.transfer.model import layerwise
from widenet.transfer.probes import probe, rms
from widenet.transfer.slopes import slope


def two_times(seed=0, width=11):
    init, _ = mlp(width)
    start, noise = (init(jax.random.key(seed + i)) for i in (0, 1))
    return start, jax.tree.map(lambda a, b: a + 0.3 * b, start, noise)


def test_parts_of_a_change_are_those_computed_by_hand():
    start, end = two_times()
    found = probe(mlp_apply, start, X).changes(start, end, X)
    given = {}
    for name, params in (("then", start), ("now", end)):
        h1 = np.tanh(X @ params["w1"])
        given[name] = [X, h1, np.tanh(h1 @ params["w2"])]
    for i, weight in enumerate(("w1", "w2", "w3")):
        x0, x, w0, w = given["then"][i], given["now"][i], start[weight], end[weight]
        for name, wanted in {
            "x0": x0, "dx": x - x0, "w0_x0": x0 @ w0, "dw_x": x @ (w - w0), "w0_dx": (x - x0) @ w0,
            "dw_dx": (x - x0) @ (w - w0),
        }.items():  # fmt: skip
            np.testing.assert_allclose(getattr(found, name)[i], wanted, atol=1e-12, err_msg=f"{name} of {weight}")
    np.testing.assert_allclose(found.df, mlp_apply(end, X) - mlp_apply(start, X), atol=1e-12)


def test_a_weight_used_twice_with_multipliers_biases_and_names():
    def apply(params, x):
        h = jnp.tanh(3 * x @ params["w"] + params["b"])
        h = checkpoint_name(h, "hidden")
        return 0.5 * jnp.tanh(h @ params["w"])

    rng = np.random.default_rng(1)
    start, end = ({"w": rng.normal(size=(8, 8)), "b": rng.normal(size=8)} for _ in range(2))
    seen = probe(apply, start, X)
    found = seen.changes(start, end, X)
    assert seen.layers == ("w", "w #2")
    assert seen.names == ("hidden",)
    h0, h1 = (np.tanh(3 * X @ p["w"] + p["b"]) for p in (start, end))
    np.testing.assert_allclose(found.dw_x[0], 3 * X @ (end["w"] - start["w"]), atol=1e-12)
    np.testing.assert_allclose(found.dw_x[1], h1 @ (end["w"] - start["w"]), atol=1e-12)
    np.testing.assert_allclose(found.w0_dx[1], (h1 - h0) @ start["w"], atol=1e-12)
    np.testing.assert_allclose(found.d_named[0], h1 - h0, atol=1e-12)


def test_a_tied_embedding_is_named_and_the_sum_of_parts_kept():
    def apply(params, tokens):
        h = jnp.tanh(params["e"][tokens] @ params["w"]) + params["e"][tokens]
        return h @ params["e"].T

    rng = np.random.default_rng(2)
    start, end = ({"w": rng.normal(size=(5, 5)), "e": rng.normal(size=(7, 5))} for _ in range(2))
    seen = probe(apply, start, np.array([0, 3, 6]))
    found = seen.changes(start, end, np.array([0, 3, 6]))
    assert seen.tied == ("e",)
    rows = end["e"][[0, 3, 6]]
    np.testing.assert_allclose(found.dw_x[0], rows @ (end["w"] - start["w"]), atol=1e-12)
    np.testing.assert_allclose(found.dw_x[1], 0)
    np.testing.assert_allclose(found.w0_dx[1], found.df, atol=1e-12)


def test_layers_of_repeated_blocks_are_seen_one_by_one():
    net = wn.serial(wn.dense(), wn.repeat(wn.serial(wn.tanh, wn.dense(sigma_b=0.2)), 3), wn.tanh, wn.dense(width=2))
    params = wn.init(net, 0, X.shape, width=9)
    apply, unroll = layerwise(net, X)
    np.testing.assert_allclose(apply(unroll(params), X), wn.apply(net, params, X), atol=1e-12)
    assert len(probe(apply, unroll(params), X).layers) == 5


def test_root_mean_squares_do_not_overflow():
    assert rms(jnp.full(3, 1e200)) == pytest.approx(1e200)
    assert rms(jnp.zeros(3)) == 0
    assert not jnp.isfinite(rms(jnp.array([1.0, jnp.inf])))


def test_slopes_are_those_of_regression_and_the_interval_that_of_t():
    rng = np.random.default_rng(3)
    n = np.array([8, 16, 64, 128])
    values = n[:, None] ** -0.4 * np.exp(0.1 * rng.normal(size=(4, 5)))
    each = [linregress(np.log2(n), np.log2(column)).slope for column in values.T]
    found = slope(n, values)
    half = 2.7764451 * np.std(each, ddof=1) / 5**0.5  # t of 4 degrees of freedom, from tables
    np.testing.assert_allclose(found, (np.mean(each), np.mean(each) - half, np.mean(each) + half), rtol=1e-6)


def test_slopes_of_what_is_not_finite_or_zero_say_so():
    n, values = np.array([1, 2, 4]), np.ones((3, 2))
    values[2, 0] = np.nan
    assert slope(n, values).value == np.inf
    assert np.isnan(slope(n, np.zeros((3, 2))).value)
    assert slope(n, np.array([[1.0], [1.0], [0.0]])).value == -np.inf
