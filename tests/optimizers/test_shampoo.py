from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import eigh, fractional_matrix_power

from tests.optimizers.cores import after
from widenet import optimizers

GIVEN = np.random.default_rng(1).normal(size=(4, 5, 7))


def averages(given, beta):
    weights = np.ones(len(given)) if beta == 1 else beta ** np.arange(len(given))[::-1]
    weights = weights if beta == 1 else weights / weights.sum()
    return (np.einsum("s,sij,skj->ik", weights, given, given), np.einsum("s,sji,sjk->ik", weights, given, given))


def power(factor, damping, exponent):
    return fractional_matrix_power(factor + damping * np.eye(len(factor)), -exponent)


@pytest.mark.parametrize(("beta", "exponents"), [(0.7, (0.5, 0.5)), (1.0, (0.4, 0.1))])
def test_powers_of_the_averages_by_schur_decompositions(beta, exponents):
    left, right = averages(GIVEN, beta)
    core = optimizers.scale_by_shampoo(exponents, beta=beta, damping=optimizers.relative_to_largest(1e-3))
    slow = (
        power(left, 1e-3 * np.linalg.norm(left, 2), exponents[0])
        @ GIVEN[-1]
        @ power(right, 1e-3 * np.linalg.norm(right, 2), exponents[1])
    )
    np.testing.assert_allclose(after(core, *map(jnp.asarray, GIVEN)), slow, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("damping", "added"),
    [
        (optimizers.constant({"w": 0.3, "v": 9.0}), lambda *_: (0.3, 0.3)),
        (optimizers.relative_to_trace(0.1), lambda left, right: (0.1 * np.trace(left), 0.1 * np.trace(right))),
        (optimizers.martens_grosse(0.04), lambda *_: (0.2 * np.sqrt(7 / 5), 0.2 * np.sqrt(5 / 7))),
    ],
)
def test_dampings(damping, added):
    left, right = averages(GIVEN[:1], 1)
    more = added(left, right)
    slow = power(left, more[0], 0.25) @ GIVEN[0] @ power(right, more[1], 0.25)
    core = optimizers.scale_by_shampoo(damping=damping)
    np.testing.assert_allclose(after(core, {"w": jnp.asarray(GIVEN[0])})["w"], slow, rtol=1e-10)
    with pytest.raises(ValueError, match="the damping has no value for the leaf 'u', but for 'w'"):
        after(optimizers.scale_by_shampoo(damping=optimizers.constant({"w": 1.0})), {"u": jnp.ones((2, 2))})


def test_blocks_are_preconditioned_one_by_one():
    core = optimizers.scale_by_shampoo(block_size=3)
    whole = after(core, *map(jnp.asarray, GIVEN))
    for rows, columns in ((slice(0, 3), slice(3, 6)), (slice(3, 5), slice(6, 7))):
        alone = after(optimizers.scale_by_shampoo(), *map(jnp.asarray, GIVEN[:, rows, columns]))
        np.testing.assert_allclose(whole[rows, columns], alone, rtol=1e-8, atol=1e-10)


def test_powers_wait_for_their_turn():
    core = optimizers.scale_by_shampoo(every=3)
    first, given = averages(GIVEN[:1], 1), list(map(jnp.asarray, GIVEN))
    into, out = (power(factor, 1e-6 * np.linalg.norm(factor, 2), 0.25) for factor in first)
    np.testing.assert_allclose(after(core, *given[:3]), into @ GIVEN[2] @ out, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(after(core, *given), after(optimizers.scale_by_shampoo(), *given), rtol=1e-8)


def test_soap_is_adam_in_the_eigenbasis():
    given, b = GIVEN[:, :, :5], 0.8
    mu = nu = into = out = 0.0
    left = right = 0.0
    for gradient in given:
        left, right = b * left + (1 - b) * gradient @ gradient.T, b * right + (1 - b) * gradient.T @ gradient
        before, (into, out) = (into, out), (eigh(left)[1], eigh(right)[1])
        if np.ndim(nu):
            turns = [(new.T @ old) ** 2 for new, old in zip((into, out), before, strict=True)]
            nu = np.einsum("ik,jl,kl->ij", *turns, nu)
        mu, nu = 0.9 * mu + 0.1 * gradient, b * nu + (1 - b) * (into.T @ gradient @ out) ** 2
    root = np.sqrt(nu / (1 - b**4))
    slow = into @ (into.T @ mu @ out / (1 - 0.9**4) / (root + 1e-3 * np.linalg.norm(root))) @ out.T
    core = optimizers.scale_by_soap(0.9, b, eps=1e-3, every=1)
    np.testing.assert_allclose(after(core, *map(jnp.asarray, given)), slow, rtol=1e-8, atol=1e-10)


def test_the_first_update_of_soap_is_the_orthogonal_factor():
    u, _, vt = np.linalg.svd(GIVEN[0], full_matrices=False)
    update = after(optimizers.scale_by_soap(eps=1e-8), jnp.asarray(GIVEN[0]))
    np.testing.assert_allclose(np.linalg.svd(u.T @ update @ vt.T)[1], 1, atol=1e-6)
