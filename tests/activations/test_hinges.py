"""Two hinges against integrals over the correlation in mpmath, up to correlations of one and in both precisions."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest
from scipy import special

from widenet.activations import dual as duals
from widenet.activations import hinges, shifted_relu, stated_error

GAPS = (0.0, 1e-13, 1e-9, 1e-5, 1e-2, 0.4, 1.0, 1.6, 1.999, 2 - 1e-9, 2.0)  # 1 - c
THRESHOLDS = ((0.0, 0.0), (0.7, 0.7), (0.7, 0.70001), (0.3, 1.2), (0.0, 2.5), (5.0, 4.0))
SPREADS = (0.5, 1.0, 2.0, 4.0, 8.0)  # knots of the integral in units of the distance of the thresholds


def reference(gap, h, g):
    """L and E[max(U - h, 0) max(V - g, 0)]: both vanish at c = -1 and have the k-derivatives density and L."""
    gap, h, g = map(mp.mpf, (gap, h, g))
    theta = 2 * mp.asin(mp.sqrt(gap / 2))

    def density(t):
        """That of (U, V) at (h, g) times sin t, of correlation cos t."""
        return mp.exp(-((h - g) ** 2) / (2 * mp.sin(t) ** 2) - h * g / (2 * mp.cos(t / 2) ** 2)) / (2 * mp.pi)

    inside = [x * abs(h - g) for x in SPREADS] + [mp.mpf(1), mp.mpf(2), mp.mpf("2.8"), mp.mpf("3.05")]
    knots = [theta, *sorted(x for x in inside if theta < x < mp.pi), mp.pi]

    def lever(t):
        """Density times cos(theta) - cos(t)."""
        return 2 * mp.sin((t - theta) / 2) * mp.sin((t + theta) / 2) * density(t)

    return [float(mp.quad(f, knots)) for f in (density, lever)] if theta < mp.pi else [0, 0]


@pytest.mark.parametrize(("h", "g"), THRESHOLDS)
@pytest.mark.parametrize(("dtype", "limit"), [(np.float64, 3e-16), (np.float32, 3e-7)])
def test_values_are_those_of_the_integral_over_the_angle(h, g, dtype, limit):
    h, g = dtype(h), dtype(g)
    with mp.workdps(20):
        for gap in GAPS:
            k = dtype(1 - gap) if gap <= 1 else dtype((2 - gap) - 1)
            got = [float(f(dtype(1), dtype(1), k, h, g)) for f in (hinges.joint_tail, hinges.joint_hinge)]
            exact = reference(1 - mp.mpf(float(k)), float(h), float(g))
            np.testing.assert_allclose(got, exact, rtol=0, atol=limit)


@pytest.mark.parametrize("name", ["joint_tail", "joint_hinge"])
def test_variances_are_units(name):
    q1, q2, c = 1.7, 0.3, 0.6
    p1, p2 = q1**0.5, q2**0.5
    function = getattr(hinges, name)
    unit = p1 * p2 if name == "joint_hinge" else 1
    got = function(q1, q2, c * p1 * p2, 0.4 * p1, 0.9 * p2)
    assert float(got) == pytest.approx(unit * float(function(1.0, 1.0, c, 0.4, 0.9)), rel=1e-14)


def test_at_correlation_one_the_farther_threshold_decides():
    for a, b in ((0.2, 0.9), (0.9, 0.2), (0.5, 0.5)):
        far = special.ndtr(-max(a, b))
        assert float(hinges.joint_tail(1.0, 1.0, 1.0, a, b)) == pytest.approx(far, rel=1e-15)
        assert float(hinges.joint_tail(1.0, 1.0, -1.0, a, b)) == 0
        moment = (1 + a * b) * far + np.exp(-(max(a, b) ** 2) / 2) / np.sqrt(2 * np.pi) * (max(a, b) - a - b)
        assert float(hinges.joint_hinge(1.0, 1.0, 1.0, a, b)) == pytest.approx(moment, rel=1e-14)
        assert abs(float(hinges.joint_hinge(1.0, 1.0, -1.0, a, b))) < 1e-16


@pytest.mark.parametrize("name", ["joint_tail", "joint_hinge"])
def test_nothing_passes_a_threshold_at_zero_variance(name):
    q1, q2, k = jnp.asarray([(0.0, 1.3, 0.0), (1.3, 0.0, 0.0), (0.0, 0.0, 0.0)]).T
    value, pull = jax.vjp(lambda *x: getattr(hinges, name)(*x, 0.4, 0.2), q1, q2, k)
    np.testing.assert_array_equal(value, 0)
    assert np.isfinite(pull(jnp.ones(3))).all()


ORDERS = {"hinge": ("joint_hinge", 1e-9), "tail": ("joint_tail", 1e-8)}


@pytest.mark.parametrize(("name", "tolerance"), ORDERS.values(), ids=ORDERS.keys())
@pytest.mark.parametrize("k", [-0.99, 0.2, 0.9999])
def test_derivatives_are_those_of_finite_differences(name, tolerance, k):
    function, h = getattr(hinges, name), 1e-6
    point = jnp.asarray([1.1, 0.95, k, 0.3, 0.8])
    gradient = jax.grad(lambda x: function(*x))(point)
    for i, move in enumerate(h * np.eye(5)):
        difference = float(function(*(point + move)) - function(*(point - move))) / (2 * h)
        assert float(gradient[i]) == pytest.approx(difference, rel=1e-7, abs=tolerance)


@pytest.mark.parametrize(("a", "b"), [(0.4, 0.4), (0.4, 0.9), (0.0, 0.0)])
def test_derivatives_at_correlation_one_are_the_limits_from_below(a, b):
    """Also where q1, q2 and k move together, so that the pair stays one variable."""

    def together(q):
        return hinges.joint_hinge(q, q, q, a, b), hinges.joint_tail(q, q, q, a, b)

    q, h = jnp.asarray(1.3), 1e-6
    exact = jax.jvp(together, (q,), (jnp.ones_like(q),))[1]
    for i in (0, 1):
        assert float(exact[i]) == pytest.approx(float(together(q + h)[i] - together(q - h)[i]) / (2 * h), abs=1e-9)
    by_k = jax.grad(hinges.joint_hinge, 2)(q, q, q, a, b)
    below = [float(hinges.joint_hinge(q, q, q, a, b) - hinges.joint_hinge(q, q, q - x, a, b)) / x for x in (1e-6, 4e-6)]
    assert float(by_k) == pytest.approx(2 * below[0] - below[1], abs=1e-6)  # the error is of order sqrt(x)


def test_second_derivatives_are_finite_everywhere():
    hessian = jax.jit(jax.hessian(lambda x: hinges.joint_hinge(*x)))
    for k in (-1.0, 0.3, 1.0):
        for a, b in ((0.0, 0.0), (0.4, 0.4), (0.4, 0.9)):
            assert np.isfinite(hessian(jnp.asarray([1.0, 1.0, k, a, b]))).all()


@pytest.mark.parametrize(("dtype", "limit"), [(np.float64, 1e-16), (np.float32, 3e-8)])
def test_the_rule_for_owens_function_has_the_accuracy_that_it_states(dtype, limit):
    h, t = np.meshgrid(np.linspace(0, 9, 60), np.linspace(0, 1, 41))
    h, t = h.astype(dtype), t.astype(dtype)
    got = hinges._owen(jnp.asarray(h), jnp.asarray(t))
    assert got.dtype == dtype
    np.testing.assert_allclose(got, special.owens_t(h.astype(float), t.astype(float)), rtol=0, atol=limit)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_errors_are_below_those_stated_also_where_few_samples_pass(dtype):
    for q in (0.03, 0.1, 1.0, 30.0):
        phi, stated = shifted_relu(1.0), stated_error(shifted_relu(1.0), q, dtype)
        for c in (0.9, 0.3, -0.5):
            args = [dtype(x) for x in (q, q, c * q)]
            with mp.workdps(25):
                gap, h = 1 - mp.mpf(float(args[2])) / mp.mpf(float(args[0])), 1 / mp.sqrt(mp.mpf(float(args[0])))
                exact = float(args[0]) * reference(gap, h, h)[1]
            assert abs(float(duals.dual(phi, *args)) - exact) < stated
