"""Draws of the ensembles against the cumulant that is claimed of them."""

import jax
import numpy as np
import pytest

import widenet as wn
from widenet.corrections.ensembles import Iid, Orthogonal, draw_params


@pytest.mark.parametrize("law", [Iid(), Orthogonal(), wn.LowRank(0.5), wn.LowRank(0.25)])
@pytest.mark.parametrize(("fan_in", "fan_out"), [(16, 16), (16, 8), (8, 16)])
def test_covariance_and_cumulant(law, fan_in, fan_out):
    """E W_1j W_1k W_2j W_2k = kappa/N for j != k, and E W_1j^2 = 1."""
    draws = 4000
    w = np.asarray(jax.vmap(lambda key: law.draw(key, fan_in, fan_out))(jax.random.split(jax.random.key(1), draws)))
    assert w.shape == (draws, fan_in, fan_out)
    square = (w**2).mean((1, 2))
    assert abs(square.mean() - 1) < 5 * square.std() / np.sqrt(draws) + 1e-12
    gram = np.einsum("dji,djk->dik", w, w)  # over rows of W in the sense of (W2)
    cross = np.einsum("dik,dik->d", gram, gram) - np.einsum("dii,dii->d", gram, gram)
    same = np.einsum("dji,djk->dik", w**2, w**2)
    cross -= same.sum((1, 2)) - np.einsum("dii->d", same)
    cross /= fan_out * (fan_out - 1) * fan_in * (fan_in - 1)
    size = max(fan_in, fan_out)
    kappa, error = size * cross.mean(), size * cross.std() / np.sqrt(draws)
    assert abs(kappa - law.kappa) < 5 * error + 3 * (1 + abs(law.kappa)) / size


def test_square_orthogonal_matrices_are():
    w = Orthogonal().draw(jax.random.key(0), 7, 7)
    np.testing.assert_allclose(w @ w.T, 7 * np.eye(7), atol=1e-12)


def test_parameters_of_a_network():
    net = wn.zoo.mlp(wn.tanh, 3, sigma_b=0.1)
    params = draw_params(net, 0, (1, 4), 6, "orthogonal")
    own = wn.init(net, 0, (1, 4), 6)
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, own)
    block = params["repeat1"]["dense1"]["w"]
    np.testing.assert_allclose(block[0] @ block[0].T, 6 * np.eye(6), atol=1e-12)
    assert abs(block[0] - block[1]).max() > 0.1


def test_what_is_refused():
    with pytest.raises(ValueError, match="fraction"):
        wn.LowRank(1.5)
    with pytest.raises(ValueError, match="wider"):
        wn.LowRank(0.1).draw(jax.random.key(0), 2, 2)
