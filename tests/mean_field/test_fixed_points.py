"""Fixed points, their stability, and depth scales."""

from __future__ import annotations

import numpy as np
import pytest

import widenet as wn

GOLDEN = [  # tanh, sigma_b^2 = 0.05: sigma_w^2, q, chi_1, c, xi_c; by quadrature and iteration
    (1.0, 0.193593, 0.759032, 1.0, 3.627),
    (1.3, 0.315316, 0.880164, 1.0, 7.834),
    (1.5, 0.418037, 0.938636, 1.0, 15.79),
    (2.0, 0.721762, 1.047666, 0.744082, 25.21),
    (2.5, 1.063958, 1.133516, 0.446804, 11.80),
    (4.0, 2.195494, 1.342402, 0.165065, 6.980),
]


def layer(phi, w2, b2):
    return wn.serial(wn.dense(sigma_w=w2**0.5, sigma_b=b2**0.5), phi)


@pytest.mark.parametrize("row", GOLDEN)
def test_tanh_has_the_fixed_points_of_the_literature(row):
    w2, q, chi, c, xi = row
    (point,) = wn.fixed_points(layer(wn.tanh, w2, 0.05))
    np.testing.assert_allclose([point.q, point.chi_perp], [q, chi], atol=1e-6)
    assert point.stability == "stable"
    inner = [(c, "stable"), (1.0, "unstable")] if c < 1 else [(1.0, "stable")]
    np.testing.assert_allclose([found.c for found in point.correlations], [c for c, _ in inner], atol=1e-6)
    assert [found.stability for found in point.correlations] == [stability for _, stability in inner]
    scales = wn.depth_scales(layer(wn.tanh, w2, 0.05))
    np.testing.assert_allclose([scales.q, scales.c, scales.xi_c], [q, c, xi], rtol=5e-4)  # xi is given to four digits
    np.testing.assert_allclose(scales.xi_q, -1 / np.log(point.chi_par))


def test_a_deep_recursion_converges_at_the_depth_scales():
    block = layer(wn.erf, 2.5, 0.1)
    m, scales = wn.maps(block), wn.depth_scales(block)
    q, c, gaps = scales.q, 0.9, []
    for _ in range(90):
        c = m.c(c, q=q)
        gaps.append(c - scales.c)
    np.testing.assert_allclose(-1 / np.log(gaps[-1] / gaps[-2]), scales.xi_c, rtol=1e-3)
    q, gaps = 1.0, []
    for _ in range(12):
        q = m.q(q)
        gaps.append(q - scales.q)
    np.testing.assert_allclose(-1 / np.log(gaps[-1] / gaps[-2]), scales.xi_q, rtol=1e-3)


def test_variance_may_die_out_or_repel():
    (dead,) = wn.fixed_points(layer(wn.erf, 0.7, 0))
    assert (dead.q, dead.stability) == (0.0, "stable")
    zero, alive = wn.fixed_points(layer(wn.erf, 2.0, 0))
    assert (zero.q, zero.stability, alive.stability) == (0.0, "unstable", "stable")
    np.testing.assert_allclose(alive.q, 4 / np.pi * np.arcsin(2 * alive.q / (1 + 2 * alive.q)))
    assert [round(found.c, 9) for found in alive.correlations] == [-1, 0, 1]
    assert [found.stability for found in alive.correlations] == ["unstable", "stable", "unstable"]


def test_close_and_touching_roots_are_told_apart():
    critical = wn.critical(wn.gelu)
    w2, b2 = critical.sigma_w**2, critical.sigma_b**2
    at = [(point.q, point.stability) for point in wn.fixed_points(layer(wn.gelu, w2, b2))]
    assert [stability for _, stability in at] == ["stable", "half-stable"]
    np.testing.assert_allclose(at[1][0], (3 + 17**0.5) / 2, rtol=1e-6)
    above = wn.fixed_points(layer(wn.gelu, w2, b2 + 3e-7))  # the touching root splits
    assert [point.stability for point in above] == ["stable", "unstable", "stable"]
    assert above[1].q < (3 + 17**0.5) / 2 < above[2].q < above[1].q + 0.3
    below = wn.fixed_points(layer(wn.gelu, w2, b2 - 1e-4))
    assert [point.stability for point in below] == ["stable"]


def test_relu_keeps_every_variance_at_two():
    (point,) = wn.fixed_points(layer(wn.relu, 2.0, 0))
    assert (point.q, point.stability, point.correlations[0].stability) == (1.0, "neutral", "stable")
    assert wn.depth_scales(layer(wn.relu, 2.0, 0))[:2] == (np.inf, np.inf)
    (point,) = wn.fixed_points(layer(wn.relu, 1.0, 0.25))
    np.testing.assert_allclose([point.q, point.chi_par, point.chi_perp], 0.5)


def test_linear_layers_keep_every_correlation():
    (point,) = wn.fixed_points(layer(wn.identity, 1.0, 0))
    assert point.correlations == ((1.0, "neutral", 1.0),)


def test_a_residual_stream_grows_and_a_damped_one_settles():
    branch = wn.serial(wn.erf, wn.dense(sigma_w=0.8, sigma_b=0.1))
    assert wn.fixed_points(wn.residual(branch)) == ()
    with pytest.raises(ValueError, match="grows without bound"):
        wn.depth_scales(wn.residual(branch))
    (point,) = wn.fixed_points(lambda x: 0.8 * x + branch(x))
    wanted = 0.64 * point.q + 0.64 * 2 / np.pi * np.arcsin(2 * point.q / (1 + 2 * point.q)) + 0.01
    np.testing.assert_allclose(point.q, wanted)


def test_a_normalized_block_forgets_its_variance_at_once():
    (point,) = wn.fixed_points(wn.serial(wn.dense(sigma_w=1.2, sigma_b=0.3), wn.layer_norm(), wn.relu))
    np.testing.assert_allclose(point.q, 1.2**2 / 2 + 0.3**2)
    np.testing.assert_allclose(point.chi_perp, 1.2**2 / 2 / point.q)
    assert abs(point.chi_par) < 1e-12


def test_a_convolution_has_the_fixed_points_of_a_dense_layer():
    dense = wn.serial(wn.erf, wn.dense(sigma_w=1.5, sigma_b=0.2))
    conv = wn.serial(wn.erf, wn.conv(3, 1.5, 0.2, padding="CIRCULAR"))
    for found, wanted in zip(wn.fixed_points(conv, positions=(4,)), wn.fixed_points(dense), strict=True):
        np.testing.assert_allclose(found.q, wanted.q)
        np.testing.assert_allclose(found.correlations[0].c, wanted.correlations[0].c)


def test_dropout_leaves_a_correlation_below_one():
    (point,) = wn.fixed_points(wn.serial(wn.dense(sigma_w=1.0, sigma_b=0.2), wn.relu, wn.dropout(0.3)))
    (found,) = point.correlations
    assert found.stability == "stable"
    assert found.c < 1


GAINS = [  # the gain of a framework: phi, sigma_w^2, q, chi_par, chi_1
    (wn.tanh, 25 / 9, 1.1785, 0.431, 1.2098),
    pytest.param(wn.selu, 0.5625, 0.0230, 0.924, 1.0037, marks=pytest.mark.slow),
    pytest.param(wn.selu, 1.0, 1.0, 0.783, 1.0716, marks=pytest.mark.slow),
    (wn.relu, 1 / 3, 0.0, 1 / 6, 1 / 6),
    (wn.gelu, 2.0, 0.0, 0.5, 0.5),
]


@pytest.mark.parametrize(("phi", "w2", "q", "chi_par", "chi_1"), GAINS)
def test_gains_of_frameworks_in_mean_field_terms(phi, w2, q, chi_par, chi_1):
    diagram = wn.phase(phi, sigma_w=[w2**0.5], sigma_b=[0.0])
    found = [part[0, 0] for part in (diagram.q, diagram.chi_par, diagram.chi_1)]
    np.testing.assert_allclose(found, [q, chi_par, chi_1], atol=6e-4)
