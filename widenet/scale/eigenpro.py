"""Kernel regression without the kernel matrix: EigenPro with as many centres as samples, or as one likes (L4-L6)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from widenet.memory import VARIABLE, budget, in_words
from widenet.predict.arrays import positive, targets
from widenet.predict.cholesky import factor
from widenet.scale.descent import Descent, Preconditioner, Projected, descend
from widenet.scale.points import Chosen, Computed, Data, Function, Points, Read, Solve, times
from widenet.scale.spectrum import Spectrum, spectrum
from widenet.scale.tiles import Tiles

SMALL, LARGE = 2000, 12000  # samples of the subsample, of fewer than MANY data and of more: as in the authors' code
MANY = 100_000
PROJECTED = 0.5  # of the step, where what it adds is projected: as in the authors' code


class Epoch(NamedTuple):
    """Mean squared errors of one pass over the data."""

    mse: float  # of the batches, each before its step
    validation: float | None  # at the end; None if no validation data were given


@dataclass(frozen=True, eq=False)
class EigenPro:
    """A function f(x) = sum_i weights_i K(x, centers_i), and how it was found."""

    weights: np.ndarray  # [p] or [p, outputs], as y
    centers: np.ndarray  # [p, ...]; after a matrix, its rows [p]
    history: tuple[Epoch, ...]
    spectrum: Spectrum  # .q, .s, .critical_batch_sgd, .critical_batch
    batch: int
    step: float  # for gradients summed over a batch
    cross: Callable[[Any], Any]  # the kernel of new samples with the centres, some rows after the other

    def predict(self, x_new: Any) -> np.ndarray:
        """f of samples `[m, ...]`; after a matrix, of their kernel with the data `[m, n]`.  `[m]` or `[m, outputs]`."""
        return np.concatenate([times(block, self.weights) for block in self.cross(x_new)])


def eigenpro(
    kernel: Function | Tiles | np.ndarray,
    x: Any,
    y: Any,
    *,
    centers: Any = None,
    noise: float = 0.0,
    epochs: int = 5,
    q: int | None = None,
    s: int | None = None,
    batch: int | None = None,
    delayed: int | None = 1,
    projection_epochs: int | None = None,
    validation: tuple[Any, Any] | None = None,
    key: int = 0,
) -> EigenPro:
    """Kernel regression by stochastic descent in which the q largest eigenvalues of the kernel are flattened.

    f -= step P sum_b (f(x_b) - y_b) K(., x_b),   P = 1 - sum_(i <= q) (1 - lambda_(q+1) / lambda_i) e_i e_i^T   (L4)

    kernel: a function of (x1, x2), such as wn.ntk(net); or a matrix `[n, n]` in memory or in tiles, with x=None.
    Shapes: x `[n, ...]`, y `[n]` or `[n, outputs]`.  Memory: blocks of rows, and 8 s^2 bytes.
    centers: None, the data: f tends to K(., X) (K + noise)^-1 y (EigenPro 2).  A number of random data, samples
    `[p, ...]`, or rows of a matrix: f comes near least squares in their span, without noise (EigenPro 3).
    q, s: eigenvalues that are flattened, and random samples that know them; q=None takes as many as s samples know.
    batch: half of the critical one if nobody says: stable where the samples underestimate lambda_(q+1) by half (L5).
    delayed: batches between projections on the centres; 1 is EigenPro 3, more EigenPro 4, None until p samples (L6).
    projection_epochs: None projects exactly, with 24 p^2 bytes; a number, by so many epochs of EigenPro 2 on the
    centres, which takes 2 at least (after one, steps that have waited may be amplified).
    validation: (x, y), measured after each epoch; after a matrix (kernel with the data, y).
    Accuracy: weights are float64, products have the precision of the kernel.
    Raises: ValueError for what does not fit, or if the descent diverges; MemoryError if K(Z, Z) does not fit.
    Source: ma2019 (EigenPro 2), abedsoltan2023 (3), abedsoltan2024 (4).
    """
    data = _data(kernel, x)
    columns, noise = targets(y, data.count), positive(noise, "noise")
    given = None if batch is None else _whole(batch, "batch", data.together, "the samples that may be in one")
    epochs, delayed = _whole(epochs, "epochs"), None if delayed is None else _whole(delayed, "delayed")
    rng = np.random.default_rng(key)
    points, z = _centers(data, centers, rng)
    if centers is None and delayed != 1:
        raise ValueError("projections are on centres: give centers, or leave delayed out.")
    if centers is not None and noise:
        raise ValueError("noise needs the data as centres: leave centers out, or leave the smoothing to few centres.")
    checked = None if validation is None else (validation[0], _same_outputs(validation[1], columns))
    sample = _sample(data.count, z, s, rng)
    gram = points.block(sample, sample).astype(np.float64) + noise * np.eye(len(sample))
    top = spectrum(gram, float(data.diagonal().max()) + noise, q)
    size = given or int(np.clip(top.critical_batch / 2, 1, data.together))
    by = Preconditioner(top, sample, top.step(size) * (1.0 if centers is None else PROJECTED))
    descent = Descent(points, columns, by, noise)
    if centers is not None:
        solve = _projection(points, z, projection_epochs, rng)
        descent = Projected(points, columns, by, z, solve, delayed or max(1, len(z) // size))
    shape = (len(z), *np.shape(y)[1:])
    history: list[Epoch] = []

    def found() -> EigenPro:
        weights = descent.centred().reshape(shape)
        return EigenPro(weights, points.at(z), tuple(history), top, size, by.step, lambda new: points.cross(new, z))

    for mse in descend(descent, epochs, size, rng, "EigenPro steps"):
        error = None
        if checked is not None:
            predicted = found().predict(checked[0]).reshape(-1, columns.shape[1])
            error = float(np.mean((predicted - checked[1]) ** 2))
        history.append(Epoch(mse, error))
    return found()


def _data(kernel: Any, x: Any) -> Data:
    if callable(kernel):
        return Computed(kernel, x)
    if not hasattr(kernel, "shape"):
        raise TypeError(
            f"the kernel is a {type(kernel).__name__}: give a function of (x1, x2), store.ntk, or an array."
        )
    if x is not None:
        raise ValueError("a matrix is a kernel of samples already: give x=None, or a function of (x1, x2).")
    return Read(kernel)


def _whole(value: int, name: str, most: int | None = None, of: str = "") -> int:
    """`value`, if it is a whole number from 1 to `most`."""
    if not (value == int(value) and 1 <= value <= (most or value)):
        raise ValueError(f"{name} must be from 1 {f'to {most}, {of}' if most else 'on'}; got {value}.")
    return int(value)


def _same_outputs(y: Any, columns: np.ndarray) -> np.ndarray:
    found = targets(y, len(y))
    if found.shape[1] != columns.shape[1]:
        raise ValueError(f"y has {columns.shape[1]} outputs, that of the validation {found.shape[1]}.")
    return found


def _centers(data: Data, centers: Any, rng: np.random.Generator) -> tuple[Data, np.ndarray]:
    """All samples that matter, and which of them are the centres."""
    if centers is None:
        return data, np.arange(data.count)
    if np.ndim(centers) == 0:
        p = _whole(centers, "centers", data.count, "the data")
        return data, np.sort(rng.choice(data.count, p, replace=False))
    return data.with_centers(centers)


def _sample(n: int, z: np.ndarray, s: int | None, rng: np.random.Generator) -> np.ndarray:
    """Random data for the preconditioner: among centres that are data and enough, so that P keeps their span (L6)."""
    wanted = None if s is None else _whole(s, "s", n, "the data")
    within = z if z.max() < n and len(z) >= (wanted or 1) else np.arange(n)
    usual = min(SMALL if n < MANY else LARGE, len(within))
    return np.sort(rng.choice(within, wanted or usual, replace=False))


def _projection(points: Points, z: np.ndarray, epochs: int | None, rng: np.random.Generator) -> Solve:
    """h to K(Z, Z)^-1 h: exact but for rounding of the kernel, or by `epochs` of EigenPro 2."""
    if epochs is not None:
        return _descending(Chosen(points, z), _whole(epochs, "projection_epochs"), rng)
    needed = 3 * 8.0 * len(z) ** 2
    if needed > budget():
        raise MemoryError(
            f"projecting on {len(z)} centres takes {in_words(needed)}, and {in_words(budget())} may be used: give "
            f"projection_epochs=2, or allow more with {VARIABLE}."
        )
    gram = points.block(z, z)
    rounding = len(z) * np.finfo(gram.dtype).eps * float(np.diag(gram).mean())
    return factor(gram.astype(np.float64), rounding).solve


def _descending(points: Chosen, epochs: int, rng: np.random.Generator) -> Solve:
    sample = np.sort(rng.choice(points.count, min(SMALL, points.count), replace=False))
    gram = points.block(sample, sample).astype(np.float64)
    top = spectrum(gram, float(points.diagonal().max()), None)
    size = int(np.clip(top.critical_batch / 2, 1, points.count))
    by = Preconditioner(top, sample, top.step(size))

    def solve(h: np.ndarray) -> np.ndarray:
        descent = Descent(points, h, by)
        for _ in descend(descent, epochs, size, rng, "projection steps"):
            pass
        return descent.weights

    return solve
