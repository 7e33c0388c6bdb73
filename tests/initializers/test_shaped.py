"""DKS and TAT: the published conditions, and parity with values of the authors' package."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from widenet import initializers as wi

Z = np.linspace(-12, 12, 40_001)
WEIGHT = np.exp(-(Z**2) / 2) / np.sqrt(2 * np.pi) * (Z[1] - Z[0])


def gelu_tanh(u):
    return jax.nn.gelu(u, approximate=True)


# input_scale, input_shift, output_shift, output_scale of the authors' package, whose gelu is the one by tanh
@pytest.mark.parametrize(
    ("transform", "phi", "depth", "numbers"),
    [
        (wi.dks, wn.tanh, 100, (0.090438, 0.560107, -0.505004, 14.902526)),
        (wi.dks, wn.tanh, 20, (0.205618, 0.602147, -0.523149, 6.829207)),
        (wi.dks, wn.softplus, 100, (0.22802, 0.40751, -0.92372, 7.30325)),
        (wi.dks, gelu_tanh, 100, (0.08531, 0.25828, -0.15816, 16.70901)),
        (wi.tat, wn.tanh, 100, (0.05764, 0.52181, -0.47960, 22.50695)),
        (wi.tat, wn.softplus, 100, (0.14912, 0.53743, -0.99647, 10.61904)),
        (wi.tat, gelu_tanh, 100, (0.05761, 0.32616, -0.20428, 23.09626)),
    ],
)
def test_transforms_have_the_published_numbers(transform, phi, depth, numbers):
    np.testing.assert_allclose(transform(phi, depth), numbers, rtol=0, atol=6e-6)


def test_the_leaky_relu_of_tat_has_its_published_numbers():
    shape = wi.tat_leaky_relu(100)
    np.testing.assert_allclose(shape, (0.5704395, 1.2284042), rtol=0, atol=6e-8)
    c = 0.0
    for _ in range(100):  # through the closed form of another room
        c = wn.activations.dual.dual(shape.activation, 1.0, 1.0, c)
    np.testing.assert_allclose(c, 0.9, rtol=1e-9)


def moments(phi):
    """E f, E f^2, E z f f', E f'^2, E f''^2 by the trapezoid rule."""
    first, second = (jax.vmap(f)(Z) for f in (jax.grad(phi), jax.grad(jax.grad(phi))))
    f = phi(jnp.asarray(Z))
    return [float(WEIGHT @ g) for g in (f, f**2, Z * f * first, first**2, second**2)]


@pytest.mark.parametrize("phi", [wn.silu, wn.erf])
def test_conditions_hold_for_other_smooth_activations(phi):
    mean, square, growth, slope, _ = moments(wi.dks(phi, 30)(phi))
    np.testing.assert_allclose([mean, square, growth, slope**30], [0, 1, 1, 1.5], atol=1e-7)
    _, square, growth, slope, curvature = moments(wi.tat(phi, 30)(phi))
    np.testing.assert_allclose([square, growth, slope, 30 * curvature], [1, 1, 1, 0.3], atol=1e-7)


@pytest.mark.slow
def test_a_kinked_activation_is_integrated_between_its_kinks():
    phi = wn.elu()
    shaped = wi.dks(phi, 30)(phi)
    one = jnp.asarray(1.0)
    np.testing.assert_allclose(wn.activations.dual.mean(shaped, one), 0, atol=1e-9)
    np.testing.assert_allclose(wn.activations.dual.second_moment(shaped, one), 1, rtol=1e-9)
    np.testing.assert_allclose(jax.grad(lambda q: wn.activations.dual.second_moment(shaped, q))(one), 1, rtol=1e-7)


def test_a_shaped_network_keeps_what_a_plain_one_forgets():
    """Correlations after 50 layers: tanh at its critical point makes all inputs alike."""
    x = np.array([[1.0, 1.0], [1.0, -1.0]])  # of mean square 1, uncorrelated

    def correlation(phi):
        k = wn.nngp(wn.serial(*[wn.dense(), phi] * 50, wn.dense()))(x)
        return k[0, 1] / np.sqrt(k[0, 0] * k[1, 1])

    assert abs(correlation(wi.dks(wn.tanh, 50)(wn.tanh))) < 0.5
    np.testing.assert_allclose(correlation(wi.tat_leaky_relu(50).activation), 0.9, rtol=1e-9)
    assert correlation(wn.serial(wn.abrelu(0.0, np.sqrt(2)))) > 0.97


def test_a_function_may_stand_for_the_network():
    np.testing.assert_allclose(wi.dks(wn.tanh, lambda c: c**20), wi.dks(wn.tanh, 20), rtol=1e-6)


def test_a_transform_acts_on_functions_of_any_library():
    t = wi.dks(wn.tanh, 20)
    np.testing.assert_allclose(t(np.tanh)(Z), t(wn.tanh)(jnp.asarray(Z)), atol=1e-13)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wi.dks(wn.tanh, 0), "at least one nonlinear layer"),
        (lambda: wi.dks(wn.tanh, 10, slope=1.0), "greater than 1"),
        (lambda: wi.dks(wn.tanh, lambda c: 2 * c), "not between"),
        (lambda: wi.dks(wn.step, 10), "jumps"),
        (lambda: wi.dks(wn.identity, 10), "no transformation of identity"),
        (lambda: wi.tat(wn.tanh, 10, curvature=0.0), "must be positive"),
        (lambda: wi.tat(wn.relu, 10), "use tat_leaky_relu"),
        (lambda: wi.tat_leaky_relu(1), "relu reaches correlation"),
        (lambda: wi.tat_leaky_relu(10, correlation=1.0), "must be in"),
    ],
)
def test_bad_requests_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
