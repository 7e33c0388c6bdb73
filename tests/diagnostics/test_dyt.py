"""Residual streams: the recursion against quadrature and real networks, and the law of growth."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import widenet as wn
from widenet.activations import derivative, dual
from widenet.diagnostics import Propagation, dyt_exponent
from widenet.diagnostics.dynamic_tanh import _squares


@pytest.mark.parametrize("s", [1e-3, 0.4, 0.999, 1.0, 2.3, 40.0, 700.0])
def test_expectations_are_those_of_high_precision(s):
    def expectation(f):
        ends = [0, *(min(s, 1) * 2**k for k in range(-1, 6)), 45 * s]
        value = mpmath.quad(lambda u: f(u) * mpmath.exp(-((u / s) ** 2) / 2), sorted({e for e in ends if e <= 45 * s}))
        return float(2 * value / (s * mpmath.sqrt(2 * mpmath.pi)))

    square, slope = _squares(jnp.asarray(s))
    assert float(square) == pytest.approx(expectation(lambda u: mpmath.tanh(u) ** 2), rel=1e-13)
    assert float(slope) == pytest.approx(expectation(lambda u: mpmath.sech(u) ** 4), rel=1e-13)


def test_the_recursion_is_that_of_the_activation():
    alpha, s_w, q = 0.8, 1.3, 0.6
    phi, log_apjn, found = wn.dyt(alpha), 0.0, wn.dyt_propagation(12, alpha, s_w, q)
    for layer in range(1, 13):
        at = jnp.asarray(q)
        q, log_apjn = (
            q + s_w**2 * float(dual.second_moment(phi, at)),
            log_apjn + np.log1p(s_w**2 * float(dual.second_moment(derivative(phi), at))),
        )
        assert [part[layer] for part in found] == pytest.approx([q, log_apjn], rel=1e-8)


def dyt_block(p, h):
    return h + jnp.tanh(0.9 * h) @ p


def norm_block(p, h):
    c = h - h.mean(-1, keepdims=True)
    return h + c / jnp.sqrt((c**2).mean(-1, keepdims=True)) @ p


@pytest.mark.parametrize(
    ("block", "theory"),
    [
        (dyt_block, lambda q0: wn.dyt_propagation(24, 0.9, 1.2, q0)),
        (norm_block, lambda q0: wn.layer_norm_propagation(24, 1.2, q0)),
    ],
    ids=["dyt", "layer norm"],
)
def test_real_networks_follow_the_recursion(block, theory):
    n, depth, networks = 200, 24, 8
    x = 1.4 * jax.random.normal(jax.random.key(9), (4, n))
    found = []
    for key in jax.random.split(jax.random.key(0), networks):
        weights = 1.2 * jax.random.normal(key, (depth, n, n)) / n**0.5
        found.append(np.array(wn.residual_growth(block, weights, x, key, probes=4)))
    expected = theory(float(jnp.mean(x**2)))
    relative = np.stack([np.log(np.array(found)[:, 0] / expected.q), np.array(found)[:, 1] - expected.log_apjn])
    error = relative.std(1, ddof=1) / networks**0.5
    bias = 4 * np.arange(depth + 1) / n / depth**0.5
    assert (np.abs(relative.mean(1)) < 4.5 * error + bias + 1e-12).all()


def test_the_measured_jacobian_is_the_whole_one():
    x = jax.random.normal(jax.random.key(3), (1, 7))
    weights = jax.random.normal(jax.random.key(4), (5, 7, 7)) * 0.8

    def forward(x):
        for w in weights:
            x = dyt_block(w, x)
        return x

    exact = np.log(np.sum(jax.jacrev(forward)(x) ** 2) / 7)
    got = wn.residual_growth(dyt_block, weights, x, probes=4000)
    assert got.log_apjn[-1] == pytest.approx(exact, abs=0.05)
    assert got.q[-1] == pytest.approx(float(jnp.mean(forward(x) ** 2)), rel=1e-12)


def test_tangents_do_not_overflow():
    weights = jnp.stack([100 * jnp.eye(3, dtype=jnp.float32)] * 400)
    got = wn.residual_growth(
        lambda p, h: jnp.ones_like(h) + (h - jax.lax.stop_gradient(h)) @ p, weights, jnp.ones((2, 3))
    )
    np.testing.assert_allclose(got.log_apjn, 2 * np.log(100) * np.arange(401), rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_dynamic_tanh_grows_as_a_stretched_exponential(alpha):
    found = wn.dyt_propagation(100_000, alpha)
    slope = (found.log_apjn[-1] - found.log_apjn[25_000]) / (100_000**0.5 - 25_000**0.5)
    assert slope == pytest.approx(dyt_exponent(alpha), rel=0.01)
    report = wn.growth_report(found, alpha=alpha)
    assert [f.verdict for f in report.findings] == ["stretched exponential", "exploding", "saturated"]
    assert report.fits["stretched exponential"].rate == pytest.approx(dyt_exponent(alpha), rel=0.02)


def test_layer_norm_grows_as_a_power():
    report = wn.growth_report(wn.layer_norm_propagation(4000, 1.5, 2.0))
    assert (report.law, report.verdict) == ("power law", "power law")
    assert report.fits["power law"].rate == pytest.approx(1, abs=0.01)


def test_no_growth_is_said_so():
    report = wn.growth_report(Propagation(np.ones(21), np.linspace(0, 0.1, 21)))
    assert report.verdict == "no growth"


def test_the_picture_and_the_table(tmp_path):
    theory = wn.dyt_propagation(30, 1.0)
    report = wn.growth_report(Propagation(theory.q * 1.1, theory.log_apjn + 0.01), theory=theory, alpha=1.0)
    assert report.plot(tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    assert f"{theory.q[-1] * 1.1:.3g}" in str(report)
    assert report.reason in str(report)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="depth is a number of blocks"):
        wn.dyt_propagation(0)
    with pytest.raises(ValueError, match="alpha must be a positive number"):
        wn.dyt_propagation(3, alpha=-1.0)
    with pytest.raises(ValueError, match="10 layers or more; got 5"):
        wn.growth_report(wn.layer_norm_propagation(5))
    with pytest.raises(ValueError, match="theory has 30 layers, but 20"):
        wn.growth_report(wn.layer_norm_propagation(20), theory=wn.layer_norm_propagation(30))
    with pytest.raises(ValueError, match="not finite"):
        wn.growth_report(Propagation(np.full(20, np.inf), np.zeros(20)))
    with pytest.raises(ValueError, match="keeps its shape"):
        wn.residual_growth(lambda p, h: h @ p, jnp.ones((3, 4, 5)), jnp.ones((2, 4)))
    with pytest.raises(ValueError, match="one or more"):
        wn.residual_growth(dyt_block, jnp.ones((3, 4, 4)), jnp.ones((2, 4)), probes=0)
