"""Predictions against other ways to compute them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from widenet import predict
from widenet.predict import arrays, cholesky

RNG = np.random.default_rng(0)
X, X_TEST = RNG.normal(size=(12, 3)), RNG.normal(size=(5, 3))
Y = RNG.normal(size=12)
RBF_KERNEL = RBF(1.3)
K, K_TEST, PRIOR = RBF_KERNEL(X), RBF_KERNEL(X_TEST, X), RBF_KERNEL(X_TEST)
NTK = K @ K / 3 + K  # another kernel on the same samples
NTK_TEST = K_TEST @ K / 3 + K_TEST


def test_posterior_is_that_of_scikit_learn():
    reference = GaussianProcessRegressor(RBF_KERNEL, alpha=0.1, optimizer=None).fit(X, Y)
    mean, covariance = reference.predict(X_TEST, return_cov=True)
    posterior = predict.gp(K, Y, K_TEST, PRIOR, noise=0.1)
    np.testing.assert_allclose(posterior.mean, mean, rtol=1e-10)
    np.testing.assert_allclose(posterior.variance, covariance, rtol=1e-8, atol=1e-12)
    diagonal = predict.gp(K, Y, K_TEST, np.diag(PRIOR), noise=0.1).variance
    np.testing.assert_allclose(diagonal, np.diag(covariance), rtol=1e-8)


def test_many_outputs_are_predicted_one_by_one():
    y = RNG.normal(size=(12, 4))
    together = predict.gp(K, y, K_TEST, noise=0.1).mean
    assert together.shape == (5, 4)
    np.testing.assert_allclose(together[:, 2], predict.gp(K, y[:, 2], K_TEST, noise=0.1).mean, rtol=1e-12)


def test_log_marginal_likelihood_is_the_density():
    density = multivariate_normal(np.zeros(12), K + 0.1 * np.eye(12)).logpdf(Y)
    assert predict.log_marginal_likelihood(K, Y, noise=0.1) == pytest.approx(density, rel=1e-10)


@pytest.mark.parametrize("t", [0.0, 0.3, 10.0])
def test_gradient_flow_solves_its_differential_equation(t):
    flow = predict.gradient_flow(NTK, Y)

    def rate(_, f):  # f on training and test samples
        return -np.concatenate([NTK, NTK_TEST]) @ (f[:12] - Y) / 12

    f = solve_ivp(rate, (0, t), np.zeros(17), rtol=1e-10, atol=1e-12).y[:, -1] if t else np.zeros(17)
    np.testing.assert_allclose(flow.mean(NTK_TEST, t), f[12:], atol=1e-7)
    np.testing.assert_allclose(flow.train_residual(t), f[:12] - Y, atol=1e-7)


def test_gradient_flow_ends_at_kernel_regression():
    flow = predict.gradient_flow(NTK, Y)
    np.testing.assert_allclose(flow.mean(NTK_TEST), predict.gp(NTK, Y, NTK_TEST).mean, rtol=1e-6)
    np.testing.assert_allclose(flow.mean(NTK_TEST, 1e9), flow.mean(NTK_TEST), rtol=1e-6)


@pytest.mark.parametrize("t", [0.0, 0.5, np.inf])
def test_covariance_of_trained_networks_is_that_of_trained_samples(t):
    flow = predict.gradient_flow(NTK, Y)
    joint = np.block([[K, K_TEST.T], [K_TEST, PRIOR]])
    f0 = np.random.default_rng(1).multivariate_normal(np.zeros(17), joint, size=100_000)
    weights = np.stack([predict.gradient_flow(NTK, e).mean(NTK_TEST, t) for e in np.eye(12)], axis=1)
    trained = f0[:, 12:] - f0[:, :12] @ weights.T
    covariance = flow.covariance(NTK_TEST, K, K_TEST, PRIOR, t)
    np.testing.assert_allclose(covariance, np.cov(trained.T), atol=0.03 * np.abs(PRIOR).max())
    assert np.linalg.eigvalsh(covariance).min() > -1e-9


def test_the_largest_learning_rate_is_where_gradient_descent_diverges():
    rate = predict.max_learning_rate(NTK)
    for factor, converges in ((0.99, True), (1.01, False)):
        residual = np.linalg.matrix_power(np.eye(12) - factor * rate * NTK / 12, 2000) @ Y
        assert (np.linalg.norm(residual) < np.linalg.norm(Y)) == converges


def test_kernel_pca_finds_the_largest_eigenvalues():
    values, vectors = predict.kernel_pca(K, 3)
    np.testing.assert_allclose(K @ vectors / 12, vectors * values, atol=1e-12)
    assert values[0] > values[1] > values[2]


def test_a_kernel_that_is_singular_to_rounding_is_helped_with_a_warning():
    singular = np.ones((3, 3)) + 1e-3 * np.diag([1, 0, 0]) + np.diag([0, 0, 1.0])
    with pytest.warns(UserWarning, match="singular to rounding"):
        predict.gp(singular - np.diag([1e-3, 0, 0]), np.zeros(3), np.ones((1, 3)))


def test_an_indefinite_kernel_names_its_smallest_eigenvalue():
    with pytest.raises(ValueError, match=r"smallest eigenvalue is -1.*add noise"):
        predict.gp(np.diag([1.0, 1.0, -1.0]), np.zeros(3), np.ones((1, 3)))


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(cholesky, "BLOCK", 5)
    monkeypatch.setattr(cholesky, "LAPACK_ROWS", 0)
    monkeypatch.setattr(arrays, "TILE", 5)


@pytest.mark.usefixtures("small_blocks")
def test_the_factor_in_blocks_is_that_of_numpy():
    made = cholesky.factor(K.copy(), 0.1)
    lower = np.linalg.cholesky(K + 0.1 * np.eye(12))
    np.testing.assert_allclose(np.tril(made.lower), lower, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(made.solve(Y), np.linalg.solve(K + 0.1 * np.eye(12), Y), rtol=1e-10)
    np.testing.assert_allclose(made.whiten(Y), np.linalg.solve(lower, Y), rtol=1e-10)
    assert made.log_determinant() == pytest.approx(np.linalg.slogdet(K + 0.1 * np.eye(12))[1], rel=1e-12)


@pytest.mark.usefixtures("small_blocks")
def test_a_factorization_that_failed_begins_again_from_the_kernel():
    basis = np.linalg.qr(RNG.normal(size=(12, 12)))[0]
    singular = basis @ np.diag(np.r_[-1e-11, np.linspace(1, 2, 11)]) @ basis.T
    singular = (singular + singular.T) / 2
    with pytest.warns(UserWarning, match="singular to rounding"):
        made = cholesky.factor(singular.copy())
    lower = np.tril(made.lower)
    assert made.jitter > 0
    np.testing.assert_allclose(lower @ lower.T, singular + made.jitter * np.eye(12), rtol=0, atol=1e-14)


@pytest.mark.usefixtures("small_blocks")
def test_gram_matrices_are_copied_and_checked_in_every_tile():
    asymmetric, bad = K.copy(), K.copy()
    asymmetric[11, 1] += 1e-3
    bad[7, 8] = bad[8, 7] = np.inf
    with pytest.raises(ValueError, match="not symmetric"):
        arrays.gram_matrix(asymmetric)
    with pytest.raises(ValueError, match="NaN or infinite values in rows 7, 8"):
        arrays.gram_matrix(bad)
    made = arrays.gram_matrix(K.astype(np.float32))
    assert made.dtype == np.float64
    np.testing.assert_array_equal(made, K.astype(np.float32))
    before = K.copy()
    predict.gp(K, Y, K_TEST, PRIOR, noise=0.1)
    np.testing.assert_array_equal(K, before)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: predict.gp(K, Y[:5], K_TEST), r"y has shape \(5,\), but there are 12"),
        (lambda: predict.gp(K, Y, K_TEST[:, :5]), "needs 12 columns"),
        (lambda: predict.gp(K[:5], Y, K_TEST), "square"),
        (lambda: predict.gp(K + np.triu(np.ones((12, 12))), Y, K_TEST), "not symmetric"),
        (lambda: predict.gp(K * np.nan, Y, K_TEST), "NaN or infinite values in rows 0"),
        (lambda: predict.gp(K, Y, K_TEST, noise=-1.0), "noise must be >= 0"),
        (lambda: predict.gradient_flow(NTK, Y).mean(NTK_TEST, -1.0), "t must be >= 0"),
        (lambda: predict.gradient_flow(-NTK, Y), "negative eigenvalue"),
        (lambda: predict.centred_one_hot([0, 3], 3), "from 0 to 2, but go from 0 to 3"),
        (lambda: predict.centred_one_hot([0.5], 3), "must be integers"),
    ],
)
def test_a_mistake_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_centred_one_hot_sums_to_zero():
    y = predict.centred_one_hot([2, 0, 1], 3)
    np.testing.assert_allclose(y.sum(1), 0, atol=1e-15)
    assert predict.accuracy(y, [2, 0, 0]) == pytest.approx(2 / 3)
