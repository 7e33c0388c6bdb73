"""Parameters are standard normal, independent, and the same for the same key."""

from __future__ import annotations

import jax
import numpy as np

import widenet as wn

BLOCK = wn.serial(wn.relu, wn.dense(sigma_b=0.1))
NET = wn.serial(wn.dense(sigma_b=0.1), wn.repeat(BLOCK, 5), wn.relu, wn.dense(width=3))


def test_parameters_are_standard_normal():
    p = wn.init(NET, 0, (1, 40), 60)
    z = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(p)])
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((z**power).mean() - moment) < 5 * np.sqrt(variance / z.size)


def test_entries_and_copies_are_different_draws():
    p = wn.init(NET, 0, (1, 40), 60)
    copies = p["repeat1"]["dense1"]["w"]
    assert copies.shape == (5, 60, 60)
    assert p["dense2"]["w"].shape == (60, 3)
    matrices = np.array([*copies]).reshape(5, -1)
    correlation = np.corrcoef(matrices) - np.eye(5)
    assert np.abs(correlation).max() < 5 / 60


def test_a_seed_is_its_key_and_numpy_integers_are_seeds():
    one, two, three = (wn.init(NET, key, (1, 4), 6) for key in (7, jax.random.key(7), np.int64(7)))
    for a, b, c in zip(*map(jax.tree.leaves, (one, two, three)), strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_a_bias_is_there_if_any_use_of_a_tied_weight_has_one():
    w = wn.Weight()
    tied = lambda x: wn.dense(wn.relu(wn.dense(wn.dense(x), weight=w)), 1.0, 0.5, weight=w)  # noqa: E731
    assert set(wn.init(tied, 0, (1, 4), 6)["dense2"]) == {"w", "b"}
