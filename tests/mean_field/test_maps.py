"""The maps of one block, against sums over a grid, real networks and closed forms."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import erf

import widenet as wn
from tests.mean_field.quadrature import mean, product_mean, slope

SIGMA_W, SIGMA_B = 1.4, 0.3
DENSE = wn.dense(sigma_w=SIGMA_W, sigma_b=SIGMA_B)
Q = np.array([0.35, 2.2])


def bend(u):
    """An odd function without closed form."""
    return u / (1 + u**2) + 0.1 * u


FUNCTIONS = {
    "tanh": (wn.tanh, np.tanh),
    "erf": (wn.erf, lambda u: np.asarray(erf(u))),
    "elu": (wn.elu(), lambda u: np.where(u > 0, u, np.expm1(np.minimum(u, 0)))),
    "custom": (wn.activation(bend), bend),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n == "elu" else ()) for n in FUNCTIONS])
def test_a_layer_has_the_maps_of_the_literature(name):
    phi, f = FUNCTIONS[name]
    m, prime = wn.maps(wn.serial(DENSE, phi)), slope(f)
    for q in Q:
        square = mean(lambda u: f(u) ** 2, q)
        after = SIGMA_W**2 * square + SIGMA_B**2
        np.testing.assert_allclose(m.q(q), after, rtol=1e-7)
        np.testing.assert_allclose(m.chi_perp(q), SIGMA_W**2 * mean(lambda u: prime(u) ** 2, q), rtol=1e-6)
        par = SIGMA_W**2 * mean(lambda u: u * f(u) * prime(u), q) / q
        np.testing.assert_allclose(m.chi_par(q), par, rtol=1e-6)
        k = SIGMA_W**2 * product_mean(f, q, 0.6) + SIGMA_B**2
        np.testing.assert_allclose(m.c(0.6, q=q), k / after, rtol=2e-6)
        inner = SIGMA_W**2 * product_mean(prime, q, 0.6)
        np.testing.assert_allclose(m.chi_perp(q, c=0.6), inner, rtol=1e-3 if name == "elu" else 1e-6)  # it jumps


@pytest.mark.parametrize("name", ["erf", "custom", pytest.param("elu", marks=pytest.mark.slow)])
def test_the_curvature_is_half_the_slope_of_chi_perp(name):
    phi, f = FUNCTIONS[name]
    m, step = wn.maps(wn.serial(phi, DENSE)), 1e-3
    rise = (m.chi_perp(Q + step) - m.chi_perp(Q - step)) / (2 * step)
    np.testing.assert_allclose(m.h(Q), rise / 2, rtol=1e-4)
    if name != "elu":  # phi'' of elu jumps
        prime = slope(f)
        formula = [SIGMA_W**2 * mean(lambda u: u * prime(u) * slope(prime)(u), q) / (2 * q) for q in Q]
        np.testing.assert_allclose(m.h(Q), formula, rtol=1e-4)


@pytest.mark.parametrize("name", ["erf", "elu"])
def test_chi_1_is_the_slope_of_the_c_map_at_one(name):
    phi, _ = FUNCTIONS[name]
    m, gap = wn.maps(wn.serial(phi, DENSE)), 1e-6
    np.testing.assert_allclose((1 - m.c(1 - gap, q=Q)) / gap, m.chi_perp(Q) * Q / m.q(Q), rtol=1e-3)


def test_relu_has_its_closed_form():
    m = wn.maps(wn.serial(wn.dense(sigma_w=2**0.5), wn.relu))
    c = np.linspace(-1, 1, 21)
    angle = np.arccos(c)
    np.testing.assert_allclose(m.c(c, q=3.7), (np.sin(angle) + (np.pi - angle) * c) / np.pi, atol=1e-12)
    np.testing.assert_allclose(m.chi_perp(0.2, c=c), (np.pi - angle) / np.pi, atol=1e-7)
    now, seen = 0.0, {}
    for layer in range(1, 101):
        seen[layer] = now = float(m.c(now, q=1.0))
    np.testing.assert_allclose([seen[1], seen[2]], [0.3183099, 0.4937311], atol=1e-7)
    np.testing.assert_allclose([seen[10], seen[100]], [0.8715355, 0.9964231], atol=1e-7)


def test_the_cut_of_the_period_does_not_matter():
    phi = wn.serial(wn.layer_norm(eps=0.1), wn.erf)
    one, other = wn.maps(wn.serial(DENSE, phi)), wn.maps(wn.serial(phi, DENSE))
    np.testing.assert_array_equal(one.q(Q), other.q(Q))
    np.testing.assert_array_equal(one.chi_perp(Q, c=0.4), other.chi_perp(Q, c=0.4))


def test_a_residual_block_adds_its_branch():
    branch, block = wn.maps(wn.serial(wn.erf, DENSE)), wn.maps(lambda x: 0.8 * x + DENSE(wn.erf(x)))
    np.testing.assert_allclose(block.q(Q), 0.64 * Q + branch.q(Q))
    np.testing.assert_allclose(block.chi_par(Q), 0.64 + branch.chi_par(Q))
    np.testing.assert_allclose(block.chi_perp(Q, c=0.3), 0.64 + branch.chi_perp(Q, c=0.3))
    np.testing.assert_allclose(block.h(Q), branch.h(Q))


def test_a_normalized_residual_block_has_the_jacobian_of_the_literature():
    """chi = mu^2 + sigma_w^2 E phi'^2 / K with the normalization before phi, K the variance of the stream."""
    mu = 0.9
    block = wn.maps(lambda x: mu * x + DENSE(wn.sin(wn.layer_norm(x))))
    at_one = SIGMA_W**2 * mean(lambda u: np.cos(u) ** 2, 1.0)
    np.testing.assert_allclose(block.chi_perp(Q), mu**2 + at_one / Q)
    np.testing.assert_allclose(block.chi_par(Q), mu**2, rtol=1e-12)
    np.testing.assert_allclose(block.q(Q), mu**2 * Q + SIGMA_W**2 * mean(lambda u: np.sin(u) ** 2, 1.0) + SIGMA_B**2)


def test_a_convolution_is_a_dense_layer_in_the_uniform_state():
    conv = wn.conv(3, SIGMA_W, SIGMA_B, padding="CIRCULAR")
    dense, block = wn.maps(wn.serial(wn.relu, DENSE)), wn.maps(wn.serial(wn.relu, conv), positions=(4, 5))
    np.testing.assert_allclose(block.q(Q), dense.q(Q))
    np.testing.assert_allclose(block.chi_perp(Q, c=0.3), dense.chi_perp(Q, c=0.3))
    modes = [(1 + 2 * np.cos(2 * np.pi * np.arange(size) / size)) / 3 for size in (4, 5)]
    expected = dense.chi_perp(Q, c=0.3)[:, None, None] * modes[0][:, None] * modes[1]
    np.testing.assert_allclose(block.multipliers(Q, c=0.3), expected, atol=1e-12)


def test_modes_of_a_residual_convolution_add_up():
    conv = wn.conv(3, SIGMA_W, SIGMA_B, padding="CIRCULAR")
    branch, block = (wn.maps(f, positions=(6,)) for f in (wn.serial(wn.relu, conv), lambda x: x + conv(wn.relu(x))))
    np.testing.assert_allclose(block.multipliers(0.7), 1 + branch.multipliers(0.7), atol=1e-12)


C, WIDTH = 0.25, 600
REAL = {
    "residual": (lambda x: 0.7 * x + DENSE(wn.relu(x)), ()),
    "normalized": (wn.serial(wn.erf, DENSE, wn.relu, wn.layer_norm(), DENSE), ()),
    "convolutional": (wn.serial(wn.erf, wn.conv(3, 1.4, 0.3, padding="CIRCULAR")), (5,)),
}


def inputs(shape):
    """Two inputs of variance 1/2 and correlation C, equal at all positions."""
    pair = np.array([[1.0, 0.0], [C, np.sqrt(1 - C**2)]])
    return np.broadcast_to(pair.reshape(2, *[1] * len(shape), 2), (2, *shape, 2))


@pytest.mark.parametrize("name", REAL)
def test_real_networks_follow_the_maps(name):
    block, shape = REAL[name]
    x, net = inputs(shape), wn.serial(wn.dense(sigma_w=1.8), block)  # its preactivations are Gaussian

    def statistics(key):
        y = wn.apply(net, wn.init(net, key, x.shape, width=WIDTH), x).reshape(2, -1)
        return jnp.stack([jnp.mean(y[0] ** 2), jnp.mean(y[0] * y[1])])

    values = np.asarray(jax.lax.map(jax.jit(statistics), jax.random.split(jax.random.key(0), 30)))
    m, q = wn.maps(block, positions=shape), 1.8**2 / 2
    expected = np.array([m.q(q), m.q(q) * m.c(C, q=q)])
    error = values.std(0, ddof=1) / np.sqrt(len(values))
    np.testing.assert_array_less(np.abs(values.mean(0) - expected), 4 * error + expected / WIDTH)


def test_jacobians_of_real_layers_grow_by_chi_perp():
    """E |J v|^2 / |v|^2 of mu x + sigma_w W tanh(norm(x)) / sqrt(n) at a Gaussian x of variance q."""
    mu, q, n = 0.6, 1.7, 300

    def ratio(key):
        keys = jax.random.split(key, 3)
        w, x, v = (jax.random.normal(k, s) for k, s in zip(keys, ((n, n), (n,), (n,)), strict=True))

        def layer(x):
            centred = x - x.mean()
            return mu * x + SIGMA_W * w @ jnp.tanh(centred / jnp.sqrt(jnp.mean(centred**2))) / np.sqrt(n)

        return jnp.sum(jax.jvp(layer, (np.sqrt(q) * x,), (v,))[1] ** 2) / jnp.sum(v**2)

    values = np.asarray(jax.lax.map(jax.jit(ratio), jax.random.split(jax.random.key(1), 40)))
    expected = wn.maps(lambda x: mu * x + DENSE(wn.tanh(wn.layer_norm(x)))).chi_perp(q)
    assert abs(values.mean() - expected) < 4 * values.std(ddof=1) / np.sqrt(40) + 3 * expected / n


def test_dropout_takes_the_fixed_point_at_one_away():
    m, rate = wn.maps(wn.serial(DENSE, wn.tanh, wn.dropout(0.2))), 0.2
    square = mean(lambda u: np.tanh(u) ** 2, 0.9)
    after = SIGMA_W**2 * square / (1 - rate) + SIGMA_B**2
    np.testing.assert_allclose(m.q(0.9), after)
    np.testing.assert_allclose(m.c(1.0, q=0.9), (SIGMA_W**2 * square + SIGMA_B**2) / after)


def test_a_jump_tears_inputs_apart():
    m = wn.maps(wn.serial(DENSE, wn.sign))
    assert np.isinf(m.chi_perp(1.0))
    assert np.isnan(m.h(1.0))
    np.testing.assert_allclose(m.c(0.5, q=1.0), (SIGMA_W**2 / 3 + SIGMA_B**2) / m.q(1.0))


def test_scales_and_arguments_may_be_traced():
    def chi(sigma_w, q):
        return wn.maps(wn.serial(wn.dense(sigma_w=sigma_w, sigma_b=0.2), wn.erf)).chi_perp(q)

    slopes = jax.jit(jax.grad(chi, argnums=(0, 1)))(1.3, 0.8)
    block = wn.maps(wn.serial(wn.dense(sigma_w=1.3, sigma_b=0.2), wn.erf))
    np.testing.assert_allclose(slopes[0], 2 * block.chi_perp(0.8) / 1.3)
    np.testing.assert_allclose(slopes[1], 2 * block.h(0.8))
    np.testing.assert_allclose(jax.vmap(lambda q: chi(1.3, q))(jnp.array(Q)), block.chi_perp(Q))


@pytest.mark.float32
def test_results_are_float64_whatever_the_configuration():
    m = wn.maps(wn.serial(wn.dense(sigma_w=1.1), wn.tanh))
    assert m.q(0.5).dtype == np.float64
    assert abs(m.q(0.5) - 1.1**2 * mean(lambda u: np.tanh(u) ** 2, 0.5)) < 1e-13


BAD = {
    "without strides": lambda: wn.maps(wn.serial(wn.relu, wn.conv(3, stride=2)), positions=(6,)),
    "or width=": lambda: wn.maps(wn.serial(wn.relu, wn.dense(width=3), wn.relu)),
    "CIRCULAR": lambda: wn.maps(wn.serial(wn.relu, wn.conv(3)), positions=(5,)),
    "put a dense layer": lambda: wn.maps(wn.tanh),
    "same Weight": lambda: wn.maps(wn.serial(wn.tanh, wn.dense(weight=wn.Weight()))),
    "not finite": lambda: wn.maps(wn.serial(wn.dense(), wn.activation(lambda u: u + jnp.log(u)))),
    "positive and finite; got -1": lambda: wn.maps(wn.serial(wn.tanh, DENSE)).q([1.0, -1.0]),
    "positive and finite; got nan": lambda: wn.maps(wn.serial(wn.tanh, DENSE)).q(np.nan),
    "between -1 and 1; got 1.1": lambda: wn.maps(wn.serial(wn.tanh, DENSE)).c(1.1, q=1.0),
    "need positions": lambda: wn.maps(wn.serial(wn.tanh, DENSE)).multipliers(1.0),
    "does not use its argument": lambda: wn.maps(wn.position_table, positions=(5,)),
}


@pytest.mark.parametrize("message", BAD)
def test_bad_input_names_the_remedy(message):
    with pytest.raises(ValueError, match=message):
        BAD[message]()


@pytest.mark.parametrize(
    ("block", "positions", "message"),
    [
        (wn.serial(wn.self_attention(), DENSE), (4,), "compares different positions"),
        (wn.serial(DENSE, wn.batch_norm(), wn.relu), (), "couples the samples"),
    ],
)
def test_what_is_no_map_of_q_and_c_is_refused(block, positions, message):
    with pytest.raises(NotImplementedError, match=message):
        wn.maps(block, positions=positions)


KEPT = {  # 1/E phi^2 at q = 1, with the chi_perp and chi_par that it gives
    "relu": (wn.relu, 2, 1, 1),
    "erf": (wn.erf, 2.152579, 1.226, 0.409),
    "sin": (wn.sin, 2.313035, 1.313, 0.313),
    "gelu": (wn.gelu, 2.351716, 1.072, 1.144),
    "tanh": (wn.tanh, 2.536175, 1.178, 0.461),
    "silu": (wn.silu, 2.810761, 1.067, 1.173),
    "mish": (wn.mish, 2.210716, 1.059, 1.076),
    "elu": (wn.elu(), 1.550519, 1.036, 0.891),
    "softplus": (wn.softplus, 1.085487, 0.318, 0.492),
    "sigmoid": (wn.sigmoid, 3.408560, 0.153, 0.106),
}
FAST = ("relu", "erf", "sin", "gelu")


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in FAST else pytest.mark.slow) for n in KEPT])
def test_gains_that_keep_variance_one_are_not_critical(name):
    phi, w2, perp, par = KEPT[name]
    m = wn.maps(wn.serial(phi, wn.dense()))
    np.testing.assert_allclose(1 / m.q(1.0), w2, atol=1e-6)
    np.testing.assert_allclose([w2 * m.chi_perp(1.0), w2 * m.chi_par(1.0)], [perp, par], atol=6e-4)


def test_a_period_may_be_many_layers():
    layer = wn.serial(wn.erf, DENSE)
    one, five = wn.maps(layer), wn.maps(wn.repeat(layer, 5))
    q, slope = 0.7, 1.0
    for _ in range(5):
        slope, q = slope * one.chi_perp(q), one.q(q)
    np.testing.assert_allclose([five.q(0.7), five.chi_perp(0.7)], [q, slope])


def test_a_readout_counts_as_a_layer():
    def net(x):
        h = DENSE(x)
        h = h + 0.5 * DENSE(wn.relu(h))
        return wn.dense(wn.relu(h), width=1)

    first = SIGMA_W**2 * Q + SIGMA_B**2
    np.testing.assert_allclose(wn.maps(net).q(Q), (first + (SIGMA_W**2 * first / 2 + SIGMA_B**2) / 4) / 2)
