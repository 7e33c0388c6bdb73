"""One hidden layer of infinite width, by particles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from widenet.limits import (
    HiddenLayer,
    descend,
    error_slope,
    exact_limit,
    hidden_layer_limit,
    linear_mup,
    particles,
    sgd_step,
    width_errors,
)

RNG = np.random.default_rng(2)
XS, YS = RNG.normal(size=(4, 3, 2)), RNG.normal(size=(4, 3, 1))
X = RNG.normal(size=(5, 2))
TANH = HiddenLayer(phi=wn.tanh, d_in=2, d_out=1, sigma_u=1.5, sigma_v=0.8)


def absolute(f, y):
    return jnp.mean(jnp.sqrt(1 + (f - y) ** 2))


def training(net):
    return lambda params: descend(net, params, (XS, YS), loss=absolute, rate=0.6, x=X)[0]


def test_the_identity_has_the_limit_of_the_linear_network():
    net = HiddenLayer(phi=wn.identity, d_in=2, d_out=1, sigma_u=1.5, sigma_v=0.8)
    found = hidden_layer_limit(net, training(net), key=0, samples=1024)
    linear = linear_mup(2, 1, sigma_u=1.5, sigma_v=0.8)
    exact = training(linear)(exact_limit(linear))
    assert np.abs(exact[-1]).max() > 0.1
    assert np.all(np.abs(found.mean - exact) < 5 * found.error + 1e-4)
    assert found.error.max() < 5e-3


def test_one_step_is_an_integral():
    """f(x) = E (V - r chi phi(U.x0)) phi((U - r chi V phi'(U.x0) x0).x), by quadrature in three dimensions."""
    x0, y0, rate = XS[0, :1], YS[0, :1], 0.6
    net = HiddenLayer(phi=jnp.tanh, d_in=2, d_out=1, sigma_u=1.5, sigma_v=0.8)
    found = hidden_layer_limit(net, lambda p: net.apply(sgd_step(net, p, (x0, y0), absolute, rate), X), key=0)
    chi = float(jax.grad(lambda f: absolute(f, y0))(np.zeros((1, 1)))[0, 0])
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    a, b, v = np.meshgrid(1.5 * nodes, 1.5 * nodes, 0.8 * nodes, indexing="ij")
    w = np.einsum("i,j,k->ijk", *[weights / weights.sum()] * 3)
    h = np.tanh(a * x0[0, 0] + b * x0[0, 1])
    v_end, move = v - rate * chi * h, rate * chi * v * (1 - h**2)
    exact = [np.sum(w * v_end * np.tanh((a - move * x0[0, 0]) * x[0] + (b - move * x0[0, 1]) * x[1])) for x in X]
    assert np.all(np.abs(found.mean[:, 0] - exact) < 5 * found.error[:, 0] + 1e-5)
    assert found.error.max() < 1e-3


def test_finite_networks_come_to_it_as_the_root_of_width():
    train, widths = training(TANH), (64, 512)
    limit = hidden_layer_limit(TANH, train, key=0, samples=1024, replicates=4).mean[-1]
    errors = width_errors(TANH, lambda p: train(p)[-1], limit, key=1, widths=widths, draws=32)
    slope = error_slope(widths, errors)
    assert abs(slope.value + 0.5) < slope.half_width + 0.03


def test_particles_start_at_zero_and_have_the_right_law():
    sample = particles(TANH, 0, 512)
    assert np.abs(TANH.apply(sample, X)).max() < 1e-12
    assert np.sum(sample["u"] ** 2, axis=0) == pytest.approx(np.full(2, 1.5**2), rel=0.02)
    assert np.sum(sample["v"] ** 2, axis=0) == pytest.approx([0.8**2], rel=0.02)


def test_what_gives_no_error_bar_is_refused():
    with pytest.raises(ValueError, match="power of two"):
        particles(TANH, 0, 1000)
    with pytest.raises(ValueError, match="two replicates"):
        hidden_layer_limit(TANH, training(TANH), key=0, replicates=1)
