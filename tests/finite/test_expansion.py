"""Linearization and Taylor expansion against polynomials and against the network."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn

START = {"a": np.array([0.5, -1.0]), "nested": [np.array(2.0)], "steps": 3}
END = {"a": np.array([1.5, 0.3]), "nested": [np.array(0.7)], "steps": 5}


def cubic(p, x):
    """x1 a1 b^2 + x2 a2 + 3 a1: cubic in the parameters; `steps` is an integer leaf."""
    return x[:, 0] * p["a"][0] * p["nested"][0] ** 2 + x[:, 1] * p["a"][1] + p["steps"] * p["a"][0]


X = np.array([[1.0, 2.0], [-0.5, 0.4], [3.0, 1.0]])


def at(t):
    mixed = jax.tree.map(lambda a, b: a + t * (b - a), START, END)
    return cubic(mixed | {"steps": 3}, X)


@pytest.mark.parametrize("degree", range(5))
def test_the_expansion_is_the_truncated_polynomial(degree):
    coefficients = np.polynomial.polynomial.polyfit(np.arange(4) / 3, np.array([at(t) for t in np.arange(4) / 3]), 3)
    np.testing.assert_allclose(wn.taylor(cubic, START, degree)(END, X), coefficients[: degree + 1].sum(0), rtol=1e-10)


def test_linearize_is_linear_with_the_gradient_of_the_network():
    net = wn.serial(wn.dense(), wn.erf, wn.dense(width=2))
    f, x = wn.function_of(net), jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)))
    p, q = (wn.init(net, key, x.shape, 5) for key in (0, 1))
    linear = wn.linearize(f, p)
    jacobian = jax.jacobian(f)(p, x)
    step = jax.tree.map(jnp.subtract, q, p)
    moved = sum(jnp.tensordot(j, s, s.ndim) for j, s in zip(*map(jax.tree.leaves, (jacobian, step)), strict=True))
    np.testing.assert_allclose(linear(q, x), f(p, x) + moved, rtol=1e-12)
    for a, b in zip(*(jax.tree.leaves(jax.jacobian(g)(at_, x)) for g, at_ in ((f, p), (linear, q))), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


def test_the_error_falls_as_the_next_power_of_the_step():
    net = wn.serial(wn.dense(), wn.erf, wn.dense())
    f, x = wn.function_of(net), jnp.ones((1, 3))
    p = wn.init(net, 0, x.shape, 6)
    for degree in (0, 1, 2, 3):
        g = wn.taylor(f, p, degree)
        grown = [jax.tree.map(lambda a, h=h: a * (1 + h), p) for h in (0.02, 0.01)]
        errors = [np.abs(g(q, x) - f(q, x)).max() for q in grown]
        np.testing.assert_allclose(np.log2(errors[0] / errors[1]), degree + 1, atol=0.15)


def test_float32_stays_float32_and_jit_works():
    p = jax.tree.map(lambda a: jnp.asarray(a, jnp.float32), {"a": START["a"], "nested": START["nested"]})
    g = wn.taylor(lambda p, x: cubic(p | {"steps": 3}, x), p, 2)
    assert jax.jit(g)(p, X.astype(jnp.float32)).dtype == jnp.float32


def test_a_negative_degree_and_complex_parameters_are_refused():
    with pytest.raises(ValueError, match="degree >= 0"):
        wn.taylor(cubic, START, -1)
    with pytest.raises(TypeError, match="complex leaves"):
        wn.linearize(cubic, START | {"a": jnp.asarray([1j, 2.0])})
