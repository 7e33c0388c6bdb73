"""Gradients of kernels with respect to scales and activation parameters, where samples meet too."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn

X = np.random.default_rng(0).normal(size=(3, 4))
PARAMETERS = np.array([1.3, 0.4, 0.2])  # sigma_w, sigma_b, parameter of the activation
MAKERS = {
    "leaky_relu": wn.leaky_relu,
    "abrelu": lambda a: wn.abrelu(-a, 1.5),
    "scaled_erf": lambda a: wn.scaled_erf(1.2, 1 + a, a),
    "gaussian": lambda a: wn.gaussian(1.0, a),
    "elu": wn.elu,
    "swish": lambda a: wn.activation(swish, params=(a,), name="swish"),
}


def swish(u, a):
    return u * jax.nn.sigmoid((1 + a) * u)


def kernels(parameters, make, x2):
    """NNGP and NTK of a residual network as a function of its parameters."""
    sigma_w, sigma_b, a = parameters
    phi = make(a)

    def net(x):
        h = wn.dense(x, sigma_w, sigma_b)
        h = h + wn.dense(phi(h), sigma_w, sigma_b)
        return wn.dense(phi(h), sigma_w)

    k = wn.kernel(net)(jnp.asarray(X), None if x2 is None else jnp.asarray(x2))
    return jnp.stack([k.nngp, k.ntk])


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("x2", [None, "same", "other"])
def test_gradients_in_scales_and_parameters_agree_with_finite_differences(name, x2):
    other = {None: None, "same": X + 0.0, "other": X[::-1] * 0.7}[x2]

    def function(parameters):
        return kernels(parameters, MAKERS[name], other)

    jacobian = jax.jit(jax.jacfwd(function))(PARAMETERS)
    jitted = jax.jit(function)
    # the integrals of elu near equal samples are noisy to finite differences
    step, tolerance = (1e-3, 1e-4) if name == "elu" else (1e-5, 2e-6)
    for i, move in enumerate(step * np.eye(3)):
        difference = (jitted(PARAMETERS + move) - jitted(PARAMETERS - move)) / (2 * step)
        np.testing.assert_allclose(jacobian[..., i], difference, rtol=tolerance, atol=tolerance)


def test_reverse_mode_agrees_with_forward_mode():
    def total(parameters):
        return kernels(parameters, wn.leaky_relu, None).sum()

    np.testing.assert_allclose(jax.grad(total)(PARAMETERS), jax.jacfwd(total)(PARAMETERS), rtol=1e-9)
