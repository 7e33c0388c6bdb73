"""Values and Jacobians of functions of a whole batch against automatic differentiation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from widenet.batches import features
from widenet.batches.features import Channel, Feature

RNG = np.random.default_rng(0)
LEFT, RIGHT, XI = RNG.normal(size=(5, 7)), RNG.normal(size=(5, 7)), RNG.normal(size=(6, 7))
LEFT, RIGHT = LEFT - LEFT.mean(0), RIGHT - RIGHT.mean(0)
CHANNEL = Channel(LEFT, RIGHT, XI)
FEATURES = [Feature(wn.tanh, 0.0), Feature(wn.relu, 0.2), Feature(wn.gelu, None)]


def function(feature):
    """The same by the definition (B1), without centring."""
    if feature.eps is None:
        return feature.phi
    return lambda g: feature.phi((g - g.mean()) / jnp.sqrt(g.var() + feature.eps))


def draws(root):
    return np.concatenate([XI, -XI]) @ root.T


@pytest.mark.parametrize("f", FEATURES)
@pytest.mark.parametrize("h", FEATURES)
def test_moments_are_those_of_the_definition(f, h):
    a, b = (jax.vmap(function(w))(draws(r)) for w, r in ((f, LEFT), (h, RIGHT)))
    np.testing.assert_allclose(features.second_moment(CHANNEL, f, h), a.T @ b / len(a), atol=1e-13)
    np.testing.assert_allclose(features.mean(CHANNEL, f), a.mean(0), atol=1e-14)


@pytest.mark.parametrize("f", FEATURES)
@pytest.mark.parametrize("h", FEATURES)
def test_tangents_are_products_of_jacobians(f, h):
    theta, weight = RNG.normal(size=(5, 5)), RNG.uniform(0.5, 2, 6)
    sides = f.normalized, h.normalized
    centred = (np.eye(5) - sides[0] / 5) @ theta @ (np.eye(5) - sides[1] / 5)
    a, b = (jax.vmap(jax.jacfwd(function(w)))(draws(r)) for w, r in ((f, LEFT), (h, RIGHT)))
    expected = np.einsum("m,mik,kl,mjl->ij", np.tile(weight, 2), a, theta, b) / len(a)
    np.testing.assert_allclose(features.tangent(CHANNEL, f, h, centred, weight), expected, atol=1e-12)


@pytest.mark.parametrize("f", FEATURES)
def test_regression_has_the_mean_jacobian(f):
    a, slopes = jax.vmap(function(f))(draws(LEFT)), jax.vmap(jax.jacfwd(function(f)))(draws(LEFT)).mean(0)
    normals, found = features.regression(CHANNEL, f)
    np.testing.assert_allclose(normals, np.concatenate([XI, -XI]).T @ a / len(a), atol=1e-13)
    centre = np.eye(5) - f.normalized / 5
    np.testing.assert_allclose(found @ centre, slopes @ centre, atol=1e-12)


def test_what_is_odd_averages_to_zero():
    np.testing.assert_allclose(features.mean(CHANNEL, Feature(wn.tanh, 0.1)), 0, atol=1e-16)
