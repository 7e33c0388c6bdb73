"""Growth of gradients: closed forms, draws, and simulated networks."""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from widenet.activations import constant
from widenet.batches import batch_norm_rate, sphere
from widenet.batches.expectations import Pair, own
from widenet.batches.features import Feature
from widenet.batches.points import scrambled_mean
from widenet.batches.root import centre


def named(value):
    """What a parameter is called in the name of a test."""
    return str(getattr(value, "name", value))


@pytest.mark.parametrize("batch", [4, 5, 8, 64, 1000, 10**6])
def test_linear_networks(batch):
    assert batch_norm_rate(wn.identity, batch) == pytest.approx((batch - 2) / (batch - 3), rel=1e-10)


@pytest.mark.parametrize("batch", [4, 5, 8, 33, 512])
def test_relu_through_arc_cosine_kernels(batch):
    theta = math.acos(-1 / (batch - 1))
    kappa_0 = 1 - theta / math.pi
    kappa_1 = (math.sin(theta) + (math.pi - theta) * math.cos(theta)) / math.pi
    expected = (batch - 2 + kappa_0 + kappa_1) / ((batch - 3) * (1 - kappa_1))
    assert batch_norm_rate(wn.relu, batch) == pytest.approx(expected, rel=1e-10)


def test_an_infinite_batch():
    assert batch_norm_rate(wn.identity, math.inf) == 1
    assert batch_norm_rate(wn.relu, math.inf) == pytest.approx(math.pi / (math.pi - 1), rel=1e-13)
    q = 2 / math.pi * math.asin(2 / 3)  # E erf(z)^2; E erf'(z)^2 = (4/pi) E exp(-2 z^2) = 4/(pi sqrt(5))
    assert batch_norm_rate(wn.erf, math.inf) == pytest.approx(4 / (math.pi * math.sqrt(5)) / q, rel=1e-12)


@pytest.mark.parametrize("phi", [wn.relu, wn.tanh, wn.gelu], ids=lambda phi: phi.name)
def test_a_large_batch_tends_to_the_infinite_one(phi):
    limit = batch_norm_rate(phi, math.inf)
    gaps = [batch_norm_rate(phi, batch) - limit for batch in (1000, 2000)]
    assert 0 < gaps[0] < 5e-3
    assert gaps[0] / gaps[1] == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize(("phi", "batch"), [(wn.relu, 4), (wn.relu, 32), (wn.tanh, 12), (wn.elu(1.0), 8)], ids=named)
def test_the_quadrature_agrees_with_the_iterated_map(phi, batch):
    f, identity = Feature(phi, 0.0), np.eye(batch)

    def run(points):
        k = identity
        for _ in range(3):  # to the fixed point, from K = 1
            k = 1.3 * own(f, f, Pair(k, identity), points).cov + 0.2
        pulled = own(f, f, Pair(k, identity), points).ntk
        return (1.3 * np.trace(centre(pulled, True, True)) / (batch - 1),)

    (mean,), (error,) = scrambled_mean(run, 2**11, 8, 0)
    assert error < 2e-3
    assert abs(mean - batch_norm_rate(phi, batch)) < 4.5 * error


@pytest.mark.parametrize(
    ("phi", "batch", "simulated"),
    [
        *((wn.identity, batch, value) for batch, value in ((5, 1.506), (8, 1.219), (16, 1.072), (64, 1.0166))),
        *((wn.relu, batch, value) for batch, value in ((512, 1.461), (128, 1.476), (32, 1.528), (8, 1.766))),
        (wn.tanh, 256, 1.187),
    ],
    ids=named,
)
def test_networks_of_width_1000_have_nearly_the_rate(phi, batch, simulated):
    assert batch_norm_rate(phi, batch) == pytest.approx(simulated, rel=0.02)


@partial(jax.jit, static_argnames=("phi", "batch", "width", "depth"))
def simulate(phi, batch, width, depth, key):
    """Ratios of squared gradient norms of neighbouring layers of one network, all but the outer ones."""

    def layer(h, key):
        w = jax.random.normal(key, (width, width)) / math.sqrt(width)
        return phi((h - h.mean(0)) / h.std(0)) @ w

    def backward(g, saved):
        before = jax.vjp(layer, *saved[:1], saved[1])[1](g)[0]
        return before / jnp.linalg.norm(before), (before**2).sum() / (g**2).sum()

    start, end, *keys = jax.random.split(key, depth + 2)
    h = jax.random.normal(start, (batch, width))
    _, saved = jax.lax.scan(lambda h, key: (layer(h, key), (h, key)), h, jnp.stack(keys))
    g = jax.random.normal(end, (batch, width))
    return jax.lax.scan(backward, g, saved, reverse=True)[1][6:-3]


@pytest.mark.parametrize(("phi", "batch"), [(wn.identity, 8), (wn.relu, 12), (wn.tanh, 24)], ids=named)
def test_a_simulated_network_has_the_rate(phi, batch):
    width, keys = 400, jax.random.split(jax.random.key(0), 8)
    ratios = np.array([simulate(phi, batch, width, 16, key) for key in keys]).mean(1)
    error = ratios.std(ddof=1) / math.sqrt(len(ratios))
    rate = batch_norm_rate(phi, batch)
    assert error < 0.02 * rate
    assert abs(ratios.mean() - rate) < 4 * error + batch / width * rate / 10


@pytest.mark.parametrize("batch", [4, 5, 40])
def test_coordinates_have_the_moments_of_a_sphere(batch):
    z, w = sphere.one_coordinate(batch, (0.3,))
    assert [w @ z**power for power in (0, 1, 2)] == pytest.approx([1, 0, 1], abs=1e-12)
    assert w @ z**4 == pytest.approx(3 * (batch - 1) / (batch + 1), rel=1e-12)
    z, other, w = sphere.two_coordinates(batch, (0.3,))
    assert [w @ other, w @ other**2, w @ (z * other)] == pytest.approx([0, 1, -1 / (batch - 1)], abs=1e-12)
    assert w @ (z**2 * other**2) == pytest.approx((batch**2 - 2 * batch + 3) / ((batch - 1) * (batch + 1)), rel=1e-12)


def test_a_step_passes_no_gradient():
    assert batch_norm_rate(wn.step, 8) == 0


@pytest.mark.parametrize("batch", [3, 2, 4.5, -1, math.nan])
def test_batches_without_a_rate_are_refused(batch):
    with pytest.raises(ValueError, match=r"4 or more, or math\.inf"):
        batch_norm_rate(wn.relu, batch)


@pytest.mark.parametrize("batch", [6, math.inf])
def test_a_constant_has_no_rate(batch):
    with pytest.raises(ValueError, match="constant on a normalized batch"):
        batch_norm_rate(constant(2.0), batch)
