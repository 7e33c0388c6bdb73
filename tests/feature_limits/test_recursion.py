"""Deep linear networks of infinite width, against finite ones and against what is known without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widenet.limits import LinearNet, descend, exact_limit, linear_limit, linear_resnet
from widenet.limits.kets import Kets

RNG = np.random.default_rng(1)
XS, YS = RNG.normal(size=(4, 3, 2)), 2 * RNG.normal(size=(4, 3, 1))
X = RNG.normal(size=(4, 2))
RATES = np.array([0.06, 0.1, 0.08, 0.05])


def square(f, y):
    return jnp.mean((f - y) ** 2)


def batches(net):
    """One target, or two different ones."""
    return XS, YS * np.array([1.0, -0.5])[: net.d_out]


def limit(net, rate=RATES):
    return linear_limit(net, batches(net), loss=square, rate=rate, x=X)


def test_no_matrices_is_the_finite_network():
    net = LinearNet(d_in=2, d_out=1, sigma_u=1.3, sigma_v=0.7, bias=0.5)
    exact, _ = descend(net, exact_limit(net), (XS, YS), loss=square, rate=0.2, x=X)
    assert np.allclose(limit(net, 0.2), exact, atol=1e-12)


NETS = {
    "residual": linear_resnet(2, 1, 3, sigma_w=1.2, sigma_u=0.9, sigma_v=0.6),
    "no skips, biases, two outputs": LinearNet(
        d_in=2, d_out=2, depth=2, sigma_u=1.2, sigma_w=1.1, sigma_v=0.7, bias=0.4
    ),
}


@pytest.mark.parametrize("name", NETS)
def test_mean_of_finite_networks(name, monkeypatch):
    """Within five standard errors and a bias of 4/n; far outside without what comes back through the same matrix."""
    net, n, draws = NETS[name], 64, 120
    run = jax.jit(jax.vmap(lambda k: descend(net, net.init(k, n), batches(net), loss=square, rate=RATES, x=X)[0]))
    found = np.asarray(run(jax.random.split(jax.random.key(0), draws)))
    sem = found.std(0)[1:] / draws**0.5
    assert np.all(np.abs(found.mean(0) - limit(net))[1:] < 5 * sem + 4 / n)
    applied = Kets.applied
    monkeypatch.setattr(Kets, "applied", lambda self, now, across, c, *rest: applied(self, now, across, 0 * c, *rest))
    assert np.max(np.abs(found.mean(0) - limit(net))[1:] - 4 / n) / np.max(sem) > 5


def test_depth_has_an_error_of_first_order():
    at = {depth: limit(linear_resnet(2, 1, depth)) for depth in (8, 16, 32, 64)}
    gaps = [np.abs(at[2 * depth] - at[depth]).max() for depth in (8, 16, 32)]
    assert 1.6 < gaps[0] / gaps[1] < 2.2
    assert 1.7 < gaps[1] / gaps[2] < 2.2


def test_growth_at_the_start_is_that_of_the_product():
    net = linear_resnet(2, 1, 16, sigma_u=1.5, sigma_w=0.7)
    kets = Kets(net, 1)
    assert kets.forward(0) == pytest.approx(np.zeros((1, 2)))
    last = kets.z[0, -1]
    assert kets.inner(last, last) == pytest.approx(1.5**2 * (1 + 0.7**2 / 16) ** 16 * np.eye(2))


def test_a_step_moves_the_function_by_the_tangent_kernel_of_the_start():
    net, rate = linear_resnet(2, 1, 5, sigma_w=1.3, sigma_u=0.8, sigma_v=0.6), 1e-4
    growth = (1 + 1.3**2 / 5) ** 5
    uv = (0.8**2 + 0.6**2) * growth + 0.8**2 * 0.6**2 * (1 + 1.3**2 / 5) ** 4
    residual = -2 * np.mean(XS[0] * YS[0], axis=0)
    first = linear_limit(net, (XS[:1], YS[:1]), loss=square, rate=rate, x=np.eye(2))[1, :, 0]
    assert first == pytest.approx(-rate * uv * residual, rel=1e-3)


def test_what_does_not_fit_is_refused():
    net = linear_resnet(2, 1, 4)
    with pytest.raises(ValueError, match=r"xs \[steps, batch, d_in\]"):
        linear_limit(net, (XS[0], YS), loss=square, rate=0.1, x=X)
    with pytest.raises(ValueError, match="takes 2 features"):
        linear_limit(net, (XS, YS), loss=square, rate=0.1, x=X[:, :1])
    with pytest.raises(ValueError, match="give fewer"):
        linear_limit(linear_resnet(2, 1, 10000), (XS, YS), loss=square, rate=0.1, x=X)
    with pytest.raises(ValueError, match="depth >= 1"):
        linear_resnet(2, 1, 0)
