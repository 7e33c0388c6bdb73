"""Advice: what is compared, against theory and the signal report, the ranking, the command."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import widenet as wn
from widenet.cli import main
from widenet.diagnostics.advice_rewrite import Scales, Values, layers_of, rewritten, skips_of, stations
from widenet.diagnostics.theory import unrolled
from widenet.program.trace import trace

X = np.random.default_rng(0).normal(size=(8, 6)).astype(np.float32)
X *= np.sqrt(6) / np.linalg.norm(X, axis=1, keepdims=True)  # of one length, as theory of the spread takes them


def two_weights(x):
    h = wn.dense(x)
    for _ in range(3):
        h = h + 0.5 * wn.dense(wn.relu(wn.dense(wn.relu(h))))
    return wn.dense(wn.relu(h), width=3)


def named(advice):
    return {option.name: option for option in advice.options}


@pytest.fixture(scope="module")
def gelu():
    return wn.recommend(wn.zoo.mlp(wn.gelu, 12, sigma_w=1.1), X, width=128)


@pytest.mark.parametrize("make", [wn.zoo.mlp, wn.zoo.residual])
def test_a_rewritten_network_is_the_one_written_so(make):
    program = unrolled(trace(make(wn.relu, 4, sigma_w=0.3), X.shape))
    scaled = rewritten(program, Values([Scales(1.2, 0.0)] * len(layers_of(program))))
    np.testing.assert_allclose(wn.nngp(scaled)(X), wn.nngp(make(wn.relu, 4, sigma_w=1.2))(X), rtol=1e-6)


def test_the_multiplier_takes_the_place_of_the_number_that_a_branch_has():
    program = unrolled(trace(two_weights, X.shape))
    made = rewritten(program, Values([Scales(1.0, 0.0)] * len(layers_of(program)), 0.5))
    np.testing.assert_allclose(wn.nngp(made)(X), wn.nngp(two_weights)(X), rtol=1e-6)


def test_skip_connections_are_found_and_are_where_signals_are_compared():
    def scaled_shortcut(x):
        h = wn.dense(x)
        h = 0.7 * h + wn.dense(wn.relu(h))
        inner = wn.relu(h)
        inner = wn.dense(inner)
        inner = inner + wn.dense(wn.relu(inner))  # inside of the next branch
        return wn.dense(wn.relu(h + inner))

    program = unrolled(trace(scaled_shortcut, X.shape))
    skips = skips_of(program)
    assert [len(skip.weights) for skip in skips] == [1, 2]
    assert [type(var.op).__name__ for var in stations(program)] == ["Linear", "LinComb", "LinComb", "Linear"]
    assert not skips_of(unrolled(trace(wn.zoo.mlp(wn.relu, 3), X.shape)))


def test_the_measurement_is_that_of_the_signal_report(gelu):
    option = named(gelu)["LeCun (flax, keras)"]
    net = wn.zoo.mlp(wn.gelu, 12, sigma_w=1.0)
    params = {name: {"w": entry["w"]} for name, entry in gelu.setting.gaussian.items()}
    written_out = wn.serial(wn.dense(), *[wn.gelu, wn.dense()] * 12)
    report = wn.signal_report(written_out, params, X, probes=64)
    for name in ("q", "c", "dead", "saturated", "gap"):
        np.testing.assert_allclose(getattr(option.report.measured, name), getattr(report.measured, name), rtol=2e-3)
    np.testing.assert_allclose(option.report.measured.jacobian, report.measured.jacobian, rtol=0.3)
    theory = wn.signal_report(net, wn.init(net, 0, X.shape, width=16), X).theory
    np.testing.assert_allclose(option.report.theory.q, theory.q)


@pytest.mark.parametrize("name", ["critical point of gelu", "orthogonal, critical point of gelu"])
def test_the_spread_is_that_of_the_singular_values_and_of_free_probability(gelu, name):
    option, setting = named(gelu)[name], gelu.setting
    weights = setting.orthogonal if option.candidate.orthogonal else setting.gaussian
    layers = [(entry["w"] * option.scales.sigma_w / len(entry["w"]) ** 0.5, entry["b"]) for entry in weights.values()]

    def hidden(layers, h):
        for w, b in layers:
            h = jax.nn.gelu(h, approximate=False) @ w + option.scales.sigma_b * b
        return h

    first = X @ layers[0][0] + option.scales.sigma_b * layers[0][1]
    squares = wn.empirical_spectrum(hidden, layers[1:-1], first) ** 2
    direct = np.mean(squares**2) / np.mean(squares) ** 2
    assert abs(option.measured.spread / direct - 1) < 0.3  # of 24 directions
    assert abs(option.theory.spread / direct - 1) < 0.35  # of order depth / width


def test_orthogonal_weights_win_over_gaussian_ones_of_the_same_scales_by_their_spread(gelu):
    gaussian, orthogonal = (named(gelu)[f"{law}critical point of gelu"] for law in ("", "orthogonal, "))
    assert gaussian.scales == orthogonal.scales
    np.testing.assert_allclose(gaussian.theory[:3], orthogonal.theory[:3])
    assert abs(gaussian.theory.spread - orthogonal.theory.spread - 11) < 1e-9  # one for each matrix in between
    assert orthogonal.cost < gaussian.cost
    assert "varies by" in orthogonal.candidate.why


def test_the_ranking_is_by_decades_and_gains_that_are_not_gelu_s_lose(gelu):
    costs = [option.cost for option in gelu.options]
    assert costs == sorted(costs)
    found = named(gelu)
    for other in ("He", "LeCun (flax, keras)", "torch's default", "as written"):
        assert found["critical point of gelu"].cost < found[other].cost
    assert "decades" in str(gelu)
    assert gelu.best.name in str(gelu)


def test_what_is_missing_says_why(gelu):
    assert "above 0.25" in gelu.missing["orthogonal, isometric_init"]
    assert "no skip connection" in gelu.missing["Fixup"]
    for why in gelu.missing.values():
        assert why in str(gelu)


def test_lsuv_makes_the_variance_one_on_the_data(gelu):
    option = named(gelu)["LSUV"]
    np.testing.assert_allclose(option.report.measured.q, 1, rtol=0.02)
    assert option.report.theory is None
    assert option.sigma_w[0] < option.sigma_w[1]


def test_bad_input_is_refused(gelu, tmp_path):
    with pytest.raises(ValueError, match="jax, flax, torch"):
        gelu.code("keras")
    with pytest.raises(ValueError, match="there is no candidate 'Xavier'"):
        gelu.code("jax", "Xavier")
    with pytest.raises(ValueError, match="picture must be"):
        gelu.plot(tmp_path / "advice.txt")
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
