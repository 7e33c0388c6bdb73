"""EigenPro against linear algebra in memory, and against its formulas written out."""

from __future__ import annotations

import numpy as np
import pytest

import widenet as wn
from widenet.scale import eigenpro, points
from widenet.scale.tiles import FULL, SYMMETRIC

N, SIDE = 240, 50
RNG = np.random.default_rng(3)
X, X_TEST = RNG.normal(size=(N, 4)), RNG.normal(size=(60, 4))
Y = np.stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]], axis=1) + 0.1 * RNG.normal(size=(N, 2))


def distances(x1, x2):
    return np.sqrt(((x1[:, None] - x2) ** 2).sum(-1))


def laplace(x1, x2):
    """Not constant on the diagonal, so that the largest value there matters."""
    scale = 1 + 0.2 * np.tanh(x1[:, :1]) + 0.2 * np.tanh(x2[:, 0])
    return np.exp(scale - 1) * np.exp(-distances(x1, x2) / 3)


def gaussian(x1, x2):
    return np.exp(-(distances(x1, x2) ** 2) / 8)


NTK = wn.ntk(wn.zoo.mlp(wn.relu, 2, sigma_b=0.3))


def ridge(k, noise):
    return k(X_TEST, X) @ np.linalg.solve(k(X, X) + noise * np.eye(N), Y)


def tiles(path, matrix, kind=SYMMETRIC):
    k = wn.scale.Tiles.create(path, matrix.shape, SIDE, matrix.dtype, kind)
    for tile in k.plan():
        k.write(tile, matrix[k.slices(tile)])
    return k


@pytest.mark.parametrize(
    ("kernel", "noise", "epochs"),
    [(laplace, 0.0, 400), (laplace, 0.3, 60), (gaussian, 0.1, 300), (NTK, 2.0, 80)],
)
def test_predictions_are_those_of_cholesky(kernel, noise, epochs):
    found = eigenpro(kernel, X, Y, noise=noise, epochs=epochs)
    np.testing.assert_allclose(found.predict(X_TEST), ridge(kernel, noise), atol=1e-3)
    assert found.weights.shape == Y.shape
    np.testing.assert_array_equal(found.centers, X)


def test_one_output_is_the_column_of_many():
    many, one = (eigenpro(laplace, X, y, epochs=3) for y in (Y, Y[:, 1]))
    assert one.weights.shape == (N,)
    np.testing.assert_allclose(one.predict(X_TEST), many.predict(X_TEST)[:, 1], atol=1e-12)


@pytest.mark.parametrize("q", [0, 5, 40])
def test_critical_batches_are_those_of_the_eigenvalues(q):
    found = eigenpro(laplace, X, Y, q=q, s=N, epochs=1)
    values, beta = np.linalg.eigvalsh(laplace(X, X) / N)[::-1], laplace(X, X).diagonal().max()
    assert found.spectrum.critical_batch_sgd == pytest.approx(beta / values[0])
    assert found.spectrum.critical_batch == pytest.approx(beta / values[q])
    assert found.batch == min(N, int(found.spectrum.critical_batch / 2))
    assert found.step == pytest.approx(1 / beta)
    large = eigenpro(laplace, X, Y, q=q, s=N, epochs=1, batch=N)
    assert large.step == pytest.approx(min(1 / beta, 2 / (beta + (N - 1) * values[q])))


def test_a_subsample_knows_the_larger_eigenvalues():
    """A quarter of the data, and the eigenvalues that are chosen are those it can know."""
    found = eigenpro(laplace, X, Y, s=N // 2, epochs=1)
    q, beta = found.spectrum.q, found.spectrum.beta
    assert (found.spectrum.values[:q] > 5 * beta / found.spectrum.s).all()
    assert found.spectrum.values[q] <= 5 * beta / found.spectrum.s
    whole = np.linalg.eigvalsh(laplace(X, X) / N)[::-1]
    np.testing.assert_allclose(found.spectrum.values[:q], whole[:q], rtol=0.35)


def test_large_batches_need_the_preconditioner():
    first, plain = (eigenpro(gaussian, X, Y, q=q, s=N, batch=80, epochs=10).history[-1].mse for q in (30, 0))
    assert first < plain / 3


def slices(self, rng, count, size):
    """Batches in a known order."""
    yield from np.array_split(np.arange(count), self.steps(count, size))


def correction(k, q, beta, batch):
    """The step, and P of EigenPro as a matrix from gradients at all samples to weights at them: every sample counts."""
    values, v = np.linalg.eigh(k / N)
    values, v = values[::-1], v[:, ::-1][:, :q]
    d = (1 - values[q] / values[:q]) / (N * values[:q])
    return min(1 / beta, 2 / (beta + (batch - 1) * values[q])), np.eye(N) - v @ np.diag(d) @ v.T @ k


def test_weights_are_the_formula(monkeypatch):
    monkeypatch.setattr(points.Computed, "batches", slices)
    q, batch, noise = 6, 30, 0.2
    found = eigenpro(laplace, X, Y, q=q, s=N, batch=batch, noise=noise, epochs=2)
    k = laplace(X, X) + noise * np.eye(N)
    step, p = correction(k, q, k.diagonal().max(), batch)
    w = np.zeros_like(Y)
    for rows in np.split(np.arange(N), N // batch) * 2:
        w -= step * p[:, rows] @ (k[rows] @ w - Y[rows])
    np.testing.assert_allclose(found.weights, w, atol=1e-10)


@pytest.mark.parametrize("delayed", [1, 3])
def test_projected_weights_are_the_formula(monkeypatch, delayed):
    """Eight batches an epoch, so that the last two of three wait for its end."""
    monkeypatch.setattr(points.Computed, "batches", slices)
    q, batch, z = 6, 30, RNG.normal(size=(40, 4))
    found = eigenpro(laplace, X, Y, centers=z, q=q, s=N, batch=batch, delayed=delayed, epochs=2)
    k, cross, own = laplace(X, X), laplace(z, X), laplace(z, z)
    step, p = correction(k, q, k.diagonal().max(), batch)
    w, waiting = np.zeros((40, 2)), np.zeros_like(Y)
    for at, rows in enumerate(np.split(np.arange(N), N // batch) * 2):
        g = cross[:, rows].T @ w + k[rows] @ waiting - Y[rows]
        waiting -= step / 2 * p[:, rows] @ g
        if (at % 8 + 1) % delayed == 0 or at % 8 == 7:
            w += np.linalg.solve(own, cross @ waiting)
            waiting[:] = 0
    np.testing.assert_allclose(found.weights, w, atol=1e-9)
    np.testing.assert_array_equal(found.centers, z)


def least_squares(kernel, z):
    k = kernel(X, z)
    return np.mean((k @ np.linalg.lstsq(k, Y, rcond=None)[0] - Y) ** 2)


@pytest.mark.parametrize("centers", [30, X[:30] + 0.1])
@pytest.mark.parametrize("how", [{}, {"delayed": 4}, {"projection_epochs": 3}], ids=lambda how: "".join(how) or "exact")
def test_few_centres_come_near_least_squares(centers, how):
    found = eigenpro(laplace, X, Y, centers=centers, epochs=60, **how)
    mse = np.mean((found.predict(X) - Y) ** 2)
    least = least_squares(laplace, found.centers)
    assert least <= mse < 1.15 * least
    assert least > 0.1 * np.mean(Y**2)  # there is something left to compare


def test_least_squares_is_exact_if_the_subsample_is_among_the_centres():
    """All data in one batch: no noise; the descent ends where h = 0, which outside of the centres is elsewhere."""
    inside = eigenpro(laplace, X, Y, centers=10, q=3, batch=N, epochs=300)
    outside = eigenpro(laplace, X, Y, centers=inside.centers, q=3, batch=N, epochs=300)
    errors = [np.mean((f.predict(X) - Y) ** 2) / least_squares(laplace, inside.centers) - 1 for f in (inside, outside)]
    assert abs(errors[0]) < 1e-6
    assert errors[1] > 1e-3


def test_blocks_of_any_memory_give_the_same_weights(monkeypatch):
    expected = [eigenpro(laplace, X, Y, epochs=2, **how).weights for how in ({"noise": 0.1}, {"centers": 50})]
    monkeypatch.setattr(points, "MEMORY", 8 * N * 7)
    for how, weights in zip(({"noise": 0.1}, {"centers": 50}), expected, strict=True):
        np.testing.assert_allclose(eigenpro(laplace, X, Y, epochs=2, **how).weights, weights, atol=1e-12)


def test_a_kernel_is_only_asked_for_blocks(monkeypatch):
    monkeypatch.setattr(points, "MEMORY", 8 * N * 20)
    asked = []

    def counted(x1, x2):
        asked.append(len(x1) * len(x2))
        return laplace(x1, x2)

    eigenpro(counted, X, Y, s=40, epochs=1)
    assert max(asked) <= max(N * 20, N * N // 4 * 4)
    assert max(size for size in asked if size != N * N) <= N * 20


@pytest.mark.parametrize("stored", [True, False])
def test_a_matrix_serves_as_well(tmp_path, stored):
    k, cross = laplace(X, X), laplace(X_TEST, X)
    if stored:
        k, cross = tiles(tmp_path / "k", k), tiles(tmp_path / "cross", cross, FULL)
    found = eigenpro(k, None, Y, noise=0.3, epochs=80, validation=(cross, ridge(laplace, 0.3)))
    np.testing.assert_allclose(found.predict(cross), ridge(laplace, 0.3), atol=1e-3)
    assert found.history[-1].validation < 1e-6
    few = eigenpro(k, None, Y, centers=30, epochs=60)
    fitted = laplace(X, X)[:, few.centers] @ few.weights
    np.testing.assert_allclose(few.predict(laplace(X, X)), fitted, atol=1e-12)
    assert np.mean((fitted - Y) ** 2) < 1.15 * least_squares(laplace, X[few.centers])
    rows = eigenpro(k, None, Y, centers=few.centers, epochs=1)
    np.testing.assert_array_equal(rows.centers, few.centers)


def test_batches_of_tiles_are_of_one_row_of_tiles(tmp_path):
    read = points.Read(tiles(tmp_path / "k", laplace(X, X)))
    batches = list(read.batches(np.random.default_rng(0), N, 20))
    assert len(batches) == read.steps(N, 20) == 14
    assert all(len({*(rows // SIDE)}) == 1 and len(rows) <= 20 for rows in batches)
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(N))


def test_single_precision_is_enough_for_three_digits():
    found = eigenpro(gaussian, X.astype(np.float32), Y, noise=0.3, epochs=120)
    assert found.weights.dtype == np.float64
    np.testing.assert_allclose(found.predict(X_TEST.astype(np.float32)), ridge(gaussian, 0.3), atol=1e-3)
    # K(Z, Z) is singular in float32
    few = [eigenpro(gaussian, X.astype(dtype), Y, centers=50, epochs=10) for dtype in (np.float32, np.float64)]
    errors = [np.mean((f.predict(X.astype(f.centers.dtype)) - Y) ** 2) for f in few]
    assert errors[0] == pytest.approx(errors[1], rel=0.01)


def test_the_history_is_measured():
    y_test = np.sin(X_TEST[:, 0])
    found = eigenpro(laplace, X, Y[:, 0], epochs=4, batch=N, validation=(X_TEST, y_test))
    assert [len(found.history), found.history[0].mse] == [4, pytest.approx(np.mean(Y[:, 0] ** 2))]
    assert all(a.mse > b.mse for a, b in zip(found.history, found.history[1:], strict=False))
    assert found.history[-1].validation == pytest.approx(np.mean((found.predict(X_TEST) - y_test) ** 2))
    before = eigenpro(laplace, X, Y[:, 0], epochs=3, batch=N)
    assert before.history[0].validation is None
    assert found.history[-1].mse == pytest.approx(np.mean((before.predict(X) - Y[:, 0]) ** 2))


def test_a_key_gives_the_same_numbers():
    one, again, other = (eigenpro(laplace, X, Y, centers=50, epochs=1, key=key).weights for key in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert abs(one - other).max() > 1e-3


def test_progress_is_told(monkeypatch, capsys):
    monkeypatch.setattr("widenet.progress.PATIENCE", 0.0)
    eigenpro(laplace, X, Y, epochs=2, batch=80)
    assert "EigenPro steps: 5/6" in capsys.readouterr().err


def test_what_diverges_says_so():
    with pytest.raises(ValueError, match=r"diverges in batches of 240: the subsample of 12 .*raise s, lower q"):
        eigenpro(gaussian, X, Y, s=12, q=11, batch=N, epochs=200)


def bad(x1, x2):
    return np.full((len(x1), len(x2)), np.nan)


MISTAKES = {
    "y has shape": {"y": Y[1:]},
    "y has NaN": {"y": np.where(np.arange(N)[:, None] == 3, np.nan, Y)},
    "x has NaN": {"x": np.where(np.arange(N)[:, None] == 3, np.inf, X)},
    "q must be from 0 to s - 1 = 9": {"s": 10, "q": 10},
    "s must be from 1 to 240": {"s": 241},
    "batch must be from 1 to 240": {"batch": 241},
    "batch must be from 1 to 240, .* got 0": {"batch": 0},
    "epochs must be from 1 on": {"epochs": 0},
    "delayed must be from 1 on": {"centers": 10, "delayed": 0},
    "projection_epochs must be from 1 on": {"centers": 10, "projection_epochs": 0},
    "centers must be from 1 to 240": {"centers": 241},
    "samples of one shape": {"centers": X[:5, :3]},
    "give centers, or leave delayed out": {"delayed": 2},
    "noise needs the data as centres": {"centers": 10, "noise": 0.1},
    "noise must be >= 0": {"noise": -1.0},
    "the kernel has NaN": {"kernel": bad},
    "must be one matrix of this shape: give wn.ntk": {"kernel": wn.kernel(wn.dense())},
    "only 5 eigenvalues": {"kernel": lambda x1, x2: x1 @ x2.T + 1, "q": 9},
    "no positive eigenvalue": {"kernel": lambda x1, x2: -gaussian(x1, x2) * 0},
    "a matrix is a kernel of samples already": {"kernel": gaussian(X, X)},
    "is a square matrix": {"kernel": gaussian(X, X)[1:], "x": None},
    "a number of rows, or their indices": {"kernel": gaussian(X, X), "x": None, "centers": [N]},
    "y has 2 outputs, that of the validation 1": {"validation": (X, Y[:, 0])},
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_answered_in_words(message):
    given = {"kernel": gaussian, "x": X, "y": Y, "epochs": 1, **MISTAKES[message]}
    kernel, x, y = (given.pop(name) for name in ("kernel", "x", "y"))
    with pytest.raises(ValueError, match=message):
        eigenpro(kernel, x, y, **given)


def test_other_mistakes(monkeypatch):
    with pytest.raises(TypeError, match="the kernel is a list: give a function"):
        eigenpro([[1.0]], None, [1.0])
    with pytest.raises(ValueError, match=r"by their kernel with these, \[m, 240\]"):
        eigenpro(gaussian(X, X), None, Y, epochs=1).predict(X_TEST)
    with pytest.raises(ValueError, match="x1 has 3 features, x2 has 4"):
        eigenpro(gaussian, X, Y, epochs=1).predict(X_TEST[:, :3])
    monkeypatch.setenv("WIDENET_MEMORY", "1KB")
    with pytest.raises(MemoryError, match="projection_epochs=2"):
        eigenpro(gaussian, X, Y, centers=30)
