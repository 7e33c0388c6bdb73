"""How many digits the relu kernels keep, against a recursion in 60 digits."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

import widenet as wn
from widenet.kernels import tiles

ANGLES = [0.0, 1e-8, 1e-6, 1e-4, 1e-2, 0.3, 1.0, 1.7, 1.99, 2.0]  # 1 - cosine


def pair(gap, dtype, scale=1.0, d=64):
    """Two samples whose cosine is 1 - gap, of unequal norms if `scale` is not 1, rounded to `dtype`."""
    rng = np.random.default_rng(1)
    a, b = np.linalg.qr(rng.normal(size=(d, 2)))[0].T
    cosine = 1 - gap
    y = scale * (cosine * a + np.sqrt(gap * (2 - gap)) * b)
    return (np.sqrt(d) * np.stack([a, y])).astype(dtype)


def exact(x, depth, sigma_w, sigma_b):
    """NNGP and NTK of a relu MLP of two samples, in 60 digits, by Cho and Saul's formulas in covariance form."""
    with mpmath.workdps(60):
        u, v = ([mpmath.mpf(float(t)) for t in row] for row in x)
        w2, b2 = mpmath.mpf(sigma_w) ** 2, mpmath.mpf(sigma_b) ** 2
        dot = lambda s, t: w2 * mpmath.fdot(s, t) / len(s) + b2  # noqa: E731
        k, q1, q2 = dot(u, v), dot(u, u), dot(v, v)
        ntk = k
        for _ in range(depth):
            s = mpmath.sqrt(q1 * q2)
            theta = mpmath.acos(max(min(k / s, mpmath.mpf(1)), mpmath.mpf(-1)))
            slope = (mpmath.pi - theta) / (2 * mpmath.pi)
            k = w2 * s * (mpmath.sin(theta) + (mpmath.pi - theta) * mpmath.cos(theta)) / (2 * mpmath.pi) + b2
            q1, q2 = w2 * q1 / 2 + b2, w2 * q2 / 2 + b2
            ntk = k + w2 * slope * ntk
        return float(k), float(ntk)


def relu_net(depth, sigma_w, sigma_b):
    dense = wn.dense(sigma_w=sigma_w, sigma_b=sigma_b)
    return wn.serial(dense, wn.repeat(wn.serial(wn.relu, dense), depth))


@pytest.mark.parametrize("gap", ANGLES)
@pytest.mark.parametrize(("dtype", "limit"), [(np.float32, 2e-6), (np.float64, 1e-12)])
@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_relu_ntk_at_depth_100_keeps_its_digits_at_every_angle(gap, dtype, limit, scale):
    x = pair(gap, dtype, scale)
    k = wn.kernel(relu_net(100, 1.5, 0.1))(x[:1], x[1:])
    for ours, true in zip(k, exact(x, 100, 1.5, 0.1), strict=True):
        assert abs(ours[0, 0] - true) < limit * abs(true)


@pytest.mark.parametrize(("dtype", "limit"), [(np.float32, 2e-6), (np.float64, 1e-12)])
def test_relu_ntk_at_depth_100_keeps_its_digits_on_the_diagonal_of_a_gram_matrix(dtype, limit):
    x = np.random.default_rng(0).normal(size=(20, 784)).astype(dtype)
    ntk = wn.ntk(relu_net(100, 1.5, 0.1))(x)
    for i in range(3):
        assert abs(ntk[i, i] - exact(x[[i, i]], 100, 1.5, 0.1)[1]) < limit * ntk[i, i]


@pytest.mark.parametrize("sigma_w", [1.0, np.sqrt(2), 2.0])
def test_deep_kernels_neither_overflow_nor_underflow_in_float32(sigma_w):
    x = pair(0.3, np.float32, 0.5)
    k = wn.kernel(relu_net(100, sigma_w, 0.0))(x)
    for ours, true in zip((k.nngp[0, 1], k.ntk[0, 1]), exact(x, 100, sigma_w, 0.0), strict=True):
        assert abs(ours - true) < 5e-6 * abs(true)


@pytest.mark.parametrize(("sigma_w", "depth"), [(0.5, 40), (4.0, 40)])
def test_kernels_near_the_ends_of_float32_are_right_as_long_as_they_are_representable(sigma_w, depth):
    x = pair(0.3, np.float32, 0.5)
    k = wn.kernel(relu_net(depth, sigma_w, 0.0))(x)
    for ours, true in zip((k.nngp[0, 1], k.ntk[0, 1]), exact(x, depth, sigma_w, 0.0), strict=True):
        assert abs(ours - true) < 3e-5 * abs(true)


def test_a_repeated_block_is_the_block_written_out():
    x = np.random.default_rng(0).normal(size=(5, 6))
    written = wn.serial(wn.dense(), *[wn.serial(wn.relu, wn.dense(sigma_w=1.4, sigma_b=0.2))] * 7)
    repeated = wn.serial(wn.dense(), wn.repeat(wn.serial(wn.relu, wn.dense(sigma_w=1.4, sigma_b=0.2)), 7))
    for a, b in zip(wn.kernel(written)(x), wn.kernel(repeated)(x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def test_tiles_are_the_untiled_kernel(monkeypatch):
    x, y = (np.random.default_rng(i).normal(size=(n, 6)) for i, n in enumerate((23, 17)))
    net = wn.zoo.mlp(wn.relu, 3)
    whole, own = wn.kernel(net)(x, y), wn.kernel(net)(x)
    monkeypatch.setattr(tiles, "TILE_NUMBERS", 49)
    monkeypatch.setattr(tiles, "THREADS", 3)
    for tiled, one in ((wn.kernel(net)(x, y), whole), (wn.kernel(net)(x), own)):
        for a, b in zip(tiled, one, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13)
