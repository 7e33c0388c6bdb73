"""Correlated branches and tied weights: what theories of independent layers get wrong."""

from __future__ import annotations

import numpy as np
import pytest

import widenet as wn
from widenet.program.ops import Weight

X = np.random.default_rng(0).normal(size=(4, 6))


def test_h_plus_h_is_twice_h():
    once = wn.kernel(lambda x: wn.dense(wn.relu(2.0 * wn.dense(x))))(X)
    twice = wn.kernel(lambda x: wn.dense(wn.relu((h := wn.dense(x)) + h)))(X)
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)


def test_a_difference_of_equal_branches_is_zero():
    k = wn.kernel(lambda x: wn.dense((h := wn.relu(wn.dense(x))) - h))(X)
    np.testing.assert_allclose(k.nngp, 0, atol=1e-15)
    np.testing.assert_allclose(k.ntk, 0, atol=1e-15)


def test_branches_that_share_a_weight_are_one_branch():
    w = Weight()
    shared = wn.kernel(lambda x: wn.dense(wn.relu(wn.dense(x, weight=w)) + wn.relu(wn.dense(x, weight=w))))(X)
    doubled = wn.kernel(lambda x: wn.dense(2.0 * wn.relu(wn.dense(x))))(X)
    for a, b in zip(shared, doubled, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7)  # two variables: covariance form, near angle zero half the digits


def test_relu_plus_relu_of_minus_is_the_absolute_value():
    both = wn.kernel(lambda x: wn.dense(wn.relu(h := wn.dense(x)) + wn.relu(-h)))(X)
    absolute = wn.kernel(wn.serial(wn.dense(), wn.absolute, wn.dense()))(X)
    for a, b in zip(both, absolute, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


def test_half_identity_plus_half_absolute_value_is_relu():
    both = wn.kernel(lambda x: wn.dense(0.5 * (h := wn.dense(x, 1.2, 0.3)) + 0.5 * wn.absolute(h)))(X)
    relu = wn.kernel(lambda x: wn.dense(wn.relu(wn.dense(x, 1.2, 0.3))))(X)
    for a, b in zip(both, relu, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-8)


def test_rectified_powers_are_finite_on_the_diagonal_at_depth_three():
    for power in range(4):
        phi = wn.rectified_power(power)
        k = wn.kernel(wn.serial(wn.dense(), *[phi, wn.dense(sigma_w=0.8)] * 3))(X)
        assert np.isfinite(k.nngp).all()
        assert np.isfinite(k.ntk).all()


def test_a_gate_tied_to_its_branch_is_one_function_of_the_branch():
    silu = wn.kernel(wn.serial(wn.dense(sigma_w=1.2, sigma_b=0.3), wn.silu, wn.dense()))(X)

    def net(x):
        h = wn.dense(x, 1.2, 0.3)
        return wn.dense(wn.sigmoid(h) * h)

    error = wn.kernel_error(net)(X)
    for tied, exact, bar in zip(wn.kernel(net)(X), silu, error, strict=True):
        assert 0 < bar.max() < 1e-3 * np.abs(exact).max()
        np.testing.assert_allclose(tied, exact, atol=8 * bar.max())


def test_concatenation_weighs_blocks_by_their_channels():
    def net(x):
        z = wn.relu(wn.dense(x, 1.5))
        return wn.dense(wn.concatenate(z, z, wn.erf(wn.dense(x, 0.5))))

    blocks = [
        wn.nngp(lambda x: wn.dense(wn.relu(wn.dense(x, 1.5))))(X),
        wn.nngp(lambda x: wn.dense(wn.erf(wn.dense(x, 0.5))))(X),
    ]
    np.testing.assert_allclose(wn.nngp(net)(X), (2 * blocks[0] + blocks[1]) / 3, rtol=1e-13)


def test_dropout_changes_a_sample_with_itself_only():
    kept = wn.kernel(lambda x: wn.dense(wn.relu(wn.dense(x))))(X)
    dropped = wn.kernel(lambda x: wn.dense(wn.dropout(wn.relu(wn.dense(x)), 0.25)))(X)
    off = ~np.eye(4, dtype=bool)
    for a, b in zip(kept, dropped, strict=True):
        np.testing.assert_allclose(a[off], b[off], rtol=1e-12)
        np.testing.assert_allclose(np.diag(a) / 0.75, np.diag(b), rtol=1e-12)


def test_a_net_that_couples_samples_is_sent_to_the_reading_of_a_batch():
    for layer in (wn.batch_norm(), wn.repeat(wn.serial(wn.dense(), wn.batch_norm()), 2)):
        with pytest.raises(NotImplementedError, match=r"couples the samples.*batch_kernel\(net\)\(x\)"):
            wn.kernel(wn.serial(wn.dense(), layer, wn.relu, wn.dense()))(X)
