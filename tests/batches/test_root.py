"""Roots of singular covariances."""

from __future__ import annotations

import numpy as np
import pytest

from widenet.batches.root import centre, regressor, root, spectrum


def repeated(seed=0):
    """A covariance of six rows, two of which are equal."""
    x = np.random.default_rng(seed).normal(size=(6, 8))
    x[4] = x[1]
    return x @ x.T / 8


def test_root_gives_the_covariance_back():
    k = repeated()
    np.testing.assert_allclose(root(k, 2.0) @ root(k, 2.0).T, k, atol=1e-14)


def test_repeated_rows_keep_equal_rows_of_the_root():
    r = root(repeated(), 2.0)
    np.testing.assert_allclose(r[4], r[1], atol=1e-14)


def test_the_rank_is_found():
    assert len(spectrum(repeated(), 2.0).values) == 5
    assert len(spectrum(centre(repeated(), True, True), 2.0).values) == 4


def test_a_large_mean_does_not_add_to_the_rank():
    k = repeated() + 1e4
    assert len(spectrum(centre(k, True, True), k.max()).values) == 4


def test_regressor_inverts_the_root_on_its_range():
    r, s = root(repeated(), 2.0), regressor(repeated(), 2.0)
    np.testing.assert_allclose(s @ r, np.diag([1, 1, 1, 1, 1, 0]), atol=1e-12)


@pytest.mark.parametrize("sides", [(True, False), (False, True), (True, True), (False, False)])
def test_centre_is_a_product_with_the_projection(sides):
    k = np.random.default_rng(0).normal(size=(4, 4))
    left, right = (np.eye(4) - side / 4 for side in sides)
    np.testing.assert_allclose(centre(k, *sides), left @ k @ right, atol=1e-15)
