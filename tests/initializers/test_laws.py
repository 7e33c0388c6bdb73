"""Variances, singular values and fourth moments of the laws."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from widenet.initializers.laws import (
    BlockSparse,
    Cayley,
    Haar,
    LowRank,
    Normal,
    Permuted,
    TruncatedNormal,
    Uniform,
    truncated_deviation,
)

MASK = np.add.outer(np.arange(12), np.arange(12)) % 3 == 0
LAWS = {
    "normal": Normal(),
    "truncated": TruncatedNormal(),
    "cut short": TruncatedNormal(0.7),
    "uniform": Uniform(),
    "Haar": Haar(),
    "low rank": LowRank(0.5),
    "block sparse": BlockSparse(0.4, 3),
    "permuted": Permuted(MASK.shape, MASK.tobytes()),
    "Cayley": Cayley(),
}
SQUARE = {"permuted", "Cayley"}
DRAWS = 1000


def draws(law, n_in, n_out, count=DRAWS, seed=0):
    keys = jax.random.split(jax.random.key(seed), count)
    return np.asarray(jax.jit(jax.vmap(lambda key: law.matrix(key, n_in, n_out, jnp.float64)))(keys))


def within(values, expected, sigmas=5.0):
    """Is the mean of independent values what is expected, to its standard error?"""
    error = np.std(values, axis=0) / np.sqrt(len(values))
    return (np.abs(np.mean(values, axis=0) - expected) < sigmas * error + 1e-12).all()


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("shape", [(12, 12), pytest.param((5, 9), marks=pytest.mark.slow), (9, 5)])
def test_entries_are_centred_with_variance_one_over_n_in(name, shape):
    if name in SQUARE and shape != (12, 12):
        pytest.skip("square only")
    w = draws(LAWS[name], *shape)
    assert within(w, 0)
    assert within(w**2 * shape[0], 1)


@pytest.mark.parametrize("name", LAWS)
def test_entries_are_uncorrelated(name):
    w = draws(LAWS[name], 12, 12)
    for other in (w[:, 1, 0], w[:, 0, 1], w[:, 1, 1]):
        assert within(w[:, 0, 0] * other * 12, 0)


def test_truncated_deviation_is_that_of_scipy():
    for bound in (0.3, 1.0, 2.0, 5.0):
        np.testing.assert_allclose(truncated_deviation(bound), stats.truncnorm(-bound, bound).std(), rtol=1e-9)
    assert abs(truncated_deviation(2.0) - 0.87962566103423978) < 1e-15  # the constant of jax


def test_truncated_entries_stop_at_the_bound():
    w = draws(TruncatedNormal(0.7), 5, 5) * np.sqrt(5) * truncated_deviation(0.7)
    assert 0.69 < np.abs(w).max() <= 0.7


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("shape", [(64, 64), (40, 64), (64, 40), (1, 1)])
def test_haar_matrices_are_orthogonal_to_rounding(shape, dtype):
    w = np.asarray(Haar(variance_preserving=False).matrix(jax.random.key(3), *shape, dtype), np.float64)
    gram = w.T @ w if shape[0] >= shape[1] else w @ w.T
    np.testing.assert_allclose(gram, np.eye(min(shape)), atol=20 * jnp.finfo(dtype).eps)


def test_a_widening_layer_keeps_the_mean_square_exactly():
    x = np.random.default_rng(0).normal(size=10)
    w = np.asarray(Haar().matrix(jax.random.key(0), 10, 25, jnp.float64))
    np.testing.assert_allclose(np.mean((x @ w) ** 2), np.mean(x**2), rtol=1e-13)
    plain = np.asarray(Haar(variance_preserving=False).matrix(jax.random.key(0), 10, 25, jnp.float64))
    np.testing.assert_allclose(plain * np.sqrt(2.5), w, rtol=1e-14)


def test_haar_has_no_preferred_determinant_or_sign():
    """Without the signs of the triangular factor the diagonal of QR is one-sided."""
    w = draws(Haar(), 3, 3)
    assert within(np.linalg.det(w), 0)
    assert within(np.trace(w, axis1=1, axis2=2) ** 2, 1)  # E tr^2 = 1 for the orthogonal group


def test_low_rank_has_that_rank_and_cayley_is_orthogonal():
    singular = np.linalg.svd(draws(LowRank(0.25), 20, 16, 3), compute_uv=False)
    assert (singular[:, 4:] < 1e-13).all()
    assert (singular[:, 3] > 0.1).all()
    w = draws(Cayley(), 30, 30, 3)
    np.testing.assert_allclose(w @ np.swapaxes(w, 1, 2), np.broadcast_to(np.eye(30), (3, 30, 30)), atol=1e-12)


def test_the_entries_of_cayley_are_of_order_one_over_sqrt_n():
    """With another variance of the skew matrix a share of every row stays on one entry."""
    fourth = [n**2 * np.mean(draws(Cayley(), n, n, 60) ** 4) for n in (40, 160)]
    np.testing.assert_allclose(fourth, 3, rtol=0.25)


def test_the_mean_diagonal_before_signs_vanishes_at_variance_two():
    n = 600
    a = np.triu(np.random.default_rng(0).normal(size=(n, n)), 1)
    for variance, expected in ((2.0, 0.0), (1.0, np.sqrt(5) - 2)):
        skew = (a - a.T) * np.sqrt(variance / n)
        q = np.linalg.solve(np.eye(n) + skew, np.eye(n) - skew)
        assert abs(np.trace(q) / n - expected) < 3 / n


def test_sparse_patterns_have_their_density():
    w = draws(BlockSparse(0.4, 3), 30, 21, 400)
    assert within((w != 0).mean((1, 2)), 0.4)
    assert ((draws(LAWS["permuted"], 12, 12, 50) != 0).sum((1, 2)) == MASK.sum()).all()


def test_a_block_moves_as_a_whole():
    w = draws(BlockSparse(0.5, 4), 16, 16, 20)
    for pattern in w != 0:
        assert len({tuple(row) for row in pattern}) <= 4
        assert len({tuple(column) for column in pattern.T}) <= 4


@pytest.mark.parametrize(
    ("law", "shape"),
    [
        (Normal(), (12, 12)),
        (Haar(), (12, 12)),
        (Haar(), (24, 8)),
        pytest.param(Haar(), (8, 24), marks=pytest.mark.slow),
        pytest.param(LowRank(0.5), (12, 12), marks=pytest.mark.slow),
        (LowRank(0.25), (12, 24)),
        (Cayley(), (24, 24)),
        (BlockSparse(0.5, 2), (24, 24)),
    ],
)
def test_kappa4_is_the_excess_of_products_of_squares(law, shape):
    """Exact for the first ones but for 1/n^2: the bound is the second order of 1/(1 + 2/n)."""
    n_in, n_out = shape
    x = np.random.default_rng(1).normal(size=n_in)
    y = x @ draws(law, *shape, 8_000) * np.sqrt(n_in) / np.linalg.norm(x)
    squares = y**2
    pairs = (squares.sum(1) ** 2 - (squares**2).sum(1)) / (n_out * (n_out - 1))  # mean over i != j
    excess = (pairs - 1) * n_in / 2
    error = np.std(excess) / np.sqrt(len(excess))
    predicted = law.kappa4(n_in, n_out)
    assert abs(excess.mean() - predicted) < 5 * error + 3 * (1 + abs(predicted)) ** 2 / min(shape)


def test_haar_and_low_rank_have_their_exact_fourth_moments():
    n, r = 12, 6
    for law, ratio in ((Haar(), n / (n + 2)), (LowRank(r / n), (1 + 2 / r) * n / (n + 2))):
        y = np.ones(n) @ draws(law, n, n, 15_000)
        assert within(y[:, 0] ** 2 * y[:, 1] ** 2, ratio)


def test_square_only_and_fixed_patterns_refuse_other_shapes():
    with pytest.raises(ValueError, match=r"square matrices, not 3 x 5.*use initializers.orthogonal"):
        Cayley().matrix(jax.random.key(0), 3, 5, float)
    with pytest.raises(ValueError, match="pattern has shape"):
        LAWS["permuted"].matrix(jax.random.key(0), 3, 5, float)
