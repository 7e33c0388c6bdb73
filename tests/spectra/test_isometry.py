"""Scales that keep the spectrum narrow."""

import numpy as np
import pytest

import widenet as wn
from widenet.corrections.ensembles import draw_params


@pytest.mark.parametrize("phi", [wn.tanh, wn.erf, wn.sin, wn.hard_tanh])
@pytest.mark.parametrize(("depth", "target"), [(10, 0.25), (1000, 0.05)])
def test_the_target_is_met_at_criticality(phi, depth, target):
    s = wn.isometric_init(phi, depth, target)
    net = wn.serial(wn.zoo.mlp(phi, depth - 1, sigma_w=s.sigma_w, sigma_b=s.sigma_b), phi)
    spectrum = wn.jacobian_spectrum(net, ensemble="orthogonal", q0=(s.q - s.sigma_b**2) / s.sigma_w**2)
    np.testing.assert_allclose([spectrum.mean, spectrum.variance], [1, target], rtol=1e-4)
    assert s.sigma_b > 0


def test_a_deep_network_is_isometric_and_an_independent_one_is_not():
    depth, width = 30, 40
    s = wn.isometric_init(wn.tanh, depth, 0.1)
    net = wn.zoo.mlp(wn.tanh, depth, sigma_w=s.sigma_w, sigma_b=s.sigma_b)
    x = np.random.default_rng(0).normal(size=(1, width)) * np.sqrt((s.q - s.sigma_b**2) / s.sigma_w**2)
    variance = {}
    for ensemble in ("orthogonal", "iid"):
        values = wn.empirical_spectrum(net, draw_params(net, 0, x.shape, width, ensemble), x) ** 2
        variance[ensemble] = values.var() / values.mean() ** 2
    assert abs(variance["orthogonal"] - 0.1) < 0.05
    assert variance["iid"] > 5


def test_a_linear_network_needs_nothing():
    assert wn.isometric_init(wn.identity, 10, 0.1) == pytest.approx((1.0, 0.0, 1.0, 0.0))


def test_a_name_is_no_activation():
    with pytest.raises(TypeError, match="activation"):
        wn.isometric_init("tanh", 10)


@pytest.mark.parametrize(
    ("phi", "options", "words"),
    [
        (wn.relu, {}, "relu at depth 10 has variance 10 or more"),
        (wn.tanh, {"ensemble": "iid"}, "at least the depth"),
        (wn.tanh, {"ensemble": "low rank"}, "orthogonal"),
        (wn.sign, {}, "no Jacobian"),
        (wn.softplus, {}, "critical"),
        (wn.tanh, {"target": 0.0}, "positive target"),
        (wn.gelu, {}, "gelu"),
    ],
)
def test_what_is_refused(phi, options, words):
    with pytest.raises(ValueError, match=words):
        wn.isometric_init(phi, 10, **options)
