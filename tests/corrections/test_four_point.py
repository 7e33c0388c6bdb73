"""The fourth cumulant between inputs."""

import jax
import numpy as np
import pytest

import widenet as wn
from widenet.corrections.ensembles import draw_params

X = np.array([[1.2, -0.4, 0.3], [0.5, 1.0, -1.1], [0.1, -0.9, 0.6]])
SHALLOW = wn.zoo.mlp(wn.tanh, 2, sigma_w=1.2, sigma_b=0.3)


@pytest.mark.parametrize("ensemble", ["iid", "orthogonal", wn.LowRank(0.5)])
@pytest.mark.parametrize("phi", [wn.tanh, wn.relu])
def test_its_diagonal_is_that_of_one_input(phi, ensemble):
    net = wn.zoo.mlp(phi, 2, sigma_w=1.2, sigma_b=0.3)
    found = wn.four_point(net, X[:2], ensemble=ensemble)
    np.testing.assert_allclose(found.nngp, wn.kernel(net)(X[:2]).nngp, rtol=1e-10)
    for a in range(2):
        one = wn.finite_width(net, ensemble=ensemble, q0=float(np.mean(X[a] ** 2)))
        np.testing.assert_allclose(found.V[a, a, a, a], one.V[-1], rtol=1e-9)
    assert not found.error.any()


def test_a_linear_network_in_closed_form():
    """Products of Gaussian matrices: V grows by K_ac K_bd + K_ad K_bc a layer."""
    found = wn.four_point(wn.zoo.mlp(wn.identity, 3, sigma_w=1.0), X)
    k = X @ X.T / 3
    expected = 3 * (np.einsum("ac,bd->abcd", k, k) + np.einsum("ad,bc->abcd", k, k))
    np.testing.assert_allclose(found.V, expected, atol=5 * found.error.max() + 1e-12)
    assert found.error.max() < 5e-3


def test_points_agree_with_quadrature_where_both_know():
    """Three inputs, one twice: products of three are then products of two."""
    three, two = wn.four_point(SHALLOW, X[[0, 1, 1]]), wn.four_point(SHALLOW, X[:2])
    same = np.array([0, 1, 1])
    error = np.maximum(three.error, three.error.max())
    assert (abs(three.V - two.V[np.ix_(same, same, same, same)]) < 5 * error).all()
    assert 0 < three.error.max() < 3e-3 * abs(two.V).max()


def test_a_step_has_it_too():
    """sign^2 = 1: no fluctuation at one input; at two Cov = 1 - E[s_a s_b]^2."""
    found = wn.four_point(wn.zoo.mlp(wn.sign, 1, sigma_w=1.0), X[:2])
    np.testing.assert_allclose(found.V[0, 0, 0, 0], 0, atol=1e-12)
    k = X[:2] @ X[:2].T / 3
    mean = 2 / np.pi * np.arcsin(k[0, 1] / np.sqrt(k[0, 0] * k[1, 1]))
    np.testing.assert_allclose(found.V[0, 1, 0, 1], 1 - mean**2, rtol=1e-9)


def test_the_cumulant_sums_the_pairings():
    found = wn.four_point(SHALLOW, X[:2])
    np.testing.assert_allclose(found.cumulant[0, 0, 0, 0], 3 * found.V[0, 0, 0, 0])
    np.testing.assert_allclose(found.cumulant, found.cumulant.transpose(2, 1, 0, 3), atol=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("ensemble", ["orthogonal", "iid"])
def test_networks(ensemble):
    width, draws = 32, 6000
    params = jax.vmap(lambda key: draw_params(SHALLOW, key, (2, 3), width, ensemble))
    z = jax.jit(jax.vmap(lambda p: wn.apply(SHALLOW, p, X[:2])))(params(jax.random.split(jax.random.key(3), draws)))
    pairs = np.einsum("dai,dbi->iabd", z, z)
    pairs -= pairs.mean((0, 3), keepdims=True)
    total = pairs.sum(0)
    cross = np.einsum("abd,efd->dabef", total, total) - np.einsum("iabd,iefd->dabef", pairs, pairs)
    cross *= width / (width * (width - 1))
    found = wn.four_point(SHALLOW, X[:2], ensemble=ensemble)
    error = cross.std(0) / np.sqrt(draws)
    assert (abs(cross.mean(0) - found.V) < 5 * error + 4 * abs(found.V).max() / width).all()
    assert error.max() < 0.3 * abs(found.V).max()


def test_what_is_refused():
    with pytest.raises(NotImplementedError, match="add a dense layer"):
        wn.four_point(wn.serial(wn.dense(), wn.relu), X)
    with pytest.raises(ValueError, match="batch"):
        wn.four_point(SHALLOW, X[0])
