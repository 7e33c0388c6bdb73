"""Linear muP networks: the limit is a finite network, and finite networks come to it as width^(-1/2)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widenet.limits import (
    LinearNet,
    descend,
    error_slope,
    exact_limit,
    finite_copy,
    linear_limit,
    linear_mup,
    width_errors,
)
from widenet.parametrizations import mup, sgd

RNG = np.random.default_rng(0)
XS, YS = RNG.normal(size=(5, 4, 3)) * np.array([1.0, 0.5, 1.5]), RNG.integers(0, 2, (5, 4))
X = RNG.normal(size=(6, 3))
NET = linear_mup(3, 2, sigma_u=1.3, sigma_v=0.6, bias=0.5)


def cross_entropy(f, y):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(f), y[:, None], axis=1))


def trained(params, net=NET):
    return descend(net, params, (XS, YS), loss=cross_entropy, rate=0.4, x=X)[0]


def test_a_random_network_of_the_limit_is_a_random_network():
    wide = finite_copy(exact_limit(NET), jax.random.key(0), 10000)
    for name, sigma in (("u", 1.3), ("v", 0.6)):
        assert np.std(np.asarray(wide[name])) * 10000**0.5 == pytest.approx(sigma, rel=0.03)
    assert not np.any(wide["b"])


def test_errors_fall_as_the_root_of_width():
    limit, widths = trained(exact_limit(NET)), (32, 256)
    assert np.abs(limit[-1] - limit[0]).max() > 0.1
    errors = width_errors(NET, lambda p: trained(p)[-1], limit[-1], key=0, widths=widths, draws=32)
    slope = error_slope(widths, errors)
    assert abs(slope.value + 0.5) < slope.half_width + 0.03
    assert slope.half_width < 0.15


def test_copies_of_the_trained_limit_compute_what_it_does():
    _, end = descend(NET, exact_limit(NET), (XS, YS), loss=cross_entropy, rate=0.4, x=X)
    f = NET.apply(end, X)
    draw = jax.vmap(lambda key: NET.apply(finite_copy(end, key, 400), X))
    many = np.asarray(draw(jax.random.split(jax.random.key(0), 200)))
    assert np.all(np.abs(many.mean(0) - f) < 5 * many.std(0) / 100**0.5)
    assert np.all(many.std(0) > 0.01)


def test_momentum_and_decay_have_the_same_limit():
    """A linear optimizer written out: errors at large width are small against what it learns."""

    def run(params):
        velocity = jax.tree.map(jnp.zeros_like, params)
        for x, y in zip(XS[:3], YS[:3], strict=True):
            gradient = jax.grad(lambda p: cross_entropy(NET.apply(p, x), y))(params)  # noqa: B023
            velocity = jax.tree.map(lambda m, g: 0.8 * m + g, velocity, gradient)
            params = jax.tree.map(lambda w, m: 0.99 * w - 0.2 * m, params, velocity)
        return NET.apply(params, X)

    limit, wide = run(exact_limit(NET)), run(NET.init(jax.random.key(1), 2**14))
    assert np.abs(wide - limit).max() < 0.04 < 0.1 < np.abs(limit).max()


def test_readouts_of_zero_need_no_width_of_their_own():
    net = LinearNet(d_in=3, d_out=2, sigma_v=0.0)
    small = exact_limit(net)
    assert small["u"].shape == (3, 3)
    assert np.allclose(trained(small, net), linear_limit(net, (XS, YS), loss=cross_entropy, rate=0.4, x=X), atol=1e-12)


def test_it_is_form_c_of_the_maximal_update_parametrization():
    form = mup.to_form("C")
    assert tuple(map(float, form.a)) == (-0.5, 0.0, 0.5)  # multipliers that cancel where nothing is between
    assert tuple(map(float, form.b)) == (0.5, 0.5, 0.5)
    assert tuple(map(float, form.rates(sgd))) == (0.0, 0.0, 0.0)


def test_what_is_no_network_is_refused():
    with pytest.raises(ValueError, match="use linear_limit"):
        exact_limit(LinearNet(d_in=2, d_out=1, depth=3))
    with pytest.raises(ValueError, match="d_in, d_out >= 1"):
        linear_mup(0, 1)
    with pytest.raises(ValueError, match="standard deviations"):
        linear_mup(2, 1, sigma_u=-1.0)
    with pytest.raises(ValueError, match="depth is the number"):
        LinearNet(d_in=2, d_out=1, depth=-1)
    with pytest.raises(ValueError, match=r"xs \[steps, batch, d_in\]"):
        descend(NET, exact_limit(NET), (XS, YS[:2]), loss=cross_entropy, rate=0.1, x=X)
    with pytest.raises(ValueError, match="have depth"):
        finite_copy(LinearNet(d_in=2, d_out=1, depth=1).init(jax.random.key(0), 4), jax.random.key(0), 8)
