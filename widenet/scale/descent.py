"""Preconditioned stochastic descent of a kernel regression, a batch at a time (L4), (L6)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from widenet.progress import progress
from widenet.scale.points import Points, Solve, parts, times
from widenet.scale.spectrum import Spectrum

DIVERGED = 100.0  # mean squared error, in units of that of the zero function, at which a run is given up


class Preconditioner(NamedTuple):
    """The spectrum of a subsample, the samples that it is of, and the step that it allows."""

    top: Spectrum
    sample: np.ndarray  # [s], indices
    step: float  # for gradients summed over a batch


class Descent:
    """The data are the centres: a step changes the weights of the batch and of the subsample (EigenPro 2).

    g = f(X_b) + noise w_b - y_b,   w_b -= step g,   w_s += step V D V^T (K(X_s, X_b) + noise 1_(s = b)) g        (L4)
    """

    def __init__(self, points: Points, y: np.ndarray, by: Preconditioner, noise: float = 0.0):
        self.points, self.y, self.by, self.noise = points, y, by, noise
        self.columns = np.arange(len(y))
        self.sample = by.sample  # its places among the columns
        self.weights = np.zeros_like(y)
        self.waiting: list[tuple[np.ndarray, np.ndarray]] = []  # batches, and what they change, not yet in the weights

    def centred(self) -> np.ndarray:
        """The weights of the centres, `[p, outputs]`."""
        return self.weights.copy()

    def take(self, rows: np.ndarray) -> float:
        """A step on the samples `rows`: the sum of the squared errors before it."""
        total, gradient = 0.0, np.zeros((len(rows), self.y.shape[1]))
        at_sample = np.zeros((self.by.top.s, self.y.shape[1]))
        for place in parts(len(rows), len(self.columns)):
            part = rows[place]
            block = self.points.block(part, self.columns)
            error = times(block, self.weights) + self.pending(part) - self.y[part]
            total += float(np.sum(error**2))
            gradient[place] = error + self.noise * self.weights[part] if self.noise else error
            at_sample += times(block[:, self.sample].T, gradient[place])
            self.see(block, gradient[place])
        if self.noise:
            spread = np.zeros_like(self.y)
            spread[rows] = gradient
            at_sample += self.noise * spread[self.sample]
        self.correct(self.by.step * self.by.top.coefficients(at_sample))
        self.leave(rows, -self.by.step * gradient)
        return total

    def pending(self, rows: np.ndarray) -> Any:
        """What f has at `rows` from batches that wait."""
        return sum((times(self.points.block(rows, of), change) for of, change in self.waiting), start=0.0)

    def see(self, block: np.ndarray, gradient: np.ndarray) -> None:
        """Take from a block of rows what is needed later."""

    def correct(self, coefficients: np.ndarray) -> None:
        """Add the subsample's part of the step to f."""
        self.weights[self.sample] += self.by.top.vectors @ coefficients

    def leave(self, rows: np.ndarray, change: np.ndarray) -> None:
        """Add the batch's part of the step to f."""
        self.weights[rows] += change

    def settle(self) -> None:
        """Let nothing wait: the end of an epoch."""


class Projected(Descent):
    """Any centres Z: what steps add to f is projected on their span after `delayed` of them (EigenPro 3, and 4).

    w += K(Z, Z)^-1 h,   h = step sum (K(Z, X_s) V D V^T K(X_s, X_b) - K(Z, X_b)) g                              (L6)
    """

    def __init__(self, points: Points, y: np.ndarray, by: Preconditioner, z: np.ndarray, solve: Solve, delayed: int):
        super().__init__(points, y, by)
        outside = ~np.isin(by.sample, z)
        self.columns = np.concatenate([z, by.sample[outside]])
        order = np.argsort(self.columns)
        self.sample = order[np.searchsorted(self.columns, by.sample, sorter=order)]
        self.weights = np.zeros((len(self.columns), y.shape[1]))
        self.p, self.solve, self.delayed = len(z), solve, delayed
        self.lift = np.zeros((len(z), by.top.q))  # K(Z, X_s) V, of those that are no centres
        for place in parts(len(z), int(outside.sum())) if outside.any() else []:
            self.lift[place] = times(points.block(z[place], by.sample[outside]), by.top.vectors[outside])
        self._forget()

    def _forget(self) -> None:
        self.waiting = []
        self.h = np.zeros((self.p, self.y.shape[1]))
        self.coefficients = np.zeros((self.by.top.q, self.y.shape[1]))

    def centred(self) -> np.ndarray:
        """The weights of the centres, `[p, outputs]`."""
        return self.weights[: self.p].copy()

    def see(self, block: np.ndarray, gradient: np.ndarray) -> None:
        """Collect h from a block of rows."""
        self.h -= self.by.step * times(block[:, : self.p].T, gradient)

    def correct(self, coefficients: np.ndarray) -> None:
        """Add the subsample's part of the step to f, and to h where it is not among the centres."""
        super().correct(coefficients)
        self.coefficients += coefficients

    def leave(self, rows: np.ndarray, change: np.ndarray) -> None:
        """Let the batch wait, or project."""
        self.waiting.append((rows, change))
        if len(self.waiting) == self.delayed:
            self.settle()

    def settle(self) -> None:
        """Project what waits."""
        if self.waiting:
            self.weights[: self.p] += self.solve(self.h + self.lift @ self.coefficients)
            self.weights[self.p :] = 0.0
            self._forget()


def descend(descent: Descent, epochs: int, batch: int, rng: np.random.Generator, what: str) -> Iterator[float]:
    """Epochs of steps; the mean squared error of each, its batches being measured before their steps.

    Raises: ValueError if the error of an epoch is far above that of the zero function.
    """
    n, outputs = descent.y.shape
    most = DIVERGED * float(np.sum(descent.y**2))
    steps = (rows for _ in range(epochs) for rows in descent.points.batches(rng, n, batch))
    seen, total = 0, 0.0
    for rows in progress(steps, what, epochs * descent.points.steps(n, batch)):
        seen, total = seen + len(rows), total + descent.take(rows)
        if not total <= most:
            raise ValueError(
                f"the descent diverges in batches of {batch}: the subsample of {descent.by.top.s} does not know the "
                f"{descent.by.top.q} largest eigenvalues well enough; raise s, lower q, take smaller "
                "batches, or project more exactly."
            )
        if seen == n:
            descent.settle()
            yield total / (n * outputs)
            seen, total = 0, 0.0
