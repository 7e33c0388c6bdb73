"""The orthonormality penalty against its definition, and errors that are modulated."""

from __future__ import annotations

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from widenet import initializers as wi

RNG = np.random.default_rng(0)


def by_definition(matrix):
    return np.sum((matrix.T @ matrix - np.eye(matrix.shape[1])) ** 2)


def test_the_penalty_is_that_of_each_matrix_whatever_is_larger():
    tall, wide, kernel = RNG.normal(size=(7, 4)), RNG.normal(size=(3, 6)), RNG.normal(size=(2, 2, 3, 5))
    params = {"a": [tall, wide], "b": {"w": kernel, "bias": RNG.normal(size=5)}, "steps": 3}
    squares = [by_definition(w) for w in (tall, wide, kernel.reshape(12, 5))]
    np.testing.assert_allclose(wi.orthonormality_penalty(params), sum(squares) / 2, rtol=1e-12)
    np.testing.assert_allclose(list(wi.orthonormality(params).values()), np.sqrt(squares), rtol=1e-12)


def test_axes_and_copies_are_named():
    stacked = RNG.normal(size=(4, 5, 3))
    gaps = wi.orthonormality({"w": stacked, "bias": np.ones((4, 3))}, batch_axis=0)
    assert list(gaps) == ["['w']"]
    np.testing.assert_allclose(gaps["['w']"], [by_definition(w) ** 0.5 for w in stacked], rtol=1e-12)
    flipped = wi.orthonormality_penalty(stacked[0].T, in_axis=1, out_axis=0)
    np.testing.assert_allclose(flipped, by_definition(stacked[0]) / 2, rtol=1e-12)


@pytest.mark.parametrize("shape", [(8, 3), (3, 8), (3, 3, 2, 4)])
def test_orthogonal_weights_have_the_least_penalty_and_no_gradient(shape):
    w = wi.orthogonal(variance_preserving=False)(0, shape, jnp.float64)
    n_in, n_out = np.prod(shape[:-1]), shape[-1]
    value, slope = jax.value_and_grad(wi.orthonormality_penalty)(w)
    np.testing.assert_allclose(value, max(n_out - n_in, 0) / 2, atol=1e-12)
    np.testing.assert_allclose(slope, 0, atol=1e-12)


def test_descent_on_the_penalty_makes_a_matrix_orthonormal():
    w = 0.3 * RNG.normal(size=(6, 6))
    for _ in range(300):
        w = w - 0.1 * jax.grad(wi.orthonormality_penalty)(w)
    np.testing.assert_allclose(w.T @ w, np.eye(6), atol=1e-5)


def test_modulated_errors_have_the_deviation_that_was_asked_for_and_their_direction():
    h, w = RNG.normal(size=(5, 4)), RNG.normal(size=(5, 4))
    assert (wi.modulated(h, 0.1) == h).all()
    error = jax.grad(lambda h: jnp.sum(w * wi.modulated(h, 0.1)))(h)
    np.testing.assert_allclose(error, w * 0.1 / np.std(w), rtol=1e-12)
    np.testing.assert_array_equal(jax.grad(lambda h: jnp.sum(0 * wi.modulated(h, 0.1)))(h), 0)


def test_parameters_without_a_weight_are_refused():
    with pytest.raises(ValueError, match="no weight"):
        wi.orthonormality_penalty({"bias": np.ones(3)})


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_the_twin_of_torch_agrees_for_linear_layers_and_convolutions():
    import torch
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(24, 30)).double()
    conv, dense = (model[i].weight.detach().numpy() for i in (0, 3))
    groups = [conv[:3].reshape(3, -1).T, conv[3:].reshape(3, -1).T]
    expected = sum(map(by_definition, [*groups, dense.T])) / 2
    penalty = wn.torch.orthonormality_penalty(model)
    assert penalty.requires_grad
    np.testing.assert_allclose(penalty.item(), expected, rtol=1e-10)
