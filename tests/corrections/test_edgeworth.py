"""Densities of outputs."""

import numpy as np
import pytest

import widenet as wn

Z = np.linspace(-14, 14, 4001)


def test_cumulants_of_the_density():
    p = wn.edgeworth(Z, 1.7, 0.2, 0.1)

    def moment(k):
        return np.trapezoid(p * Z**k, Z)

    np.testing.assert_allclose([moment(0), moment(2)], [1, 1.7], rtol=1e-8)
    np.testing.assert_allclose(moment(4) / 1.7**2 - 3, 0.2, rtol=1e-7)
    np.testing.assert_allclose(moment(6) / 1.7**3 - 15 - 15 * 0.2, 0.1, rtol=1e-6)


@pytest.mark.parametrize(("phi", "fourth", "sixth"), [(wn.identity, 6, 120), (wn.relu, 15, 15 * 44)])
def test_one_hidden_layer(phi, fourth, sixth):
    """s^2 of a normal variable has cumulants 1, 2, 8; half of it is zero for relu: 1/2, 5/4, 11/2."""
    c = wn.one_hidden_cumulants(phi, 10, q=1.3, sigma_w=1.1)
    np.testing.assert_allclose([c.fourth * 10, c.sixth * 100], [fourth, sixth])
    mean = 1.1**2 * 1.3 * (0.5 if phi is wn.relu else 1)
    np.testing.assert_allclose(c.variance, mean)


@pytest.mark.parametrize(("readout", "law"), [((9 / 5, 27 / 7), "uniform"), ((1, 1), "signs")])
def test_one_hidden_layer_with_other_readouts(readout, law):
    """Against the sums themselves: cumulants of v relu(z) add up, those of one term are computed from its moments."""
    v = {"uniform": np.sqrt(3) * (2 * (np.arange(20_000) + 0.5) / 20_000 - 1), "signs": np.ones(1)}[law]
    m2, m4, m6 = (np.mean(v**k) * half for k, half in ((2, 0.5), (4, 1.5), (6, 7.5)))
    c = wn.one_hidden_cumulants(wn.relu, 10, q=1.0, readout=readout)
    np.testing.assert_allclose(c.fourth * 10, (m4 - 3 * m2**2) / m2**2, rtol=1e-6)
    np.testing.assert_allclose(c.sixth * 100, (m6 - 15 * m4 * m2 + 30 * m2**3) / m2**3, rtol=1e-6, atol=1e-9)


def test_one_hidden_layer_is_the_first_order_of_any_net():
    net = wn.zoo.mlp(wn.tanh, 1, sigma_w=1.3, sigma_b=0.0)
    exact = wn.one_hidden_cumulants(wn.tanh, 50, q=1.3**2, sigma_w=1.3)
    np.testing.assert_allclose(wn.finite_width(net).excess_kurtosis(50)[-1], exact.fourth)


def test_the_expansion_approaches_the_density_of_a_linear_network():
    """One hidden layer, n = 64: z given the layer is normal, its variance gamma distributed."""
    n = 64
    c = wn.one_hidden_cumulants(wn.identity, n, q=1.0)
    scale = np.random.default_rng(0).gamma(n / 2, 2 / n, 20_000)
    z = np.linspace(-4, 4, 81)
    exact = np.mean(np.exp(-(z[:, None] ** 2) / (2 * scale)) / np.sqrt(2 * np.pi * scale), 1)
    errors = [abs(p - exact).max() for p in (wn.edgeworth(z, 1, 0), wn.edgeworth(z, *c[:2]), wn.edgeworth(z, *c))]
    assert errors[1] < errors[0] / 5
    assert errors[2] < errors[0] / 8


def test_the_density_of_a_deep_network():
    c = wn.finite_width(wn.zoo.mlp(wn.tanh, 3, sigma_w=1.5))
    p = c.density(Z, 64)
    np.testing.assert_allclose(np.trapezoid(p * Z**2, Z), c.K[-1] + c.K1[-1] / 64, rtol=1e-8)
    np.testing.assert_allclose(np.trapezoid(p, Z), 1, rtol=1e-8)


def test_what_is_refused():
    with pytest.raises(ValueError, match="variance"):
        wn.edgeworth(Z, 0.0, 0.1)
    with pytest.raises(ValueError, match="wider"):
        wn.finite_width(wn.zoo.mlp(wn.tanh, 3, sigma_w=1.5)).density(Z, 0)
    with pytest.raises(ValueError, match="width"):
        wn.one_hidden_cumulants(wn.relu, 0, q=1.0)
    with pytest.raises(ValueError, match="no law"):
        wn.one_hidden_cumulants(wn.relu, 8, q=1.0, readout=(3.0, 8.0))
