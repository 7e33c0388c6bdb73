"""The finite network against the same network written by hand, and its kernels against dense Jacobians."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn

RNG = np.random.default_rng(0)


def leaf(tree):
    """All numbers of a gradient `[n, k, ...]`, as `[n, k, params]`."""
    return jnp.concatenate([part.reshape(*part.shape[:2], -1) for part in jax.tree.leaves(tree)], axis=-1)


def test_apply_is_the_network_written_by_hand():
    x = jnp.asarray(RNG.normal(size=(5, 3)))
    params = wn.init(wn.serial(wn.dense(sigma_w=1.5, sigma_b=0.2), wn.relu, wn.dense(width=2)), 0, x.shape, 7)
    first, last = params["dense1"], params["dense2"]
    h = 1.5 / np.sqrt(3) * x @ first["w"] + 0.2 * first["b"]
    y = jnp.maximum(h, 0) @ last["w"] / np.sqrt(7)
    net = wn.serial(wn.dense(sigma_w=1.5, sigma_b=0.2), wn.relu, wn.dense(width=2))
    np.testing.assert_allclose(wn.apply(net, params, x), y, rtol=1e-12)
    assert "b" not in last


def test_a_tied_rnn_uses_one_matrix_at_every_step():
    x = jnp.asarray(RNG.normal(size=(4, 3, 2)))
    net = wn.zoo.rnn(wn.tanh, sigma_w=1.2, sigma_u=0.7)
    params = wn.init(net, 1, x.shape, 6)
    u, w, out = params["U"]["w"], params["W"]["w"], params["dense1"]["w"]
    state = jnp.tanh(0.7 / np.sqrt(2) * x[:, 0] @ u)
    for t in (1, 2):
        state = jnp.tanh(0.7 / np.sqrt(2) * x[:, t] @ u + 1.2 / np.sqrt(6) * state @ w)
    np.testing.assert_allclose(wn.apply(net, params, x), state @ out / np.sqrt(6), rtol=1e-12)


def test_a_repeat_has_parameters_of_its_own_for_each_copy():
    x = jnp.asarray(RNG.normal(size=(4, 3)))
    block = wn.serial(wn.relu, wn.dense(sigma_w=1.3))
    params = wn.init(wn.serial(wn.dense(), wn.repeat(block, 5)), 0, x.shape, 6)
    (repeated,) = (entry for name, entry in params.items() if "repeat" in name)
    (weights,) = jax.tree.leaves(repeated)
    h = x @ params["dense1"]["w"] / np.sqrt(3)
    for w in weights:
        h = 1.3 / np.sqrt(6) * jnp.maximum(h, 0) @ w
    np.testing.assert_allclose(wn.apply(wn.serial(wn.dense(), wn.repeat(block, 5)), params, x), h, rtol=1e-12)


def test_parameters_are_standard_normal():
    w = wn.init(wn.dense(width=400), 0, (1, 300), 10)["dense1"]["w"]
    assert abs(float(w.mean())) < 5 / np.sqrt(w.size)
    assert abs(float(w.var()) - 1) < 5 * np.sqrt(2 / w.size)


def test_dropout_needs_a_key():
    net = wn.serial(wn.dense(), wn.relu, wn.dropout(rate=0.5))
    x = jnp.ones((50, 3))
    params = wn.init(net, 0, x.shape, 40)
    plain, masked = wn.apply(net, params, x), wn.apply(net, params, x, key=jax.random.key(0))
    kept = masked != 0
    np.testing.assert_allclose(masked[kept], 2 * plain[kept])
    assert 0.4 < kept.sum() / (plain != 0).sum() < 0.6


def test_parameters_of_another_network_are_refused():
    params = wn.init(wn.dense(), 0, (1, 3), 4)
    with pytest.raises(ValueError, match="dense2"):
        wn.apply(wn.serial(wn.dense(), wn.relu, wn.dense()), params, jnp.ones((1, 3)))


def nested(params, x):
    """A function of a nested pytree with an integer leaf."""
    h = jnp.tanh(x @ params["a"][0] + params["a"][1])
    return h @ params["b"] * params["n"]


NESTED = {"a": [jnp.asarray(RNG.normal(size=(3, 5))), jnp.asarray(RNG.normal(size=5))]}
NESTED |= {"b": jnp.asarray(RNG.normal(size=(5, 2))), "n": 2}


def test_empirical_ntk_is_the_product_of_jacobians():
    x1, x2 = (jnp.asarray(RNG.normal(size=(n, 3))) for n in (7, 5))
    floats = {key: value for key, value in NESTED.items() if key != "n"}
    jacobian = jax.jacobian(lambda p, x: nested({**p, "n": 2}, x))
    j1, j2 = leaf(jacobian(floats, x1)), leaf(jacobian(floats, x2))
    full = jnp.einsum("aip,bjp->abij", j1, j2)
    np.testing.assert_allclose(wn.empirical_ntk_full(nested, NESTED)(x1, x2), full, rtol=1e-11)
    np.testing.assert_allclose(
        wn.empirical_ntk_diagonal(nested, NESTED)(x1, x2), jnp.einsum("abii->abi", full), rtol=1e-11
    )
    np.testing.assert_allclose(wn.empirical_ntk(nested, NESTED)(x1, x2), jnp.einsum("abii->ab", full) / 2, rtol=1e-11)
    own = jnp.einsum("aip,bip->ab", j1, j1) / 2
    np.testing.assert_allclose(wn.empirical_ntk(nested, NESTED)(x1), own, rtol=1e-11)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (wn.zoo.mlp(wn.erf, 3, sigma_b=0.3), (6, 4)),
        (wn.zoo.residual(wn.relu, 3, sigma_b=0.1), (6, 4)),
        (wn.zoo.rnn(wn.tanh, sigma_b=0.2), (6, 3, 4)),
        (wn.serial(wn.dense(sigma_b=0.2), wn.relu, wn.flatten(), wn.dense()), (6, 3, 4)),
    ],
)
def test_empirical_ntk_of_a_network_is_the_product_of_jacobians(net, shape):
    x = jnp.asarray(RNG.normal(size=shape))
    params = wn.init(net, 0, shape, 9)
    j = leaf(jax.jacobian(lambda p: wn.apply(net, p, x))(params))
    expected = jnp.einsum("aip,bip->ab", j, j) / j.shape[1]
    np.testing.assert_allclose(wn.empirical_ntk(wn.function_of(net), params)(x), expected, rtol=1e-10, atol=1e-12)


def test_linearization_touches_and_taylor_of_a_polynomial_is_exact():
    x = jnp.asarray(RNG.normal(size=(3, 2)))
    p0, p = (jnp.asarray(RNG.normal(size=(2, 4))) for _ in "12")

    def cubic(p, x):
        return (x @ p) ** 3

    slope = jax.jvp(lambda q: cubic(q, x), (p0,), (p - p0,))[1]
    np.testing.assert_allclose(wn.linearize(cubic, p0)(p, x), cubic(p0, x) + slope, rtol=1e-12)
    np.testing.assert_allclose(wn.taylor(cubic, p0, 3)(p, x), cubic(p, x), rtol=1e-10)
    assert not np.allclose(wn.taylor(cubic, p0, 2)(p, x), cubic(p, x))


def test_monte_carlo_does_not_depend_on_how_samples_are_batched():
    x = RNG.normal(size=(3, 4))
    net = wn.zoo.mlp(wn.relu, 2)
    one, many = (wn.monte_carlo(net, 0, 16, 30, batch=batch)(x) for batch in (1, 30))
    for a, b in zip(one[:4], many[:4], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_monte_carlo_stops_at_its_tolerance_or_says_that_it_did_not():
    x = RNG.normal(size=(3, 4))
    net = wn.zoo.mlp(wn.relu, 1)
    enough = wn.monte_carlo_nngp(net, 0, 64, 2000, tolerance=0.05)(x)
    assert enough.samples < 2000
    assert np.linalg.norm(enough.nngp_error) < 0.05 * np.linalg.norm(enough.nngp)
    with pytest.warns(UserWarning, match="tolerance"):
        wn.monte_carlo_nngp(net, 0, 8, 20, tolerance=1e-6)(x)


def test_monte_carlo_errors_cover_the_limit():
    x = RNG.normal(size=(4, 5))
    net = wn.serial(wn.dense(sigma_b=0.3), wn.relu, wn.dense())  # one hidden layer: unbiased at every width
    estimate, limit = wn.monte_carlo(net, 3, 64, 500)(x), wn.kernel(net)(x)
    z = np.concatenate(
        [(estimate.nngp - limit.nngp) / estimate.nngp_error, (estimate.ntk - limit.ntk) / estimate.ntk_error]
    )
    assert np.abs(z).max() < 5
    assert np.sqrt((z**2).mean()) < 2
