"""A kernel by the indices of its samples: computed by a function when it is asked for, or read from a matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from widenet.checks import batch as samples
from widenet.checks import same_features
from widenet.scale.tiles import Tiles

Function = Callable[[Any, Any], Any]  # kernel(x1, x2), [n1, n2]
Solve = Callable[[np.ndarray], np.ndarray]  # h `[p, outputs]` to K(Z, Z)^-1 h
MEMORY = 2.0**28  # bytes of a block of rows
DIAGONAL = 256  # samples whose kernel with each other is computed for the sake of its diagonal


class Points(Protocol):
    """Samples of which kernels are known."""

    count: int
    together: int  # the most rows that a batch may have

    def block(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The kernel of some samples with others."""

    def diagonal(self) -> np.ndarray:
        """The kernel of each sample with itself, `[count]`."""

    def batches(self, rng: np.random.Generator, count: int, size: int) -> Iterator[np.ndarray]:
        """The first `count` samples in random order, at most `size` at a time."""

    def steps(self, count: int, size: int) -> int:
        """How many batches that are."""


class Data(Points, Protocol):
    """Samples to train on."""

    def cross(self, new: Any, columns: np.ndarray) -> Iterator[np.ndarray]:
        """The kernel of new samples with some of these, some rows after the other."""

    def with_centers(self, centers: Any) -> tuple[Data, np.ndarray]:
        """These samples and those of `centers`, and where the centres are among them."""

    def at(self, columns: np.ndarray) -> np.ndarray:
        """Samples by their indices, for the user."""


class Computed:
    """The kernel of samples by a function."""

    def __init__(self, function: Function, x: Any):
        self.function, self.x = function, np.asarray(samples(x, "x"))
        self.count = self.together = len(self.x)
        self.held: tuple[Any, np.ndarray] = (None, self.x[:0])

    def block(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The kernel of some samples with others.  Raises: ValueError if the function gives something else."""
        if self.held[0] is not columns:
            self.held = (columns, self.x[columns])  # every step asks for the same ones
        return self._call(self.x[rows], self.held[1])

    def _call(self, x1: np.ndarray, x2: np.ndarray) -> np.ndarray:
        found, shape = self.function(x1, x2), (len(x1), len(x2))
        if isinstance(found, tuple) or np.shape(found) != shape:
            raise ValueError(
                f"the kernel of {shape[0]} with {shape[1]} samples must be one matrix of this shape: give wn.ntk(net), "
                "wn.nngp(net) or another function of (x1, x2)."
            )
        return all_finite(np.asarray(found))

    def diagonal(self) -> np.ndarray:
        """The kernel of each sample with itself, `[count]`."""
        parts = [self.x[i : i + DIAGONAL] for i in range(0, self.count, DIAGONAL)]
        return np.concatenate([np.diag(self._call(part, part)) for part in parts])

    def batches(self, rng: np.random.Generator, count: int, size: int) -> Iterator[np.ndarray]:
        """The first `count` samples in random order, at most `size` at a time."""
        yield from np.array_split(rng.permutation(count), self.steps(count, size))

    def steps(self, count: int, size: int) -> int:
        """How many batches that are."""
        return -(-count // size)

    def cross(self, new: Any, columns: np.ndarray) -> Iterator[np.ndarray]:
        """The kernel of new samples with some of these, some rows after the other."""
        new, x2 = np.asarray(samples(new, "x_new")), self.x[columns]
        same_features(new, x2)
        for part in parts(len(new), len(columns)):
            yield self._call(new[part], x2)

    def with_centers(self, centers: Any) -> tuple[Data, np.ndarray]:
        """These samples and those of `centers`, and where the centres are among them."""
        z = np.asarray(samples(centers, "centers"), self.x.dtype)
        same_features(self.x, z)
        return Computed(self.function, np.concatenate([self.x, z])), self.count + np.arange(len(z))

    def at(self, columns: np.ndarray) -> np.ndarray:
        """Samples by their indices."""
        return self.x[columns]


class Read:
    """The kernel of samples as a symmetric matrix, in memory or in tiles; one row of tiles is kept in memory."""

    def __init__(self, k: Any):
        if len(k.shape) != 2 or k.shape[0] != k.shape[1]:
            raise ValueError(f"a kernel of samples with themselves is a square matrix; got shape {tuple(k.shape)}.")
        self.k, self.count = k, len(k)
        self.together = k.side if isinstance(k, Tiles) else len(k)
        self.held: tuple[int, np.ndarray] = (-1, np.zeros((0, 0)))

    def block(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The kernel of some samples with others."""
        out = np.empty((len(rows), len(columns)), self.k.dtype)
        for at in np.unique(rows // self.together):
            inside = rows // self.together == at
            out[inside] = self._panel(at)[np.ix_(rows[inside] - at * self.together, columns)]
        return out

    def _panel(self, at: int) -> np.ndarray:
        """A row of tiles, the last one being remembered."""
        if self.held[0] != at:
            self.held = (at, all_finite(self.k[at * self.together : (at + 1) * self.together, :]))
        return self.held[1]

    def diagonal(self) -> np.ndarray:
        """The kernel of each sample with itself, `[count]`."""
        return all_finite(self.k.diagonal())

    def batches(self, rng: np.random.Generator, count: int, size: int) -> Iterator[np.ndarray]:
        """The first `count` samples in random order, at most `size` at a time, those of one row of tiles together."""
        for at in rng.permutation(-(-count // self.together)):
            rows = np.arange(at * self.together, min((at + 1) * self.together, count))
            yield from np.array_split(rng.permutation(rows), -(-len(rows) // size))

    def steps(self, count: int, size: int) -> int:
        """How many batches that are."""
        full, rest = divmod(count, self.together)
        return full * -(-self.together // size) + -(-rest // size)

    def cross(self, new: Any, columns: np.ndarray) -> Iterator[np.ndarray]:
        """The kernel of new samples with some of these, some rows after the other."""
        if len(new.shape) != 2 or new.shape[1] != self.count:
            raise ValueError(
                f"after a matrix of {self.count} samples, new ones are given by their kernel with these, "
                f"[m, {self.count}]; got shape {tuple(new.shape)}."
            )
        for part in parts(new.shape[0], self.count):
            yield all_finite(new[part, :])[:, columns]

    def with_centers(self, centers: Any) -> tuple[Data, np.ndarray]:
        """These samples, and the rows that `centers` names."""
        z = np.asarray(centers)
        if z.dtype.kind not in "iu" or z.ndim != 1 or not np.isin(z, np.arange(self.count)).all():
            raise ValueError(f"centres of a matrix are a number of rows, or their indices from 0 to {self.count - 1}.")
        return self, np.unique(z)

    def at(self, columns: np.ndarray) -> np.ndarray:
        """The indices themselves."""
        return columns


class Chosen:
    """Some of other samples."""

    def __init__(self, points: Points, chosen: np.ndarray):
        self.points, self.chosen = points, chosen
        self.count = self.together = len(chosen)

    def block(self, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """The kernel of some samples with others."""
        return self.points.block(self.chosen[rows], self.chosen[columns])

    def diagonal(self) -> np.ndarray:
        """The kernel of each sample with itself, `[count]`."""
        return self.points.diagonal()[self.chosen]

    batches, steps = Computed.batches, Computed.steps


def parts(rows: int, columns: int) -> list[slice]:
    """The places of so many rows at a time that their kernel with `columns` samples has MEMORY."""
    size = max(1, int(MEMORY / (8 * columns)))
    return [slice(i, min(i + size, rows)) for i in range(0, rows, size)]


def times(k: np.ndarray, v: np.ndarray) -> np.ndarray:
    """k v in the precision of k: a kernel is not copied for the sake of the weights."""
    return np.asarray(k @ v.astype(k.dtype, copy=False), np.float64)


def all_finite(k: np.ndarray) -> np.ndarray:
    """`k`.  Raises: ValueError if it has NaN or infinity."""
    if not np.isfinite(k).all():
        raise ValueError("the kernel has NaN or infinite values: look at the data, and at kernel(x[:2], x[:2]).")
    return k
