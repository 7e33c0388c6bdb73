"""Closed integrals of batch normalization alone against draws, and where they are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from widenet.activations import identity
from widenet.batches import linear
from widenet.batches.expectations import Pair, own
from widenet.batches.features import Feature
from widenet.batches.points import scrambled_mean
from widenet.batches.root import centre, spectrum

DRAWN = replace(identity, name="drawn")  # the same function, but not known to be the identity


def random_pair(n, seed=0):
    """Covariances of unequal variances and some mean."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(n, n + 2)) * np.linspace(0.5, 2, n)[:, None] + 0.4, rng.normal(size=(n, n))
    return Pair(x @ x.T / n, y @ y.T / n + 0.2)


@pytest.mark.parametrize("n", [4, 5, 8])
@pytest.mark.parametrize("eps", [0.0, 1e-5, 0.3])
def test_integrals_agree_with_draws(n, eps):
    pair, f, drawn = random_pair(n), Feature(identity, eps), Feature(DRAWN, eps)
    exact = own(f, f, pair, None)
    means, errors = scrambled_mean(lambda points: own(drawn, drawn, pair, points), 2**11, 16, 0)
    for mean, error, value in zip(means, errors, exact, strict=True):
        assert (np.abs(mean - value) < 5 * error + 1e-9).all()
        np.testing.assert_allclose(mean, value, atol=3e-3 * np.abs(value).max())


@pytest.mark.parametrize("n", [4, 9])
def test_equal_eigenvalues_have_the_closed_form(n):
    p = centre(np.eye(n), True, True)
    basis = spectrum(2.5 * p, 2.5)
    np.testing.assert_allclose(linear.moment(basis, 0.0), n / (n - 1) * p, atol=1e-14)
    # E J J^T = E[(P - z z^T / N) / v], E 1/v = N / (2.5 (N - 3))
    expected = n / (2.5 * (n - 3)) * (n - 2) / (n - 1) * p
    np.testing.assert_allclose(linear.tangent(basis, 0.0, p), expected, atol=1e-13)


def test_the_diagonal_sums_to_the_number_of_rows():
    k = centre(random_pair(7, 3).cov, True, True)
    assert np.trace(linear.moment(spectrum(k, 4.0), 0.0)) == pytest.approx(7, rel=1e-13)


def test_eigenvalues_of_very_different_size_are_integrated():
    p = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    basis = linear.Spectrum(np.array([1e6, 1.0, 1e-5, 1e-9]), p[:, :4])
    shares = np.diag(p[:, :4].T @ linear.moment(basis, 0.0) @ p[:, :4])
    assert shares.sum() == pytest.approx(6, rel=1e-12)
    assert shares[1] == pytest.approx(6 * 1e-3, rel=5e-3)  # E s/(1 + s) for s = y_1^2/y_0^2 small: sqrt(l_1/l_0)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_a_large_or_a_small_eps_has_its_limit(scale):
    k, eps = centre(random_pair(5).cov, True, True) * scale, scale * 1e8
    basis = spectrum(k, k.max())
    np.testing.assert_allclose(linear.moment(basis, eps), k / eps, atol=1e-7 * k.max() / eps)
    theta = centre(random_pair(5).ntk, True, True)
    np.testing.assert_allclose(linear.tangent(basis, eps, theta), theta / eps, atol=1e-6 / eps)
    np.testing.assert_allclose(linear.moment(basis, 1e-14 * scale), linear.moment(basis, 0.0), rtol=1e-9, atol=1e-9)


def test_rank_zero_with_eps_is_zero():
    basis = spectrum(np.zeros((3, 3)), 1.0)
    np.testing.assert_array_equal(linear.moment(basis, 0.1), 0)
    np.testing.assert_allclose(linear.tangent(basis, 0.1, np.eye(3)), np.eye(3) / 0.1)
