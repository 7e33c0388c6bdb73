"""The relu family against mpmath: every digit near identical inputs, in both precisions."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from widenet.activations import abrelu, absolute, arccos_table, leaky_relu, relu, sign, step, tanh
from widenet.activations import dual as duals

GAPS = (0.0, 1e-14, 1e-12, 1e-8, 1e-6, 1e-4, 1e-2, 0.3, 0.999, 1.0, 1.001, 1.7, 1.9999, 2.0)
FAMILY = {  # name: activation, its slopes or levels (a, b), is it continuous
    "relu": (relu, 0, 1, True),
    "leaky_relu": (leaky_relu(0.25), 0.25, 1, True),
    "absolute": (absolute, -1, 1, True),
    "abrelu": (abrelu(-0.5, 2.0), -0.5, 2, True),
    "step": (step, 0, 1, False),
    "sign": (sign, -1, 1, False),
}


def exact(q1, q2, d, a, b, continuous):
    """Distance and slope with 60 digits, of the numbers as rounded."""
    with mp.workdps(60):
        return _exact(q1, q2, d, a, b, continuous)


def _exact(q1, q2, d, a, b, continuous):
    q1, q2, d, a, b = (mp.mpf(float(x)) for x in (q1, q2, d, a, b))
    s = mp.sqrt(q1 * q2)
    c = max(-1, min(1, ((q1 + q2) / 2 - d) / s))
    theta = mp.acos(c)
    if not continuous:
        return (b - a) ** 2 * theta / (2 * mp.pi), mp.mpf(0)
    half = (mp.pi - theta) / (2 * mp.pi)
    relus = s * (mp.sin(theta) / (2 * mp.pi) + c * half)
    return (a * a + b * b) * (q1 + q2) / 4 - a * b * c * s - (b - a) ** 2 * relus, a * b + (b - a) ** 2 * half


both_precisions = pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 6e-7), (np.float64, 3e-15)])


@pytest.mark.parametrize("name", FAMILY)
@both_precisions
def test_distance_form_keeps_every_digit_at_equal_variances(name, dtype, rtol):
    phi, a, b, continuous = FAMILY[name]
    for q in (1.0, 1e-9, 3e15):
        q = dtype(q)
        for d in q * np.array(GAPS, dtype):
            value, slope = exact(q, q, d, a, b, continuous)
            got = [float(x) for x in duals.distance_dual(phi, *map(jnp.asarray, (q, q, d)))]
            assert got[0] == pytest.approx(float(value), rel=rtol, abs=1e-40)
            assert got[1] == pytest.approx(float(slope), abs=rtol * max(abs(a), abs(b)) ** 2)


@pytest.mark.parametrize("name", FAMILY)
@both_precisions
def test_distance_form_is_accurate_at_unequal_variances(name, dtype, rtol):
    phi, a, b, continuous = FAMILY[name]
    for q1, q2 in ((1.7, 0.6), (1e-9, 1e9), (2.0, 1e-15)):
        q1, q2, s = dtype(q1), dtype(q2), np.sqrt(dtype(q1)) * np.sqrt(dtype(q2))
        for c in (-0.9, -0.3, 0.0, 0.3, 0.9):
            d = (q1 + q2) / 2 - dtype(c) * s
            value, slope = exact(q1, q2, d, a, b, continuous)
            got = [float(x) for x in duals.distance_dual(phi, *map(jnp.asarray, (q1, q2, d)))]
            uncertain = float(1 + max(q1, q2) / s)  # of the angle, in units of rounding of d
            assert got[0] == pytest.approx(float(value), rel=rtol * (1 if continuous else uncertain))
            assert got[1] == pytest.approx(float(slope), abs=rtol * uncertain * max(abs(a), abs(b)) ** 2)


@pytest.mark.parametrize("name", FAMILY)
def test_identical_inputs_stay_identical(name):
    phi = FAMILY[name][0]
    for dtype in (jnp.float32, jnp.float64):
        q = jnp.asarray([0.0, 1e-30, 0.3, 1.0, 7.1, 1e15], dtype)
        assert (duals.distance_dual(phi, q, q, 0 * q)[0] == 0).all()


@pytest.mark.parametrize("name", [name for name in FAMILY if FAMILY[name][3]])
def test_distance_form_at_zero_variance_is_the_limit(name):
    phi, a, b, _ = FAMILY[name]
    for dtype in (jnp.float32, jnp.float64):
        q = jnp.asarray([0.0, 2.0], dtype)
        got = duals.distance_dual(phi, q, q[::-1], (q + q[::-1]) / 2)[0]
        np.testing.assert_allclose(got, (a * a + b * b) / 2, rtol=1e-6)


@pytest.mark.parametrize("name", FAMILY)
def test_distance_form_has_the_derivatives_of_finite_differences(name):
    phi = FAMILY[name][0]
    points = jnp.asarray([(1.7, 0.6, 0.4), (1.0, 1.0, 0.3), (1.0, 1.0, 1.8), (0.5, 1.5, 1.2)])

    def function(x):
        return jnp.stack(duals.distance_dual(phi, *x))

    moves = 1e-5 * jnp.eye(3)
    difference = jax.vmap(lambda x: jax.vmap(lambda h: function(x + h) - function(x - h), out_axes=-1)(moves) / 2e-5)
    for jacobian in (jax.jacfwd, jax.jacrev):
        np.testing.assert_allclose(jax.vmap(jacobian(function))(points), difference(points), rtol=1e-7, atol=1e-9)


def test_small_derivatives_keep_their_relative_accuracy():
    """dd'/dq1 = (theta - sin(theta)) / (4 pi) at equal variances."""
    with mp.workdps(60):
        for gap in (1e-14, 1e-8, 1e-3, 0.1, 1.5):
            got = jax.grad(lambda q, gap=gap: duals.distance_dual(relu, q, jnp.ones(()), jnp.asarray(gap))[0])(1.0)
            theta = mp.acos(1 - mp.mpf(gap))
            assert float(got) == pytest.approx(float((theta - mp.sin(theta)) / (4 * mp.pi)), rel=1e-13)


@pytest.mark.parametrize("name", FAMILY)
def test_derivatives_are_finite_at_identical_opposite_and_zero_inputs(name):
    phi = FAMILY[name][0]
    points = jnp.asarray([(1, 1, 0), (1, 1, 2), (0, 0, 0), (0, 1, 0.5), (1, 0, 0.5)], jnp.float64)

    def derivatives(x):
        first = jax.jacrev(lambda x: duals.distance_dual(phi, *x))
        return first(x), jax.jacfwd(first)(x)

    for part in jax.tree.leaves(jax.jit(jax.vmap(derivatives))(points)):
        assert np.isfinite(part).all()


def test_slopes_of_two_slopes_have_gradients():
    def total(a, b, part):
        return duals.distance_dual(abrelu(a, b), jnp.asarray(1.7), jnp.asarray(0.6), jnp.asarray(0.5))[part]

    for part in (0, 1):
        for i in (0, 1):
            move = np.eye(2)[i] * 1e-5
            at = np.array([-0.4, 1.3])
            difference = (total(*(at + move), part) - total(*(at - move), part)) / 2e-5
            assert float(jax.grad(total, i)(*at, part)) == pytest.approx(float(difference), rel=1e-8)


def test_covariance_form_agrees_with_distance_form():
    q1, q2, k = jnp.asarray([(1.7, 0.6, 0.4), (1.0, 1.0, 1.0), (1.0, 1.0, -1.0), (0.0, 1.0, 0.0)]).T
    for phi, *_ in FAMILY.values():
        moments = (duals.second_moment(phi, q1) + duals.second_moment(phi, q2)) / 2
        distance, slope = duals.distance_dual(phi, q1, q2, (q1 + q2) / 2 - k)
        np.testing.assert_allclose(duals.dual(phi, q1, q2, k), moments - distance, atol=1e-15)
        np.testing.assert_allclose(duals.slope(phi, q1, q2, k), slope, atol=1e-15)


def test_a_function_without_distance_form_says_so():
    with pytest.raises(ValueError, match="tanh has no distance form"):
        duals.distance_dual(tanh, jnp.ones(()), jnp.ones(()), jnp.zeros(()))


@pytest.mark.parametrize(
    ("name", "rtol"), [("P_SINGLE", 2e-8), ("R_SINGLE", 2e-8), ("P_DOUBLE", 1e-15), ("R_DOUBLE", 1e-15)]
)
def test_coefficients_are_the_chebyshev_interpolants(name, rtol):
    coefs = getattr(arccos_table, name)

    def function(m):
        theta = mp.acos(1 - m)
        return theta / mp.sqrt(2 * m) if name[0] == "P" else (mp.sin(theta) - theta * mp.cos(theta)) / m ** mp.mpf(1.5)

    with mp.workdps(60):
        count = len(coefs)
        points = [(1 + mp.cos(mp.pi * (2 * i + 1) / (2 * count))) / 2 for i in range(count)]
        powers = mp.matrix([[x**j for j in range(count)] for x in points])
        made = mp.lu_solve(powers, mp.matrix([function(x) for x in points]))
        assert [float(x) for x in made] == list(coefs)
        for i in range(1, 201):
            m = mp.mpf(i) / 200
            assert abs(sum(x * m**j for j, x in enumerate(coefs)) / function(m) - 1) < rtol
