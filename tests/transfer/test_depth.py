"""Depth checks, alignment and distances from linearization."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from tests.transfer.models import X, Y, mlp, mlp_apply, residual
from widenet import parametrizations as wp
from widenet.transfer import block_linearization

BLOCKS = r"blocks/(\d+)/"


@pytest.mark.slow
def test_branches_without_a_factor_fail():
    report = wn.depth_check(
        residual(0), (2, 4, 8), (X, Y), branches=BLOCKS, width=32, seeds=2, parametrization=wp.mup, drop=0
    )
    assert report.exit_code == 1
    assert any("x of stream" in text and "L^-1/2" in text for text in (report.verdict, *report.reasons))


def test_an_architecture_knows_its_branches():
    def model(width, depth):
        block = wn.residual(wn.serial(wn.tanh, wn.dense()), scale=(depth / 2) ** -0.5)
        return wn.serial(wn.dense(), wn.repeat(block, depth), wn.tanh, wn.dense(width=4))

    report = wn.depth_check(model, (2, 3, 4), (X, Y), width=16, seeds=2)
    assert report.kinds["blocks"] == "mean"
    assert np.isfinite(report.slope("stream", "dx").value)


def test_branches_are_to_be_named():
    with pytest.raises(ValueError, match="branches is missing"):
        wn.depth_check(residual(0.5), (2, 4, 8), (X, Y))
    with pytest.raises(ValueError, match="fits no parameter"):
        wn.depth_check(residual(0.5), (2, 4, 8), (X, Y), branches="layers")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("alpha", "gamma", "matrices", "wrong"),
    [
        (0.5, 0.5, 1, None),
        (1, 0, 1, None),
        (1, 0, 2, None),
        (0.5, 0.5, 2, "nonlinear of blocks"),
        (0.5, 1, 1, "dx of stream"),
        (1, 0.5, 1, "dx of stream"),
    ],
)
def test_depth_schemes_pass_and_fail_as_theory_says(alpha, gamma, matrices, wrong):
    report = wn.depth_check(
        residual(alpha, matrices), (4, 8, 16, 32), (X, Y), branches=BLOCKS, block_depth=matrices, drop=1,
        parametrization=wp.mup.with_depth(wp.depth(alpha, gamma)),
    )  # fmt: skip
    texts = (report.verdict, *report.reasons)
    if matrices == 1:
        assert report.slope("blocks", "dW x").value == pytest.approx(-alpha - gamma, abs=0.2)
    assert report.passed if wrong is None else any(wrong in text for text in texts), str(report)


def trained(rate, width=64):
    init, _ = mlp(width)
    params = init(jax.random.key(0))
    gradient = jax.grad(lambda p: jnp.mean((mlp_apply(p, X) - Y) ** 2))(params)
    return params, jax.tree.map(lambda a, b: a - rate * b, params, gradient)


def test_alignment_exponents_are_those_of_their_definition():
    start, end = trained(0.5)
    found = wn.alignment(mlp_apply, start, end, X)
    h0, h1 = (np.tanh(X @ p["w1"]) for p in (start, end))
    w0, dw = start["w2"], end["w2"] - start["w2"]

    def exponent(matrix, x):
        size = [np.sqrt(np.mean(np.square(a))) for a in (x @ matrix, matrix, x)]
        return np.log(size[0] / size[1] / size[2]) / np.log(64)

    wanted = exponent(dw, h0), exponent(w0, h1 - h0), exponent(dw, h1 - h0)
    assert found.fan_in == (8, 64, 64)
    np.testing.assert_allclose([part[1] for part in found[2:]], wanted, atol=0.05)  # theirs, with drawn matrices
    assert found.alpha[1] > 0.8
    assert np.isnan(found.omega[0])
    assert "omega" in str(found)


@pytest.mark.slow
def test_random_changes_are_not_aligned():
    start, noise = (mlp(256)[0](jax.random.key(i)) for i in (0, 1))
    end = jax.tree.map(lambda a, b: a + 0.01 * b, start, noise)
    found = wn.alignment(mlp_apply, start, end, X)
    np.testing.assert_allclose(found.alpha[:2], 0.5, atol=0.03)  # the readout has four outputs, too few to say


def test_distance_from_linearization_is_of_second_order():
    far, near = (wn.linearization_distance(mlp_apply, *trained(rate), X) for rate in (0.1, 0.05))
    assert far / near == pytest.approx(2, abs=0.2)
    net = wn.serial(wn.dense(), wn.dense(width=2))
    p0, p1 = (wn.init(net, key, X.shape, width=5) for key in (0, 1))
    w, v = ([p["dense1"]["w"], p["dense2"]["w"]] for p in (p0, p1))
    second = X @ (v[0] - w[0]) @ (v[1] - w[1])  # f is bilinear: this is what first order leaves out
    wanted = np.linalg.norm(second) / np.linalg.norm(X @ v[0] @ v[1] - X @ w[0] @ w[1])
    assert wn.linearization_distance(net, p0, p1, X) == pytest.approx(wanted)


def test_distances_of_blocks_move_one_block_each():
    init, apply = residual(0.5, 2)(6, 3)
    p0, p1 = (init(jax.random.key(i)) for i in (0, 1))
    found = block_linearization(apply, p0, p1, X, BLOCKS)
    moved = {**p0, "blocks": [p0["blocks"][0], p1["blocks"][1], p0["blocks"][2]]}
    assert found["1"] == pytest.approx(wn.linearization_distance(apply, p0, moved, X))
    stacked = wn.serial(wn.dense(), wn.repeat(wn.serial(wn.tanh, wn.dense()), 3), wn.dense(width=2))
    q0, q1 = (wn.init(stacked, key, X.shape, width=5) for key in (0, 1))
    one = jax.tree.map(lambda a, b: a.at[2].set(b[2]), q0["repeat1"], q1["repeat1"])
    wanted = wn.linearization_distance(stacked, q0, {**q0, "repeat1": one}, X)
    assert block_linearization(stacked, q0, q1, X, "repeat1/")["2"] == pytest.approx(wanted)


def test_parameters_of_two_models_are_refused():
    start = mlp(4)[0](jax.random.key(0))
    for quantity in (wn.alignment, wn.linearization_distance):
        with pytest.raises(ValueError, match="different models"):
            quantity(mlp_apply, start, mlp(5)[0](jax.random.key(0)), X)
