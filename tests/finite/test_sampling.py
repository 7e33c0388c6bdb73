"""Monte Carlo against kernels derived by hand, with its error bars."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from tests.nets import NETS
from widenet.finite.empirical import empirical_ntk_diagonal

X = np.array([[1.0, 0.2, -0.5], [-0.3, 1.4, 0.6], [2.0, -1.0, 0.1]])
Y = np.array([[0.4, 0.4, 0.9], [-1.0, -0.2, 0.5]])
SIGMA_W, SIGMA_B = 1.5, 0.4
RELU = wn.serial(wn.dense(sigma_w=SIGMA_W, sigma_b=SIGMA_B), wn.relu, wn.dense(sigma_w=SIGMA_W, sigma_b=SIGMA_B))


def arc_cosine(x, y):
    """NNGP and NTK of one hidden layer of relu, by hand."""
    k, qx, qy = (SIGMA_W**2 * m / 3 + SIGMA_B**2 for m in (x @ y.T, (x**2).sum(1)[:, None], (y**2).sum(1)[None]))
    theta = np.arccos(k / np.sqrt(qx * qy))
    dual = np.sqrt(qx * qy) * (np.sin(theta) + (np.pi - theta) * np.cos(theta)) / (2 * np.pi)
    nngp = SIGMA_W**2 * dual + SIGMA_B**2
    return nngp, nngp + SIGMA_W**2 * (np.pi - theta) / (2 * np.pi) * k


def test_means_are_those_of_the_limit_within_their_errors():
    mc = wn.monte_carlo(RELU, 0, 256, 600)(X, Y)
    nngp, ntk = arc_cosine(X, Y)
    # one hidden layer: both are unbiased at any width
    z = np.array([(mc.nngp - nngp) / mc.nngp_error, (mc.ntk - ntk) / mc.ntk_error])
    assert np.abs(z).max() < 4
    assert (mc.nngp_error < 0.02 * np.abs(nngp).max()).all()


def test_errors_are_the_spread_of_the_means():
    keys = jax.random.split(jax.random.key(0), 200)
    estimate = jax.jit(jax.vmap(lambda key, x: wn.monte_carlo(RELU, key, 16, 40)(x)[:4], (0, None)))
    nngp, nngp_error, ntk, ntk_error = (np.asarray(part) for part in estimate(keys, jnp.asarray(X)))
    for mean, error in ((nngp, nngp_error), (ntk, ntk_error)):
        spread = mean.std(0, ddof=1)  # itself known to 1 / sqrt(2 * 199) = 5%
        np.testing.assert_allclose(np.sqrt((error**2).mean(0)) / spread, 1, atol=0.2)


def test_the_spread_of_one_network_falls_as_the_root_of_width():
    spread = [np.linalg.norm(wn.monte_carlo(RELU, 1, width, 300)(X).ntk_error) for width in (32, 512)]
    np.testing.assert_allclose(spread[0] / spread[1], 4, rtol=0.2)


def test_batch_size_does_not_change_the_numbers():
    one, *others = (wn.monte_carlo(RELU, 5, 16, 20, batch=batch)(X, Y) for batch in (1, 3, 20, None))
    for other in others:
        np.testing.assert_allclose(np.array(other[:4]), np.array(one[:4]), rtol=1e-11)


def test_nngp_alone_and_ntk_alone_are_those_of_both():
    width = 2  # fewer channels than samples, so that the NNGP alone has weights too
    both = wn.monte_carlo(RELU, 2, width, 10)(X)
    nngp, ntk = wn.monte_carlo_nngp(RELU, 2, width, 10)(X), wn.monte_carlo_ntk(RELU, 2, width, 10)(X)
    np.testing.assert_allclose(nngp.nngp, both.nngp, rtol=1e-12)
    np.testing.assert_allclose(ntk.ntk_error, both.ntk_error, rtol=1e-12)
    assert nngp.ntk is None
    assert ntk.nngp is None


def test_it_stops_once_the_tolerance_is_reached_whatever_the_batch():
    found = [wn.monte_carlo(RELU, 0, 64, 5000, tolerance=0.03, batch=batch)(X) for batch in (7, 64)]
    assert found[0].samples == found[1].samples < 5000
    assert found[0].reached
    for mean, error in (found[0][:2], found[0][2:4]):
        assert np.linalg.norm(error) <= 0.03 * np.linalg.norm(mean)


def test_it_says_so_if_the_tolerance_is_not_reached():
    with pytest.warns(UserWarning, match=r"drew all 20 samples.*above the tolerance 0.001.*about \d+ samples"):
        assert not wn.monte_carlo_nngp(RELU, 0, 16, 20, tolerance=1e-3)(X).reached


def test_it_is_the_mean_of_empirical_kernels_of_the_net():
    """Of a net with a finite output and ties, sample by sample, with the parameters that Monte Carlo draws."""
    net = lambda x: wn.dense(wn.zoo.rnn(wn.relu)(x), width=3)  # noqa: E731
    x = np.random.default_rng(0).normal(size=(3, 4, 2))
    mc = wn.monte_carlo(net, 9, 8, 5)(x)
    kernels = []
    for i in range(5):
        params = wn.init(net, jax.random.split(jax.random.fold_in(jax.random.key(9), i))[0], x.shape, 8)
        kernels.append((wn.empirical_nngp(net, params)(x), empirical_ntk_diagonal(net, params)(x).mean(-1)))
    nngp, ntk = (np.array(part) for part in zip(*kernels, strict=True))
    np.testing.assert_allclose(mc.nngp, nngp.mean(0), rtol=1e-12)
    np.testing.assert_allclose(mc.ntk, ntk.mean(0), rtol=1e-12)
    np.testing.assert_allclose(mc.ntk_error, ntk.std(0, ddof=1) / np.sqrt(5), rtol=1e-10)


def test_dropout_masks_a_sample_alike_with_itself_and_independently_of_its_copy():
    net = wn.serial(wn.dense(), wn.relu, wn.dropout(rate=0.5), wn.dense())
    plain = wn.nngp(wn.serial(wn.dense(), wn.relu, wn.dense()))(X[:1])[0, 0]
    alone, copied = (wn.monte_carlo_nngp(net, 0, 64, 1500)(X[:1], x2) for x2 in (None, X[:1]))
    assert abs(alone.nngp - 2 * plain) < 4 * alone.nngp_error
    assert abs(copied.nngp - plain) < 4 * copied.nngp_error


@pytest.mark.parametrize("name", ["repeated_rows", "rnn", "concatenated_rows"])
def test_float32_is_kept_and_close(name):
    net, shape = NETS[name]
    x = np.random.default_rng(0).normal(size=(2, *shape)).astype(np.float32)
    mc = wn.monte_carlo(net, 0, 8, 4)(x)
    assert {part.dtype for part in mc[:4]} == {np.dtype(np.float32)}
    assert isinstance(mc.nngp, np.ndarray)
    assert isinstance(wn.monte_carlo_nngp(net, 0, 8, 4)(jnp.asarray(x)).nngp, jax.Array)


def test_traced_data_give_the_same():
    eager = wn.monte_carlo(RELU, 3, 8, 6)(X, Y)
    traced = jax.jit(lambda x, y: wn.monte_carlo(RELU, 3, 8, 6)(x, y)[:4])(jnp.asarray(X), jnp.asarray(Y))
    for a, b in zip(eager[:4], traced, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


REFUSED = {
    "one sample": (lambda: wn.monte_carlo(RELU, 0, 8, 1), "two samples or more"),
    "a tolerance of zero": (lambda: wn.monte_carlo(RELU, 0, 8, 9, tolerance=0.0), "must be > 0"),
    "no width": (lambda: wn.monte_carlo(RELU, 0, 0, 9), "whole number >= 1"),
    "an empty batch of networks": (lambda: wn.monte_carlo(RELU, 0, 8, 9, batch=0), "at least 1"),
    "no readout": (lambda: wn.monte_carlo(wn.dense(), 0, 8, 9)(np.ones((2, 3, 4))), "no readout.*position_mean"),
    "a NaN": (lambda: wn.monte_carlo(RELU, 0, 8, 9)(np.array([[1.0, np.nan, 0.0]])), "NaN or infinite"),
    "features that differ": (lambda: wn.monte_carlo(RELU, 0, 8, 9)(X, X[:, :2]), "3 features, x2 has 2"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_request_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()
