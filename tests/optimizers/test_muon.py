from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax.contrib
import pytest
import scipy.linalg

from tests.optimizers.cores import after
from widenet import optimizers

RNG = np.random.default_rng(0)
BASES = [scipy.linalg.qr(RNG.normal(size=(n, n)))[0][:, :6] for n in (8, 6)]


def with_values(values):
    return BASES[0] @ np.diag(values) @ BASES[1].T


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("orthogonalize", [optimizers.accurate, optimizers.polar])
@pytest.mark.parametrize("size", [1e-25, 1e25])
def test_singular_values_are_one_at_every_size(orthogonalize, dtype, size):
    """The page of theory promises 1 above 6e-5 of the norm."""
    matrix = jnp.asarray(size * with_values(np.geomspace(1, 1e-4, 6)), dtype)
    factor = np.asarray(orthogonalize(matrix), np.float64)
    rounding = np.finfo(dtype).eps
    np.testing.assert_allclose(np.linalg.svd(factor)[1], 1, atol=20 * rounding)
    assert factor.shape == matrix.shape
    np.testing.assert_allclose(factor, BASES[0] @ BASES[1].T, atol=1e5 * rounding)
    np.testing.assert_allclose(np.asarray(orthogonalize(matrix.T)).T, factor, atol=1e5 * rounding)


def test_the_standard_iteration_stays_in_its_band():
    values = np.linalg.svd(optimizers.standard(jnp.asarray(with_values(np.geomspace(1, 0.006, 6)))))[1]
    assert 0.67 < values.min() < 0.9
    assert 1.1 < values.max() < 1.22


def test_the_iteration_is_the_polynomial_of_the_singular_values():
    values = np.array([3.0, 2, 1, 0.5, 0.2, 0.1])
    a, b, c = 2.0, -1.5, 0.5
    x = values / np.linalg.norm(values)
    for _ in range(2):
        x = a * x + b * x**3 + c * x**5
    made = optimizers.newton_schulz([(a, b, c)] * 2)(jnp.asarray(with_values(values)))
    np.testing.assert_allclose(made, with_values(x), atol=1e-13)


def test_a_matrix_of_low_rank_keeps_its_rank():
    low = with_values([2, 1, 0, 0, 0, 0])
    np.testing.assert_allclose(optimizers.polar(jnp.asarray(low)), with_values([1, 1, 0, 0, 0, 0]), atol=1e-13)
    np.testing.assert_allclose(optimizers.accurate(jnp.asarray(low)), with_values([1, 1, 0, 0, 0, 0]), atol=1e-9)


@pytest.mark.parametrize("nesterov", [True, False])
def test_the_update_is_the_factor_of_the_momentum(nesterov):
    given = RNG.normal(size=(3, 5, 7))
    momentum = 0.0
    for gradient in given:
        momentum = 0.8 * momentum + gradient
    mixed = given[-1] + 0.8 * momentum if nesterov else momentum
    update = after(optimizers.scale_by_muon(0.8, nesterov=nesterov, scale="spectral"), *map(jnp.asarray, given))
    np.testing.assert_allclose(update, np.sqrt(7 / 5) * scipy.linalg.polar(mixed)[0], atol=1e-12)


@pytest.mark.parametrize(
    ("shape", "consistent_rms"),
    [
        ((16, 4), 0.2),
        pytest.param((3, 3, 2, 4), None, marks=pytest.mark.slow),
        pytest.param((4, 16), None, marks=pytest.mark.slow),
    ],
)
def test_the_scale_of_optax_is_what_we_say(shape, consistent_rms):
    gradient = {"w": jnp.asarray(RNG.normal(size=shape))}
    window = tuple(range(len(shape) - 1))
    numbers = {"w": optax.contrib.MuonDimensionNumbers(window, len(shape) - 1)}
    theirs = optax.contrib.muon(
        1.0,
        ns_steps=12,
        ns_coeffs=tuple([(3.4445, -4.7750, 2.0315)] * 8 + [(15 / 8, -10 / 8, 3 / 8)] * 4),
        weight_decay=0,
        eps=0,
        consistent_rms=consistent_rms,
        muon_weight_dimension_numbers=numbers,
    )
    update = theirs.update(gradient, theirs.init(gradient), gradient)[0]["w"]
    factors = optimizers.shape_factors(gradient, optimizers.optax_muon_scale(consistent_rms))
    ours = after(optimizers.scale_by_muon(), gradient)["w"]
    np.testing.assert_allclose(-update, factors["w"] * ours, rtol=1e-6, atol=1e-9)


def test_the_scale_of_optax_is_wrong_at_a_readout():
    """One learning rate needs sqrt(fan_out / fan_in): optax has 1 there, for every width."""
    params = {"narrow": np.ones((64, 4)), "wide": np.ones((4, 64)), "bias": np.ones(4)}
    factors = optimizers.shape_factors(params, optimizers.optax_muon_scale())
    assert factors == {"narrow": 1.0, "wide": 4.0, "bias": 2.0}
    with pytest.raises(ValueError, match="'keller', 'kimi', 'spectral'"):
        optimizers.scale_by_muon(scale="unit")
