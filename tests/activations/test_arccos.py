"""The relu family against mpmath: every digit near identical inputs, in both precisions."""

import jax
import jax.numpy as jnp
import mpmath as mp
import numpy as np
import pytest

from widenet.activations import abrelu, absolute, arccos_table, leaky_relu, relu, sign, step
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
every_member = pytest.mark.parametrize("name", FAMILY)


def exact(gap, a, b, continuous):
    """Cosine distance after and slope, with 60 digits, of the gap as rounded."""
    with mp.workdps(60):
        theta = mp.acos(1 - mp.mpf(float(gap)))
        half = (mp.pi - theta) / (2 * mp.pi)
        norm = mp.mpf(a * a + b * b) / 2
        if not continuous:
            return float((b - a) ** 2 * theta / (2 * mp.pi) / norm), 0.0
        relus = mp.sin(theta) / (2 * mp.pi) + mp.cos(theta) * half
        return float(1 - (a * b * mp.cos(theta) + (b - a) ** 2 * relus) / norm), float(a * b + (b - a) ** 2 * half)


@every_member
@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 6e-7), (np.float64, 3e-15)])
def test_the_cosine_distance_keeps_every_digit(name, dtype, rtol):
    phi, a, b, continuous = FAMILY[name]
    for gap in np.array(GAPS, dtype):
        distance, slope = exact(gap, a, b, continuous)
        got = [float(x) for x in phi.distance(jnp.asarray(gap), *phi.params)]
        assert got[0] == pytest.approx(distance, rel=rtol, abs=1e-40)
        assert got[1] == pytest.approx(slope, abs=rtol * max(abs(a), abs(b)) ** 2)


@every_member
def test_the_covariance_form_is_the_distance_form(name):
    phi = FAMILY[name][0]
    for q1, q2 in ((1.0, 1.0), (1.7, 0.6), (1e-3, 20.0)):
        gap = jnp.asarray(GAPS)
        s = np.sqrt(q1 * q2)
        moments = np.sqrt(duals.second_moment(phi, jnp.asarray(q1)) * duals.second_moment(phi, jnp.asarray(q2)))
        distance, slope = phi.distance(gap, *phi.params)
        variances = jnp.asarray(q1), jnp.asarray(q2)
        loose = 4 * np.sqrt(np.finfo(float).eps * max(q1, q2) / s)  # of an angle taken from a rounded covariance
        np.testing.assert_allclose(
            duals.dual(phi, *variances, s * (1 - gap)), moments * (1 - distance), rtol=0, atol=4 * loose * max(s, 1)
        )
        np.testing.assert_allclose(duals.slope(phi, *variances, s * (1 - gap)), slope, rtol=0, atol=8 * loose)


@every_member
def test_derivatives_are_those_of_finite_differences(name):
    phi = FAMILY[name][0]
    gap, h = jnp.asarray([0.01, 0.3, 1.2, 1.9]), 1e-6

    def function(g):
        return jnp.stack(phi.distance(g, *phi.params))

    difference = (function(gap + h) - function(gap - h)) / (2 * h)
    tangent = jax.jvp(function, (gap,), (jnp.ones_like(gap),))[1]
    np.testing.assert_allclose(tangent, difference, rtol=1e-7, atol=1e-9)


@every_member
def test_derivatives_are_finite_at_identical_and_opposite_inputs(name):
    phi = FAMILY[name][0]
    for gap in (0.0, 2.0):
        for output in (0, 1):
            assert np.isfinite(jax.grad(lambda g, i=output: phi.distance(g, *phi.params)[i])(gap))


def test_gradients_reach_the_slopes():
    def function(a):
        return jnp.stack(abrelu(a, 2.0).distance(jnp.asarray(0.4), a, 2.0))

    difference = (function(0.3 + 1e-6) - function(0.3 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.jacfwd(function)(0.3), difference, rtol=1e-7)


@pytest.mark.parametrize(("single", "p_limit", "r_limit"), [(True, 2e-8, 2e-8), (False, 1e-15, 1e-15)])
def test_the_polynomials_have_the_accuracy_that_they_state(single, p_limit, r_limit):
    p, r = ("P_SINGLE", "R_SINGLE") if single else ("P_DOUBLE", "R_DOUBLE")
    with mp.workdps(60):
        for i in range(1, 101):
            m = mp.mpf(i) / 100
            t = mp.acos(1 - m)
            for table, value, limit in (
                (p, t / mp.sqrt(2 * m), p_limit),
                (r, (mp.sin(t) - t * mp.cos(t)) / m**1.5, r_limit),
            ):
                got = sum(mp.mpf(c) * m**j for j, c in enumerate(getattr(arccos_table, table)))
                assert abs(got / value - 1) < limit
