"""Mean and standard error, some samples at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Moments:
    """The count, the mean and the sum of squared deviations from the mean of the samples so far."""

    count: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> Moments:
        """Of no samples."""
        return cls(0, np.zeros(shape), np.zeros(shape))

    def add(self, values: np.ndarray) -> Moments:
        """With more samples `[m, ...]`: the recursion (F7), which subtracts no large numbers."""
        m, count = len(values), self.count + len(values)
        mean = values.mean(axis=0)
        step = mean - self.mean
        squares = self.squares + ((values - mean) ** 2).sum(axis=0) + step**2 * (self.count * m / count)
        return Moments(count, self.mean + step * (m / count), squares)

    @property
    def error(self) -> np.ndarray:
        """The standard error of the mean (F6); of one sample it is unknown, NaN."""
        if self.count < 2:
            return np.full_like(self.mean, np.nan)
        return np.sqrt(self.squares / (self.count - 1) / self.count)

    @property
    def relative_error(self) -> float:
        """The Frobenius norm of the standard error over that of the mean (F8)."""
        scale = float(np.linalg.norm(self.mean))
        return float(np.linalg.norm(self.error)) / scale if scale else np.inf
