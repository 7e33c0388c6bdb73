"""Clipped and sparse functions: published variance maps, other routes to the same numbers, random samples."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import widenet.activations as acts
from tests.activations.rows import both, quick
from widenet.activations import derivative, split_rule
from widenet.activations import dual as duals
from widenet.activations.activation import with_dtype

Q1, Q2, K = 1.7, 0.6, 0.55
STEP = 1e-4
SPARSE = {"crelu": (acts.crelu, 1), "cst": (acts.cst, 2)}  # and the number of sides that pass
EDGE_OF_CHAOS = [  # at q* = 1: the share of zeros, m, sigma_w^2, sigma_b^2, V', V''
    ("crelu", 0.7, 1.0, 4.2320, 0.4783, 0.4717, -0.3665),
    ("crelu", 0.7, 2.0, 3.3990, 0.3486, 0.8879, -0.0619),
    ("crelu", 0.7, np.inf, 3.3333, 0.3328, 1.0, 0.3039),
    ("crelu", 0.85, 0.5, 11.3916, 0.7526, 0.3020, -0.1709),
    ("crelu", 0.85, 1.0, 7.7431, 0.6213, 0.6116, -0.0711),
    ("crelu", 0.85, 1.5, 6.9252, 0.5634, 0.8339, 0.2450),
    ("crelu", 0.85, 2.0, 6.7203, 0.5433, 0.9466, 0.5522),
    ("crelu", 0.85, np.inf, 6.6667, 0.5368, 1.0, 0.8055),
    ("crelu", 0.9, 1.0, 11.2686, 0.6714, 0.6670, 0.1872),
    ("cst", 0.85, 1.0, 7.3913, 0.6991, 0.6991, 0.3944),
    ("cst", 0.7, 1.0, 3.8716, 0.6213, 0.6116, -0.0711),
]


def threshold_of(name, zeros):
    """tau with P(phi(u) = 0) = zeros at unit variance."""
    return special.ndtri(zeros if name == "crelu" else (1 + zeros) / 2)


@quick
def variance_map(phi, q):
    """E phi'^2, E phi^2 and the first two derivatives of E phi^2 in q."""
    rate = jax.grad(lambda x: duals.second_moment(phi, x))
    curvature = (rate(q + STEP) - rate(q - STEP)) / (2 * STEP)
    return duals.slope(phi, q, q, q), duals.second_moment(phi, q), rate(q), curvature


@pytest.mark.parametrize("row", EDGE_OF_CHAOS, ids=str)
def test_variance_maps_at_the_edge_of_chaos_are_those_of_price(row):
    name, zeros, m, *expected = row
    make, _ = SPARSE[name]
    chi, moment, rate, curvature = variance_map(make(threshold_of(name, zeros), m), jnp.ones(()))
    np.testing.assert_allclose([1 / chi, 1 - moment / chi, rate / chi, curvature / chi], expected, rtol=0, atol=6e-5)


@pytest.mark.parametrize("name", SPARSE)
def test_moments_are_those_of_integration_by_parts(name):
    make, sides = SPARSE[name]
    q, tau, m = 1.7, 0.8, 1.3
    p, n, tail = q**0.5, stats.norm.pdf, lambda x: special.ndtr(-x)
    h, g = tau / p, (tau + m) / p
    passed = tail(h) - tail(g)
    square = q * (passed + h * n(h) - g * n(g)) - 2 * tau * p * (n(h) - n(g)) + tau**2 * passed + m**2 * tail(g)
    chi, moment, rate, _ = variance_map(make(tau, m), jnp.asarray(q))
    assert float(moment) == pytest.approx(sides * square, rel=1e-13)
    assert float(chi) == pytest.approx(sides * passed, rel=1e-13)
    assert float(rate) == pytest.approx(sides * (passed - m * n(g) / p), rel=1e-12)


def test_the_share_of_zeros_is_the_one_asked_for():
    u = np.random.default_rng(0).normal(size=200_000)
    for name, (make, _) in SPARSE.items():
        phi = make(threshold_of(name, 0.85), 1.0)
        zeros = np.mean(np.asarray(phi(jnp.asarray(u))) == 0)
        assert abs(zeros - 0.85) < 5 * np.sqrt(0.85 * 0.15 / len(u))


NEAR_ONE = (-1.0, -0.999999, 0.9999, 0.999999999, 1.0)
SATURATED = (acts.hard_tanh, acts.relu6, acts.crelu(1.0, 1.0), acts.cst(0.5, 2.0))
SAMPLED = (acts.crelu(0.4, 0.7), acts.cst(0.3, 1.1), acts.hard_sigmoid, acts.dyt(1.3, 0.7, 0.2), acts.prelu(0.1))


@pytest.mark.parametrize("phi", SAMPLED, ids=[phi.name for phi in SAMPLED])
def test_random_samples_agree(phi):
    u, v = np.random.default_rng(1).multivariate_normal([0, 0], [[Q1, K], [K, Q2]], size=300_000).T
    for f, exact in zip((phi, derivative(phi)), both(phi, *map(jnp.asarray, (Q1, Q2, K))), strict=True):
        product = np.asarray(f(jnp.asarray(u)) * f(jnp.asarray(v)))
        assert abs(product.mean() - float(exact)) < 5 * product.std() / np.sqrt(len(u))


SAME = {
    "crelu without a clip": (acts.crelu(0.6, np.inf), acts.shifted_relu(0.6)),
    "cst without a clip": (acts.cst(0.6, np.inf), acts.soft_threshold(0.6)),
    "a threshold below zero": (acts.crelu(-0.4, 0.9), acts.piecewise_linear((-0.4, 0.5), (0, 1, 0), 0.4)),
    "hard tanh": (acts.hard_tanh, acts.piecewise_linear((-1, 1), (0, 1, 0))),
    "relu": (acts.relu, acts.piecewise_linear((0,), (0, 1))),
    "prelu": (acts.prelu(0.3), acts.leaky_relu(0.3)),
    "a kink that is none": (acts.shifted_relu(0.6), acts.piecewise_linear((-1, 0.6), (0, 0, 1))),
}


@pytest.mark.parametrize(("phi", "psi"), SAME.values(), ids=SAME.keys())
def test_one_function_made_in_two_ways_has_one_dual(phi, psi):
    u = jnp.linspace(-3, 3, 25)
    np.testing.assert_allclose(phi(u), psi(u), rtol=0, atol=1e-15)
    q1, q2, k = jnp.asarray([(Q1, Q2, K), (Q1, Q2, -K), (1.0, 1.0, 1.0), (1.0, 1.0, -1.0), (0.0, 1.0, 0.0)]).T
    for one, other in zip(both(phi, q1, q2, k), both(psi, q1, q2, k), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-15)
    np.testing.assert_allclose(duals.mean(phi, q1), duals.mean(psi, q1), rtol=0, atol=1e-15)


@pytest.mark.parametrize("phi", [acts.cst(0.6, 0.9), acts.crelu(-0.4, 0.9)], ids=["cst", "crelu"])
def test_the_closed_form_is_the_split_rule_up_to_correlation_one(phi):
    q1, q2, c = jnp.asarray([(q1, q2, c) for c in NEAR_ONE for q1, q2 in ((1.0, 1.0), (1.7, 0.6))]).T
    k = jnp.where(q1 == q2, c * q1, c * jnp.sqrt(q1 * q2))
    phi = with_dtype(phi, k.dtype)
    np.testing.assert_allclose(both(phi, q1, q2, k)[0], quick(split_rule.rule)(phi, phi, q1, q2, k), rtol=0, atol=1e-13)


def test_small_variances_keep_their_digits():
    for q in (1e-8, 1e-2):
        for phi, exact in ((acts.hard_tanh, 0.3 * q), (acts.hard_sigmoid, 0.25 + 0.3 * q / 36)):
            assert float(duals.dual(phi, q, q, 0.3 * q)) == pytest.approx(exact, rel=1e-15)


@pytest.mark.parametrize("phi", SATURATED, ids=[phi.name for phi in SATURATED])
def test_single_precision_is_relative_to_the_variance(phi):
    q, c = (x.ravel().astype(np.float32) for x in np.meshgrid([1e-6, 1.0, 1e2, 1e4], [-1.0, -0.9, 0.5, 0.99, 1.0]))
    got, exact = (both(with_dtype(phi, t), *(x.astype(t) for x in (q, q, c * q)))[0] for t in ("float32", "float64"))
    assert got.dtype == np.float32
    assert (np.abs(got - exact) <= 1e-6 * np.abs(exact) + 5e-7 * q).all()


def test_gradients_reach_what_a_function_is_made_from_inside_jit():
    @jax.jit
    def function(tau, m):
        return duals.dual(acts.crelu(tau, m), Q1, Q2, K)

    h = 1e-6
    for i, gradient in enumerate(jax.grad(function, (0, 1))(0.4, 0.9)):
        step = h * np.eye(2)[i]
        difference = float(function(0.4 + step[0], 0.9 + step[1]) - function(0.4 - step[0], 0.9 - step[1])) / (2 * h)
        assert float(gradient) == pytest.approx(difference, rel=1e-7)


def test_an_infinite_clip_has_no_gradient_and_the_threshold_has_that_of_a_shifted_relu():
    by_tau, by_m = jax.grad(lambda tau, m: duals.dual(acts.crelu(tau, m), Q1, Q2, K), (0, 1))(0.4, np.inf)
    shifted = jax.grad(lambda tau: duals.dual(acts.shifted_relu(tau), Q1, Q2, K))(0.4)
    assert float(by_tau) == pytest.approx(float(shifted), rel=1e-14)
    assert float(by_m) == 0


def test_dynamic_tanh_is_tanh_at_another_variance():
    alpha, gamma, beta = 0.7, 1.4, 0.3
    phi, args = acts.dyt(alpha, gamma, beta), [alpha**2 * x for x in (Q1, Q2, K)]
    value, slope = duals.dual(phi, Q1, Q2, K), duals.slope(phi, Q1, Q2, K)
    assert float(value) == pytest.approx(gamma**2 * float(duals.dual(acts.tanh, *args)) + beta**2, rel=1e-13)
    assert float(slope) == pytest.approx((alpha * gamma) ** 2 * float(duals.slope(acts.tanh, *args)), rel=1e-13)
    assert float(duals.mean(phi, Q1)) == beta


def test_functions_are_those_of_jax():
    u = jnp.linspace(-7, 7, 113)
    pairs = (("hard_tanh", jax.nn.hard_tanh), ("relu6", jax.nn.relu6), ("hard_sigmoid", jax.nn.hard_sigmoid))
    for name, fn in pairs:
        np.testing.assert_array_equal(acts.NAMED[name](u), fn(u))
    np.testing.assert_array_equal(acts.piecewise_constant((-1.0, 2.0), (0, 1, 5))(u), (u > -1) * 1.0 + (u > 2) * 4.0)


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="2 breakpoints and 2 slopes"):
        acts.piecewise_linear((0.0, 1.0), (1.0, 2.0))
    with pytest.raises(ValueError, match="at least one breakpoint"):
        acts.piecewise_constant((), (1.0,))
    with pytest.raises(ValueError, match="must rise"):
        acts.piecewise_linear((1.0, 0.0), (0.0, 1.0, 0.0))
    for make in (lambda: acts.crelu(1.0, -1.0), lambda: acts.cst(-1.0, 1.0), lambda: acts.soft_threshold(-0.1)):
        with pytest.raises(ValueError, match="at least 0"):
            make()
