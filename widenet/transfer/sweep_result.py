"""Losses over learning rates and sizes: optima, their drift, what is lost by taking the smallest model's. (V8)"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from widenet.transfer.slopes import Slope, half_width, slopes

NEAR = 2  # rates on either side of the lowest loss that a parabola is fitted to


@dataclass(frozen=True)
class Sweep:
    """What `lr_sweep` found.

    loss: `[sizes, rates, seeds]`, infinite where training diverged.  start: `[sizes, seeds]`, before training.
    """

    axis: str
    sizes: tuple[int, ...]
    learning_rates: np.ndarray
    loss: np.ndarray
    start: np.ndarray

    @property
    def optimum(self) -> np.ndarray:
        """The best learning rate of every size `[sizes]`, of the mean log loss over seeds."""
        return 2 ** self._optima(self._seeds)

    @property
    def optimum_error(self) -> np.ndarray:
        """Standard error of log2 of the best learning rate `[sizes]`, by the jackknife; NaN for one seed."""
        return self._jackknife(self._optima).std(axis=0, ddof=1) / np.sqrt(max(1, len(self._seeds)))

    @property
    def at_edge(self) -> np.ndarray:
        """Is the lowest loss at the first or the last learning rate `[sizes]`?  Then the optimum is a bound."""
        best = np.argmin(self._mean(self._seeds), axis=1)
        return (best == 0) | (best == len(self.learning_rates) - 1)

    @property
    def drift(self) -> Slope:
        """Octaves that the best learning rate moves by when the size doubles; its interval is the jackknife's."""
        value = float(self._drift(self._seeds))
        half = half_width(self._jackknife(self._drift))
        return Slope(value, value - half, value + half)

    @property
    def transfer_score(self) -> float:
        """The share of the largest model's decrease of log loss that the smallest model's learning rate keeps. (V8)

        Raises: ValueError for losses that are not positive, which have no logarithm.
        """
        if not (self.loss > 0).all() or not (self.start > 0).all():
            raise ValueError("the transfer score compares logarithms of losses, but some are not positive.")
        logs = np.log(self.loss[-1]).mean(axis=1)
        start = np.log(self.start[-1]).mean()
        smallest, largest = (self._at_rate(logs, at) for at in np.log2(self.optimum)[[0, -1]])
        if not np.isfinite(smallest):
            return -np.inf
        return float((start - smallest) / (start - largest))

    def __str__(self) -> str:
        """A table of optima, and what follows."""
        head = (self.axis, "best rate", "log2", "loss there")
        rows = [head]
        for size, rate, error, loss, edge in zip(
            self.sizes, self.optimum, self.optimum_error, self.loss.mean(2).min(1), self.at_edge, strict=True
        ):
            rows.append((str(size), f"{rate:.3g}", f"{np.log2(rate):+.2f} ±{error:.2f}", f"{loss:.4g}"))
            if edge:
                rows[-1] = (*rows[-1][:-1], f"{loss:.4g}  at an end of the rates: a bound")
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines.append(f"\ndrift: {self.drift} octaves per doubling of {self.axis}")
        return "\n".join([*lines, f"transfer score: {self.transfer_score:.3f}"])

    def save(self, path: str | Path) -> Path:
        """Write losses and optima to `path`: .csv, one row a run, or .json.

        Raises: ValueError for another ending.
        """
        path = Path(path)
        if path.suffix.lower() == ".csv":
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow((self.axis, "learning_rate", "seed", "loss"))
                writer.writerows(
                    (size, rate, seed, self.loss[i, j, seed])
                    for i, size in enumerate(self.sizes)
                    for j, rate in enumerate(self.learning_rates)
                    for seed in self._seeds
                )
        elif path.suffix.lower() == ".json":
            path.write_text(json.dumps(self.to_dict(), indent=1) + "\n", "utf-8")
        else:
            raise ValueError(f"{path}: results are saved as .csv or .json.")
        return path

    def to_dict(self) -> dict[str, object]:
        """Numbers and lists of them; null for what is infinite."""
        return {
            "axis": self.axis,
            "sizes": list(self.sizes),
            "learning_rates": self.learning_rates.tolist(),
            "loss": _listed(self.loss),
            "start": _listed(self.start),
            "optimum": self.optimum.tolist(),
            "optimum_error_log2": _listed(self.optimum_error),
            "drift": _listed(np.array(self.drift)),
            "transfer_score": _listed(np.array(self.transfer_score)),
        }

    def plot(self, path: str | Path) -> Path:
        """Write the picture to `path` (.png, .pdf or .svg)."""
        from widenet.transfer.draw import draw_sweep, picture_path

        path = picture_path(path)
        draw_sweep(self).savefig(path, dpi=130)
        return path

    @property
    def _logs(self) -> np.ndarray:
        return np.log2(self.learning_rates)

    @property
    def _seeds(self) -> range:
        return range(self.loss.shape[2])

    def _mean(self, seeds: Sequence[int]) -> np.ndarray:
        """The geometric mean of losses over seeds, the arithmetic one if some are not positive."""
        loss = self.loss[:, :, list(seeds)]
        return np.exp(np.log(loss).mean(axis=2)) if (loss > 0).all() else loss.mean(axis=2)

    def _optima(self, seeds: Sequence[int]) -> np.ndarray:
        """log2 of the best rates `[sizes]`."""
        return np.array([_vertex(np.log2(self.learning_rates), curve) for curve in self._mean(seeds)])

    def _drift(self, seeds: Sequence[int]) -> np.ndarray:
        return slopes(np.log2(self.sizes), self._optima(seeds))

    def _jackknife(self, quantity: Callable[[Sequence[int]], np.ndarray]) -> np.ndarray:
        """Pseudo-values `[seeds, ...]`, whose spread is that of independent samples of the quantity."""
        n = len(self._seeds)
        if n < 2:
            return np.full((2, *np.shape(quantity(self._seeds))), np.nan)
        without = [quantity([s for s in self._seeds if s != out]) for out in self._seeds]
        return n * quantity(self._seeds) - (n - 1) * np.array(without)

    def _at_rate(self, logs: np.ndarray, at: float) -> float:
        """Log loss between the rates; infinite beside one that diverged."""
        i = int(np.clip(np.searchsorted(self._logs, at) - 1, 0, len(logs) - 2))
        share = (at - self._logs[i]) / (self._logs[i + 1] - self._logs[i])
        if share in (0, 1):
            return float(logs[i + int(share)])
        return float((1 - share) * logs[i] + share * logs[i + 1])


def _vertex(at: np.ndarray, loss: np.ndarray) -> float:
    """Of the parabola of least squares around the lowest point, within a step of it but not where training diverged."""
    i = int(np.argmin(loss))
    near = slice(max(0, i - NEAR), i + NEAR + 1)
    kept = np.isfinite(loss[near]) & (loss[near] > 0)
    if i in (0, len(loss) - 1) or not kept.sum() >= 3:
        return float(at[i])
    a, b, _ = np.polyfit((at[near] - at[i])[kept], np.log(loss[near][kept]), 2)
    left, right = (at[j] - at[i] if np.isfinite(loss[j]) else 0.0 for j in (i - 1, i + 1))
    return float(at[i] + np.clip(-b / (2 * a), left, right)) if a > 0 else float(at[i])


def _listed(values: np.ndarray) -> object:
    """As lists with None for what json cannot hold."""
    nothing: Any = None
    return np.where(np.isfinite(values), values, nothing).tolist()
