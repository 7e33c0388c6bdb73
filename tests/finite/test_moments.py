"""The recursion of mean and squares."""

from __future__ import annotations

from functools import reduce

import numpy as np

from widenet.finite.moments import Moments


def test_mean_and_error_are_those_of_numpy():
    z = np.random.default_rng(0).normal(size=(50, 2, 3))
    moments = reduce(Moments.add, np.split(z, [1, 2, 19]), Moments.empty((2, 3)))
    np.testing.assert_allclose(moments.mean, z.mean(0), rtol=1e-13)
    np.testing.assert_allclose(moments.error, z.std(0, ddof=1) / np.sqrt(50), rtol=1e-12)


def test_a_large_mean_does_not_spoil_the_error():
    z = np.random.default_rng(0).normal(size=1000)
    moments = reduce(Moments.add, np.split(z + 1e8, 50), Moments.empty(()))
    np.testing.assert_allclose(moments.error, z.std(ddof=1) / np.sqrt(1000), rtol=1e-7)


def test_the_error_of_one_sample_is_unknown():
    assert np.isnan(Moments.empty(()).add(np.array([3.0])).error)
