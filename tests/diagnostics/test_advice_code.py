"""Candidates of tanh, convolutions and skip connections; the code to paste runs and draws what was measured."""

from __future__ import annotations

import importlib.util
from typing import Any

import jax
import numpy as np
import pytest

import widenet as wn

N = 16
FRAMEWORKS = ["jax", "flax", "torch"]
X = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)


def run(advice: Any, framework: str, name: str) -> dict[str, Any]:
    if importlib.util.find_spec(framework) is None:
        pytest.skip(f"{framework} is not installed")
    scope: dict[str, Any] = {}
    exec(compile(advice.code(framework, name), framework, "exec"), scope)
    return scope


def named(advice: Any) -> dict[str, Any]:
    return {option.name: option for option in advice.options}


@pytest.fixture(scope="module")
def plain():
    return wn.recommend(wn.zoo.mlp(wn.tanh, 4, sigma_w=1.3), 3 * X.astype(np.float64), width=N)  # numpy's precision


@pytest.fixture(scope="module")
def images():
    net = wn.serial(wn.conv(window=3), wn.relu, wn.conv(window=3, stride=2), wn.relu, wn.flatten(), wn.dense(width=2))
    return wn.recommend(net, np.random.default_rng(0).normal(size=(4, 6, 6, 2)).astype(np.float32), width=N)


@pytest.fixture(scope="module")
def skips():
    def net(x):
        h = wn.dense(x)
        for _ in range(4):
            h = h + wn.dense(wn.relu(wn.dense(wn.relu(h))))
        return wn.dense(wn.relu(h), width=3)

    return wn.recommend(net, X, width=N)


def weight_of(scope: dict[str, Any], framework: str) -> np.ndarray:
    if framework == "flax":
        return np.asarray(scope["layer"].init(jax.random.key(0), np.ones((1, N), np.float32))["params"]["kernel"])
    return np.asarray(scope["w"]) if framework == "jax" else scope["module"].weight.detach().numpy().T


@pytest.mark.float32
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_scales_are_those_that_were_measured(plain, framework):
    for option in plain.options:
        if option.candidate.tuned:
            continue
        scope = run(plain, framework, option.name)
        w = weight_of(scope, framework)
        if option.candidate.orthogonal:
            np.testing.assert_allclose(w.T @ w, option.scales.sigma_w**2 * np.eye(N), atol=1e-5)
        else:
            assert abs(np.std(w) * np.sqrt(N) / option.scales.sigma_w - 1) < 5 / np.sqrt(2 * N**2)
        assert scope.get("data_scale", 1.0) == pytest.approx(option.candidate.data_scale)


@pytest.mark.slow
@pytest.mark.float32
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_windows_have_an_orthogonal_centre(images, framework):
    scope = run(images, framework, "orthogonal, critical point of relu")
    if framework == "flax":
        w = scope["conv"].init(jax.random.key(0), np.ones((1, 4, 4, N), np.float32))["params"]["kernel"]
    else:
        w = scope["w_conv"] if framework == "jax" else scope["conv"].weight.detach().numpy().transpose(2, 3, 1, 0)
    np.testing.assert_allclose(np.asarray(w)[1, 1].T @ np.asarray(w)[1, 1], 2 * np.eye(N), atol=1e-5)
    assert not np.asarray(w)[0].any()


@pytest.mark.float32
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_lsuv_code_reports_unit_deviations(plain, framework, capsys):
    run(plain, framework, "LSUV")
    assert capsys.readouterr().out.count("-> 1\n") == 2


@pytest.mark.float32
@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("name", ["SkipInit, ReZero", "Fixup", "branches / sqrt(depth)"])
def test_a_block_is_the_identity_or_nearly(skips, framework, name):
    scope, h = run(skips, framework, name), np.random.default_rng(0).normal(size=(3, N)).astype(np.float32)
    if framework == "jax":
        out = scope["block"](h, scope["v"], scope["w"], scope["multiplier"])
    elif framework == "flax":
        out = scope["Block"]().init_with_output(jax.random.key(0), h)[0]
    else:
        out = scope["Block"]()(scope["torch"].from_numpy(h)).detach().numpy()
    added = float(np.mean((np.asarray(out) - h) ** 2))
    assert (0.02 < added < 1.5) if "sqrt" in name else added == 0  # 1/4 of a variance of about one


def test_tanh_is_isometric_and_data_are_scaled_for_it(plain):
    assert plain.best.name == "orthogonal, isometric_init"
    q = wn.isometric_init(wn.tanh, 4).q
    np.testing.assert_allclose(plain.best.report.theory.q[0] + plain.best.scales.sigma_b**2, q, rtol=1e-3)
    assert plain.best.report.measured.q.dtype == plain.setting.gaussian["dense1"]["w"].dtype == np.float64
    assert abs(plain.best.theory.spread - (1 + 0.25 * 3 / 4)) < 0.05  # data of several lengths
    assert "the same as critical point of tanh" in plain.missing["LeCun (flax, keras)"]


def test_blocks_that_begin_as_the_identity_change_nothing(skips):
    found = named(skips)
    for name in ("SkipInit, ReZero", "Fixup"):
        np.testing.assert_allclose(found[name].measured[:3], 1, rtol=1e-5)
        assert found[name].theory == (1, 1, 1, 1)
        assert abs(found[name].measured.spread - 1) < 0.1
    assert found["Fixup"].cost < found["branches / sqrt(depth)"].cost < found["critical point of relu"].cost
    assert found["branches / sqrt(depth)"].theory.q == pytest.approx((1 + 1 / 4) ** 4)
    assert "scale-invariant" in skips.missing["edge of chaos of relu, sigma_b = 0.1"]


@pytest.mark.slow
def test_convolutions_are_delta_orthogonal_only_where_no_position_is_lost(images):
    first, second = (np.asarray(images.setting.orthogonal[name]["w"]) for name in ("conv1", "conv2"))
    assert np.count_nonzero(np.abs(first).sum((2, 3))) == 1
    assert np.count_nonzero(np.abs(second).sum((2, 3))) == 9
    option = named(images)["orthogonal, critical point of relu"]
    assert option.report.theory is None  # the centre alone has another limit
    assert option.cost == sum(np.abs(np.log10(option.measured)))
