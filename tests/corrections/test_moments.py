"""Expectations integrated by parts against direct ones."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

import widenet as wn
from widenet.corrections.moments import Moments, bends, moments

Q = 1.7


def direct(phi, prime, second, third):
    """The same expectations by mpmath, with all derivatives given."""

    def mean(f):
        return float(mpmath.quad(lambda y: f(mpmath.sqrt(Q) * y) * mpmath.npdf(y), [-9, -3, 0, 3, 9]))

    def s2(q):
        return mpmath.quad(lambda y: phi(mpmath.sqrt(q) * y) ** 2 * mpmath.npdf(y), [-9, 0, 9])

    terms = {
        "s2": lambda z: phi(z) ** 2,
        "s4": lambda z: phi(z) ** 4,
        "p2": lambda z: prime(z) ** 2,
        "p4": lambda z: prime(z) ** 4,
        "s2p2": lambda z: (phi(z) * prime(z)) ** 2,
        "par": lambda z: z * phi(z) * prime(z) / Q,
        "h2": lambda z: z * prime(z) * second(z) / Q,
        "sr": lambda z: phi(z) * second(z),
        "srp2": lambda z: phi(z) * second(z) * prime(z) ** 2,
        "r2": lambda z: second(z) ** 2,
        "r2p2": lambda z: (second(z) * prime(z)) ** 2,
        "tp": lambda z: third(z) * prime(z),
        "tp3": lambda z: third(z) * prime(z) ** 3,
    }
    return {name: mean(f) for name, f in terms.items()} | {"curve": float(mpmath.diff(s2, Q, 2))}


def test_tanh_by_parts():
    t = mpmath.tanh
    found = moments(wn.tanh, jnp.asarray(Q))
    derivatives = (
        lambda z: 1 - t(z) ** 2,
        lambda z: -2 * t(z) * (1 - t(z) ** 2),
        lambda z: (1 - t(z) ** 2) * (6 * t(z) ** 2 - 2),
    )
    for name, value in direct(t, *derivatives).items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-8, err_msg=name)


def test_elu_whose_second_derivative_jumps():
    """Away from 0 plus what is at 0: phi''' has the mass -1 there, where phi' = 1."""
    e = mpmath.exp

    def below(z):
        return e(z) if z < 0 else mpmath.mpf(0)

    derivatives = (lambda z: e(z) if z < 0 else mpmath.mpf(1), below, below)
    expected = direct(lambda z: e(z) - 1 if z < 0 else z, *derivatives)
    found = moments(wn.elu(), jnp.asarray(Q))
    for name in ("tp", "tp3"):
        expected[name] -= 1 / np.sqrt(2 * np.pi * Q)
    for name in set(expected) - {"curve"}:
        np.testing.assert_allclose(getattr(found, name), expected[name], rtol=1e-8, err_msg=name)


def test_relu_in_closed_form():
    found = moments(wn.relu, jnp.asarray(Q))
    closed = {"s2": Q / 2, "s4": 1.5 * Q**2, "p2": 0.5, "p4": 0.5, "s2p2": Q / 2, "par": 0.5}
    for name in Moments._fields[:10]:
        np.testing.assert_allclose(getattr(found, name), closed.get(name, 0.0), atol=1e-12, err_msg=name)


@pytest.mark.parametrize(
    ("phi", "kinked"), [(wn.relu, True), (wn.hard_tanh, True), (wn.elu(), False), (wn.tanh, False)]
)
def test_which_slopes_jump(phi, kinked):
    assert bends(phi) is kinked


@pytest.mark.parametrize("phi", [wn.gelu, wn.leaky_relu(0.2), wn.elu()])
def test_slopes_in_the_variance(phi):
    found, slope = jax.jvp(lambda q: moments(phi, q), (jnp.asarray(Q),), (jnp.ones(()),))
    np.testing.assert_allclose([found.par, found.h2], [slope.s2, slope.p2], rtol=1e-9, atol=1e-12)
