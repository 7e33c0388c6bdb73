"""Scrambled points are standard normals, and their errors are what they say."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2, kstest

from widenet.batches.points import Points, scrambled_mean


def test_normals_have_mean_zero_and_unit_covariance():
    xi = Points(2**12, 0, 0).normals(7)
    assert np.isfinite(xi).all()
    np.testing.assert_allclose(xi.mean(0), 0, atol=2e-3)
    np.testing.assert_allclose(xi.T @ xi / len(xi), np.eye(7), atol=1e-2)


@pytest.mark.parametrize("rank", [1, 2, 9])
def test_radii_are_chi_squared_and_independent_of_the_normals(rank):
    points = Points(2**12, 0, 3)
    squares = points.radii(rank, 5)
    assert kstest(squares, chi2(rank).cdf).pvalue > 0.01
    np.testing.assert_allclose(np.corrcoef(squares, points.normals(5).T)[0, 1:], 0, atol=0.02)


def test_a_key_and_a_scramble_determine_the_points():
    np.testing.assert_array_equal(Points(16, 5, 2).normals(3), Points(16, 5, 2).normals(3))
    for other in (Points(16, 4, 2), Points(16, 5, 1)):
        assert (Points(16, 5, 2).normals(3) != other.normals(3)).all()


def test_the_stated_error_is_the_scatter_of_the_mean():
    def run(points):
        return (np.exp(points.normals(4) @ [0.5, 0.4, 0.3, 0.2]).mean(),)

    found = [scrambled_mean(run, 64, 8, key) for key in range(80)]
    off = np.array([mean - np.exp(0.27) for (mean,), _ in found])
    stated = np.array([error for _, (error,) in found])
    assert 0.75 < np.sqrt((off**2).mean() / (stated**2).mean()) < 1.3


def test_what_is_not_integrated_has_error_zero():
    (mean,), (error,) = scrambled_mean(lambda _: (np.array([0.1, 1 / 3]),), 4, 5, 0)
    np.testing.assert_array_equal(mean, [0.1, 1 / 3])
    np.testing.assert_array_equal(error, 0)
