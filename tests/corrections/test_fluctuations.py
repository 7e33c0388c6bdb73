"""Fluctuations measured at every layer, against those of outputs and exact laws."""

import numpy as np
import pytest

import widenet as wn

X = np.ones((1, 24))


def test_relu_at_criticality_has_the_exact_moments_of_every_layer():
    """E (mean z^2)^2 is the product of 1 + 5/n; that of pairs is one factor of the layer itself less."""
    n, sigma_w = 24, 2**0.5
    found = wn.empirical_fluctuations(wn.zoo.mlp(wn.relu, 3, sigma_w=sigma_w), X, key=1, width=n, draws=4000)
    exact = n * 4 * ((1 + 5 / n) ** np.arange(4) - 1)
    assert np.all(abs(found.K - 2) < 4 * found.K_error)
    assert np.all(abs(found.V - exact) < 4 * found.V_error)
    assert np.all(found.V_error[1:] < exact[1:] / 5)


@pytest.mark.parametrize("ensemble", ["iid", "orthogonal"])
def test_the_last_layer_is_what_outputs_give(ensemble):
    net = wn.serial(wn.dense(sigma_w=1.1, sigma_b=0.4), wn.tanh, wn.dense(sigma_w=1.3, sigma_b=0.2))
    found = wn.empirical_fluctuations(net, 0.7 * X, key=0, width=24, draws=1000, ensemble=ensemble)
    given = {"key": 5, "width": 24, "draws": 2000, "outputs": 8, "ensemble": ensemble, "higher": False}
    other = wn.empirical_finite_width(net, 0.7 * X, **given)
    assert abs(found.V[-1] - other.value["V"]) < 4 * np.hypot(found.V_error[-1], other.error["V"])
    assert abs(found.K[-1] - other.value["K"]) < 4 * np.hypot(found.K_error[-1], other.error["K"])


def test_linear_networks_of_orthogonal_weights_keep_the_length():
    found = wn.empirical_fluctuations(
        wn.zoo.mlp(wn.identity, 2, sigma_w=1.0), X, key=0, width=24, draws=2000, ensemble="orthogonal"
    )
    np.testing.assert_allclose(found.K, 1.0, rtol=1e-12)
    assert np.all(abs(found.V + 2 * 24 / 26) < 4 * found.V_error)  # E z_i^2 z_j^2 = n/(n + 2)


def test_what_is_refused():
    net = wn.zoo.mlp(wn.tanh, 2)
    with pytest.raises(ValueError, match="one input"):
        wn.empirical_fluctuations(net, np.ones((2, 3)), key=0, width=8)
    with pytest.raises(ValueError, match="two draws"):
        wn.empirical_fluctuations(net, X, key=0, width=8, draws=1)
