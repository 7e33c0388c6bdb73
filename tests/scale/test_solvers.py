"""Solutions from tiles against those of scipy, with tiles that do not divide the matrix."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import scipy.linalg
import scipy.sparse.linalg

import widenet as wn
from widenet.scale.tiles import FULL, SYMMETRIC

N, SIDE, NOISE = 310, 80, 0.1
RNG = np.random.default_rng(5)
X = RNG.uniform(size=(N, 2))
GRAM = np.exp(-3 * ((X[:, None] - X) ** 2).sum(-1))  # eigenvalues from 100 to 1e-16
B = RNG.normal(size=(N, 3))
EXACT = scipy.linalg.solve(GRAM + NOISE * np.eye(N), B, assume_a="pos")
ROUNDING = 1e-9  # of solutions of size 1 / NOISE, at condition number 1e3


def tiles(path, matrix, kind=SYMMETRIC, side=SIDE):
    k = wn.scale.Tiles.create(path, matrix.shape, side, matrix.dtype, kind)
    for tile in k.plan():
        k.write(tile, matrix[k.slices(tile)])
    return k


@pytest.fixture
def k(tmp_path):
    return tiles(tmp_path / "k", GRAM)


PRECONDITIONERS = {"none": None, "nystrom": partial(wn.scale.nystrom, rank=40)}
SOLVERS = {
    "cholesky": lambda _: wn.scale.cholesky,
    "stored_cholesky": lambda path: wn.scale.stored_cholesky(path / "r"),
    "conjugate_gradients": lambda _: partial(wn.scale.conjugate_gradients, tolerance=1e-11),
    "preconditioned": lambda _: partial(
        wn.scale.conjugate_gradients, tolerance=1e-11, preconditioner=PRECONDITIONERS["nystrom"]
    ),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_solutions_are_those_of_scipy(k, tmp_path, name):
    solve = SOLVERS[name](tmp_path)
    for b, exact in ((B, EXACT), (B[:, 0], EXACT[:, 0])):
        x = solve(k, b, NOISE).x
        assert x.shape == b.shape
        np.testing.assert_allclose(x, exact, atol=ROUNDING * abs(exact).max())


@pytest.mark.parametrize("side", [4, 7, 31, 400])
@pytest.mark.parametrize("name", list(SOLVERS)[:3])
def test_tiles_of_any_size_serve(tmp_path, name, side):
    few = GRAM[:31, :31]
    exact = scipy.linalg.solve(few + NOISE * np.eye(31), B[:31], assume_a="pos")
    x = SOLVERS[name](tmp_path)(tiles(tmp_path / "k", few, side=side), B[:31], NOISE).x
    np.testing.assert_allclose(x, exact, atol=ROUNDING * abs(exact).max())


def test_the_factor_in_tiles_is_that_of_scipy(k, tmp_path):
    wn.scale.stored_cholesky(tmp_path / "r")(k, B, NOISE)
    r = np.asarray(wn.scale.Tiles.open(tmp_path / "r"))
    np.testing.assert_allclose(r, scipy.linalg.cholesky(GRAM + NOISE * np.eye(N)), atol=1e-12)


def test_single_precision_kernels_are_solved_in_double(tmp_path):
    k = tiles(tmp_path / "k", GRAM.astype(np.float32))
    exact = scipy.linalg.solve(GRAM.astype(np.float32).astype(float) + NOISE * np.eye(N), B, assume_a="pos")
    for name, solve in SOLVERS.items():
        np.testing.assert_allclose(solve(tmp_path)(k, B, NOISE).x, exact, atol=1e-8 * abs(exact).max(), err_msg=name)


def test_a_factorization_goes_on_where_it_stopped(k, tmp_path):
    solve = wn.scale.stored_cholesky(tmp_path / "r")
    whole = solve(k, B, NOISE).x
    r = wn.scale.Tiles.open(tmp_path / "r")
    expected, gone = np.asarray(r), [(1, 2), (2, 2), (2, 3)]
    for tile in gone[:2]:
        r.file(tile).unlink()
    r.file(gone[2]).write_bytes(b"torn")
    kept = {r.file(tile): r.file(tile).stat().st_mtime_ns for tile in r.plan() if tile not in gone}
    with pytest.warns(UserWarning, match=r"r: 1 corrupt tiles are computed again: \[\(2, 3\)\]"):
        again = solve(k, B, NOISE).x
    np.testing.assert_array_equal(again, whole)
    np.testing.assert_array_equal(np.asarray(r), expected)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_the_factor_of_something_else_is_refused(k, tmp_path):
    solve = wn.scale.stored_cholesky(tmp_path / "r")
    solve(k, B, NOISE)
    with pytest.raises(ValueError, match=r"not the factor of .* with noise 0\.2"):
        solve(k, B, 2 * NOISE)
    changed = GRAM.copy()
    changed[-1, -1] += 1e-15
    with pytest.raises(ValueError, match="name another path"):
        solve(tiles(tmp_path / "other", changed), B, NOISE)


@pytest.mark.parametrize("name", PRECONDITIONERS)
def test_iterations_are_those_of_scipy_and_their_residuals_true(k, name):
    given = PRECONDITIONERS[name]
    a = GRAM + NOISE * np.eye(N)
    invert = (lambda v: v) if given is None else given(k, NOISE)
    m = scipy.sparse.linalg.LinearOperator((N, N), lambda v: invert(v.reshape(-1, 1)).ravel(), dtype=float)
    steps = []
    scipy.sparse.linalg.cg(a, B[:, 0], M=m, rtol=0, maxiter=4, callback=lambda x: steps.append(x.copy()))
    with pytest.warns(UserWarning, match="reached a residual of .* in 4 iterations"):
        ours = wn.scale.conjugate_gradients(k, B[:, 0], NOISE, preconditioner=given, iterations=4, tolerance=0.0)
    np.testing.assert_allclose(ours.x, steps[-1], atol=1e-10 * abs(steps[-1]).max())
    true = [np.linalg.norm(a @ x - B[:, 0]) / np.linalg.norm(B[:, 0]) for x in [np.zeros(N), *steps]]
    np.testing.assert_allclose(ours.residuals, true, rtol=1e-4, atol=1e-13)


def test_the_preconditioner_saves_iterations_and_is_the_formula(k):
    taken = [
        len(wn.scale.conjugate_gradients(k, B, NOISE, preconditioner=p).residuals) for p in PRECONDITIONERS.values()
    ]
    assert taken[1] < taken[0] / 3, taken
    w = np.linalg.qr(np.random.default_rng(0).normal(size=(N, 5)))[0]
    u, values, _ = np.linalg.svd(GRAM @ w @ np.linalg.inv(w.T @ GRAM @ w) @ w.T @ GRAM)
    weights = (values[4] + NOISE) / (values[:5] + NOISE) - 1
    expected = B + u[:, :5] @ (weights[:, None] * (u[:, :5].T @ B))
    np.testing.assert_allclose(wn.scale.nystrom(k, NOISE, rank=5)(B), expected, atol=1e-9)


def test_a_column_of_zeros_is_solved_by_zeros(k):
    b = B * [1, 0, 1]
    np.testing.assert_array_equal(wn.scale.conjugate_gradients(k, b, NOISE).x[:, 1], 0)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_gaussian_process_is_that_in_memory(k, tmp_path, name):
    x_test = RNG.uniform(size=(70, 2))
    cross = np.exp(-3 * ((x_test[:, None] - X) ** 2).sum(-1))
    stored, prior, solve = tiles(tmp_path / "cross", cross, FULL), np.ones(70), SOLVERS[name](tmp_path)
    ours = wn.scale.gp(k, B, stored, prior, noise=NOISE, solve=solve)
    expected = wn.predict.gp(GRAM, B, cross, prior, noise=NOISE)
    np.testing.assert_allclose(ours.mean, expected.mean, atol=1e-8)
    np.testing.assert_allclose(ours.variance, expected.variance, atol=1e-8)
    alone = wn.scale.gp(k, B[:, 0], cross, noise=NOISE, solve=solve)
    np.testing.assert_allclose(alone.mean, expected.mean[:, 0], atol=1e-8)
    assert alone.variance is None


@pytest.mark.parametrize("name", ["cholesky", "stored_cholesky"])
def test_what_has_no_factor_says_so(tmp_path, name):
    k = tiles(tmp_path / "k", np.diag(np.where(np.arange(N) == 60, -1.0, 1.0)))
    with pytest.raises(ValueError, match=r"not positive definite.*rows 0 to 79 show: add noise \(now 0\.95; the mean"):
        SOLVERS[name](tmp_path)(k, B, 0.95)


def test_mistakes_are_answered_in_words(k, tmp_path):
    with pytest.raises(ValueError, match="y has shape"):
        wn.scale.cholesky(k, B[1:])
    with pytest.raises(ValueError, match="noise must be >= 0"):
        wn.scale.conjugate_gradients(k, B, -1.0)
    with pytest.raises(ValueError, match="its kind is full"):
        wn.scale.cholesky(tiles(tmp_path / "f", GRAM[:9, :9], FULL), B[:9])
    with pytest.raises(ValueError, match="rank must be from 1 to 310"):
        wn.scale.nystrom(k, NOISE, rank=311)
    with pytest.raises(ValueError, match="needs noise > 0"):
        wn.scale.nystrom(k, 0.0)
    with pytest.raises(ValueError, match=r"shape \(5, 309\), but needs 310 columns"):
        wn.scale.gp(k, B, np.ones((5, 309)))
    with pytest.raises(ValueError, match="there are 5 test samples"):
        wn.scale.gp(k, B, np.ones((5, 310)), np.ones(4))
    k.file((0, 0)).unlink()
    with pytest.raises(FileNotFoundError, match=r"tile \(0, 0\)"):
        wn.scale.stored_cholesky(tmp_path / "r")(k, B, NOISE)
