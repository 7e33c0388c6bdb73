"""Roots in brackets."""

from __future__ import annotations

import numpy as np

from widenet.mean_field.roots import bracketed


def test_roots_are_found_to_rounding():
    power = np.array([1, 2, 3, 9])
    calls = []

    def f(x):
        calls.append(x)
        return x**power - 2.0

    roots = bracketed(f, np.zeros(4), np.array([5.0, 5.0, 5.0, 1.5]))
    np.testing.assert_allclose(roots, 2.0 ** (1 / power), rtol=1e-14)
    assert len(calls) < 30


def test_a_step_is_bisected():
    root = bracketed(lambda x: np.where(x < 1 / 3, -1e-30, 1e30), np.zeros(1), np.ones(1))
    np.testing.assert_allclose(root, 1 / 3, rtol=1e-14)


def test_ends_may_be_roots_or_no_bracket():
    a, b = np.array([0.0, -1.0, 1.0, np.nan]), np.array([1.0, 0.0, 2.0, 1.0])
    np.testing.assert_array_equal(bracketed(lambda x: x, a, b), [0.0, 0.0, np.nan, np.nan])
