"""Singular values of Jacobians of functions."""

import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn

X = np.random.default_rng(0).normal(size=(3, 2, 4))


@pytest.mark.parametrize("outputs", [3, 20])
def test_a_function_of_arrays(outputs):
    """y = tanh(W x): J = diag(1 - y^2) W for each sample."""
    w = np.random.default_rng(1).normal(size=(8, outputs))
    found = wn.empirical_spectrum(lambda p, x: jnp.tanh(x.reshape(len(x), -1) @ p), w, X)
    assert found.shape == (3, min(8, outputs))
    for row, x in zip(found, X.reshape(3, -1), strict=True):
        expected = np.linalg.svd((1 - np.tanh(x @ w) ** 2)[:, None] * w.T, compute_uv=False)
        np.testing.assert_allclose(row, expected, rtol=1e-10)


def test_an_architecture_is_its_finite_network():
    net = wn.zoo.mlp(wn.gelu, 2)
    params = wn.init(net, 0, X.shape, 5)
    found = wn.empirical_spectrum(net, params, X)
    np.testing.assert_allclose(found, wn.empirical_spectrum(wn.function_of(net), params, X))
    assert found.shape == (3, 5)
    assert (np.diff(found) <= 0).all()


def test_what_is_refused():
    with pytest.raises(ValueError, match="batch"):
        wn.empirical_spectrum(wn.zoo.mlp(wn.relu, 1), None, np.ones(3))
