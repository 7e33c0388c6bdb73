"""Advice: networks with other scales, the ranking, the code that is pasted, the command."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

import widenet as wn
from widenet.cli import main
from widenet.diagnostics.advice import Scales, rescaled

X = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def advice():
    return wn.recommend(wn.zoo.mlp(wn.gelu, 16, sigma_w=1.1), X, width=64)


@pytest.mark.parametrize("make", [wn.zoo.mlp, wn.zoo.residual])
def test_a_rescaled_network_is_the_one_written_so(make):
    scaled = rescaled(make(wn.relu, 4, sigma_w=0.3), Scales(1.2, 0.0))
    np.testing.assert_allclose(wn.nngp(scaled)(X), wn.nngp(make(wn.relu, 4, sigma_w=1.2))(X), rtol=1e-6)


def test_the_critical_point_beats_gains_that_are_not_gelu_s(advice):
    costs = {option.name: option.cost for option in advice.options}
    assert list(costs.values()) == sorted(costs.values())
    for other in ("He", "LeCun (flax, keras)", "torch's default", "as written"):
        assert costs["critical point of gelu"] < costs[other]
    assert costs["torch's default"] > 10
    assert advice.best.report.verdict == "fine"
    for text in (advice.best.name, "vanishing", "is multiplied by"):
        assert text in str(advice)


def test_the_ranking_is_that_of_the_measurement_where_there_is_no_theory():
    net = wn.serial(wn.dense(), wn.batch_norm(), wn.relu, wn.dense(), wn.relu, wn.dense(width=2))
    made = wn.recommend(net, X, width=32)
    assert all(option.theory is None and option.cost == option.measured.cost for option in made.options)


def test_relu_has_no_edge_of_chaos_with_biases_and_says_so():
    made = wn.recommend(wn.zoo.mlp(wn.relu, 3), X, width=32)
    (why,) = made.missing.values()
    assert "scale-invariant" in why
    assert why in str(made)


@pytest.mark.float32
@pytest.mark.parametrize("framework", ["jax", "flax", "torch"])
def test_the_code_runs_and_draws_from_the_best_scales(advice, framework):
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    scope: dict = {}
    exec(compile(advice.code(framework), framework, "exec"), scope)
    if framework == "flax":
        import jax

        w = scope["layer"].init(jax.random.key(0), np.ones((1, 64), np.float32))["params"]["kernel"]
    else:
        w = scope["w"] if framework == "jax" else scope["module"].weight.detach().numpy()
    assert w.shape == (64, 64)
    assert abs(float(np.std(w)) * 8 / advice.best.scales.sigma_w - 1) < 5 / np.sqrt(2 * 64**2)


def test_bad_input_is_refused(advice, tmp_path):
    with pytest.raises(ValueError, match="jax, flax, torch"):
        advice.code("keras")
    with pytest.raises(ValueError, match="picture must be"):
        advice.plot(tmp_path / "advice.txt")
    with pytest.raises(ValueError, match="0 activations and 1 layers"):
        wn.recommend(wn.dense(), X)


def test_the_command_prints_a_ranking_and_code_and_writes_a_picture(tmp_path, capsys):
    out = tmp_path / "init.png"
    command = ["init", "--net", "mlp:tanh:3", "--width", "32", "--shape", "6", "--out", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "critical point of tanh" in printed
    assert "nn.Dense(32" in printed
    assert out.read_bytes().startswith(b"\x89PNG")
    assert main(command) == 2
    assert "--force" in capsys.readouterr().err
