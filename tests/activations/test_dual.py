"""Routes: cross duals, closed forms at extreme variances, stated errors, functions of the user."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

import widenet.activations as acts
from widenet.activations import derivative, hermite_series, split_rule
from widenet.activations import dual as duals
from widenet.activations.activation import with_dtype
from widenet.activations.rectified_power import angular_polynomials

Q1, Q2, K = 1.7, 0.6, 0.55
PAIRS = {
    "relu, leaky": (acts.relu, acts.leaky_relu(0.2)),
    "relu, identity": (acts.relu, acts.identity),
    "step, sign": (acts.step, acts.sign),
    "step, identity": (acts.step, acts.identity),
    "step, relu": (acts.step, acts.relu),
    "erf, scaled": (acts.erf, acts.scaled_erf(0.5, 2.0, 0.3)),
    "sin, cos": (acts.sine(1.0, 0.7, 0.3), acts.cos),
    "rbf, sin": (acts.rbf(0.7), acts.sin),
    "exponentials": (acts.exponential(0.5, 0.3), acts.exponential(1.0, -0.4)),
    "gaussians": (acts.gaussian(1.0, 0.3), acts.gaussian(2.0, 0.9)),
    "polynomials": (acts.polynomial((0.3, 1.0, 0.5)), acts.monomial(3)),
    "constant, relu": (acts.constant(2.0), acts.relu),
    "identity, tanh": (acts.identity, acts.tanh),
    "tanh, sigmoid": (acts.tanh, acts.sigmoid),
    "relu, tanh": (acts.relu, acts.tanh),
    "erf, elu": (acts.erf, acts.elu(0.5)),
    "clipped, relu": (acts.crelu(0.4, 0.9), acts.relu),
    "clipped, identity": (acts.crelu(0.4, 0.9), acts.identity),
    "erf, clipped": (acts.erf, acts.shifted_relu(0.4)),
}


def quadrature(phi, psi):
    phi, psi = (with_dtype(f, jnp.float64) for f in (phi, psi))
    rule = split_rule.rule if phi.breakpoints or psi.breakpoints else hermite_series.series_dual
    return float(rule(phi, psi, *map(jnp.asarray, (Q1, Q2, K))))


@pytest.mark.parametrize(("phi", "psi"), PAIRS.values(), ids=PAIRS.keys())
def test_cross_duals_agree_with_quadrature_and_are_symmetric(phi, psi):
    expected = quadrature(phi, psi), quadrature(derivative(phi), derivative(psi))
    for f, g, q1, q2 in ((phi, psi, Q1, Q2), (psi, phi, Q2, Q1)):
        assert float(duals.cross_dual(f, g, q1, q2, K)) == pytest.approx(expected[0], rel=1e-11, abs=1e-13)
        assert float(duals.cross_slope(f, g, q1, q2, K)) == pytest.approx(expected[1], rel=1e-11, abs=1e-13)


@pytest.mark.parametrize(("phi", "psi"), PAIRS.values(), ids=PAIRS.keys())
def test_cross_duals_have_the_gradients_of_finite_differences(phi, psi):
    function = jax.jit(lambda x: duals.cross_dual(phi, psi, *x))
    point = jnp.asarray([Q1, Q2, K])
    gradient = jax.jit(jax.grad(function))(point)
    for i in range(3):
        move = 1e-5 * np.eye(3)[i]
        difference = float(function(point + move) - function(point - move)) / 2e-5
        assert float(gradient[i]) == pytest.approx(difference, rel=1e-7, abs=1e-9)


@pytest.mark.parametrize("q", [1e-8, 1.0, 1e4, 1e15])
@pytest.mark.parametrize("c", [-1.0, -0.5, 0.0, 0.9, 1.0])
def test_erf_and_gelu_do_not_overflow_or_cancel_in_single_precision(q, c):
    q = np.float32(q)
    k = np.float32(c) * q
    with mp.workdps(60):
        x, y = mp.mpf(float(q)), mp.mpf(float(k))
        erf = 2 / mp.pi * mp.asin(2 * y / (1 + 2 * x))
        rest = (x * x + y * y * (2 / (1 + x) - 1)) / (2 * mp.pi * mp.sqrt((1 + x) ** 2 - y * y))
        gelu = y * (mp.mpf(1) / 4 + mp.asin(y / (1 + x)) / (2 * mp.pi)) + rest
    for phi, exact, scale in ((acts.erf, erf, abs(float(erf))), (acts.gelu, gelu, float(q) * min(1.0, float(q)))):
        got = duals.dual(phi, *(jnp.asarray(z, jnp.float32) for z in (q, q, k)))
        assert got.dtype == jnp.float32
        assert float(got) == pytest.approx(float(exact), rel=5e-7, abs=5e-7 * scale)


def test_small_covariances_of_odd_functions_keep_their_digits():
    k = jnp.asarray(1e-12, jnp.float32)
    one = jnp.ones((), jnp.float32)
    for phi, slope in ((acts.erf, 4 / (3 * np.pi)), (acts.sin, np.exp(-1))):
        assert float(duals.dual(phi, one, one, k)) == pytest.approx(1e-12 * slope, rel=1e-6)


@pytest.mark.parametrize("c", [-1.0, -0.999, -0.3, 0.0, 0.7, 1.0])
def test_rectified_powers_are_cho_and_saul(c):
    theta = mp.acos(c)
    s, co, rest = mp.sin(theta), mp.cos(theta), mp.pi - theta
    angular = {2: 3 * s * co + rest * (1 + 2 * co**2), 3: 15 * s - 11 * s**3 + rest * (9 * co + 6 * co**3)}
    for n, j in angular.items():
        got = duals.dual(acts.rectified_power(n), Q1, Q2, c * np.sqrt(Q1 * Q2))
        scale = (1.7 * 0.6) ** (n / 2) / (2 * np.pi)
        assert float(got) == pytest.approx(float(j) * scale, rel=1e-13, abs=1e-13 * scale * 100)


def test_angular_polynomials_of_order_two():
    assert angular_polynomials(2) == ((1.0, 0.0, 2.0), (0.0, 3.0))


def test_orders_zero_and_one_are_step_and_relu_and_negative_ones_are_refused():
    assert acts.rectified_power(0) is acts.step
    assert acts.rectified_power(1) is acts.relu
    with pytest.raises(ValueError, match="whole number"):
        acts.rectified_power(-1)
    with pytest.raises(ValueError, match="at least one"):
        acts.polynomial(())


def test_functions_of_the_user_with_kinks_and_jumps():
    def broken(u):
        return jnp.where(u > 0.4, jnp.exp(-u), u)

    jump = acts.activation(broken, breakpoints=(0.4,), continuous=False)
    hinge = acts.activation(lambda u, a: jnp.abs(u - 0.4) * a, name="hinge", breakpoints=(0.4,), params=(1.5,))
    for phi in (jump, hinge):
        function = jax.jit(lambda x, phi=phi: duals.dual(phi, *x))
        point = jnp.asarray([Q1, Q2, -K])
        gradient = jax.grad(function)(point)
        for i in range(3):
            move = 1e-5 * np.eye(3)[i]
            difference = float(function(point + move) - function(point - move)) / 2e-5
            assert float(gradient[i]) == pytest.approx(difference, rel=1e-7)
    with pytest.raises(ValueError, match="continuous=False"):
        acts.activation(jnp.sign, breakpoints=(0.0,))


def test_split_rule_matches_mpmath_for_a_kink_away_from_zero():
    phi = acts.activation(lambda u: jnp.maximum(u - 0.4, 0), name="shifted", breakpoints=(0.4,))
    for c in (-1.0, -0.99999, 0.3, 0.99999, 1.0):
        got = float(duals.dual(phi, Q1, Q2, c * np.sqrt(Q1 * Q2)))
        with mp.workdps(30):
            assert got == pytest.approx(float(_shifted_relus(mp.mpf(c))), rel=1e-12, abs=1e-14)


def _shifted_relus(c):
    """E over u of relu(u - 0.4) times the known mean of relu(v - 0.4) given u."""
    p1, p2, level = mp.sqrt(mp.mpf("1.7")), mp.sqrt(mp.mpf("0.6")), mp.mpf("0.4")
    spread = p2 * mp.sqrt(1 - c * c)

    def mean(m):
        m -= level
        return max(m, 0) if spread == 0 else m * mp.ncdf(m / spread) + spread * mp.npdf(m / spread)

    start, other = level / p1, c and level / (p2 * c)
    width = spread / p2 * 8
    inside = [other + w for w in (-width, 0, width)] if c else []
    knots = sorted({start, mp.mpf(14), *(x for x in inside if start < x < 14), start + 1, start + 3})
    return mp.quad(lambda x: (p1 * x - level) * mean(p2 * c * x) * mp.npdf(x), knots)


def test_stated_errors_are_small_where_promised():
    for phi in acts.NAMED.values():
        assert stated(phi, 1.0, "float64") < 1e-12
        assert stated(phi, 1.0, "float32") < 3e-5
    assert 1e-9 < stated(acts.tanh, 9.0, "float64") < 1e-7
    assert "Hermite series" in acts.accuracy_table(acts.tanh)


def stated(phi, q, dtype):
    return acts.stated_error(phi, q, dtype)


def test_activations_of_one_kind_share_one_compilation():
    compiled = []

    @jax.jit
    def function(phi, x):
        compiled.append(phi.name)
        return phi(x)

    for phi in (acts.leaky_relu(0.1), acts.leaky_relu(0.2), acts.rectified_power(3), acts.rectified_power(3)):
        function(phi, jnp.ones(3))
        function(derivative(phi), jnp.ones(3))
    assert len(compiled) == 4
