"""A batch whose samples differ in more than their features: in length, or in the graph that they live on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from widenet import checks


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Samples:
    """Data with a mask of their positions, or with a matrix that mixes these; see `samples`."""

    x: Any  # [n, *positions, d]
    mask: Any = None  # [n, *positions], true where there is something
    graph: Any = None  # [n, P, P]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the features."""
        return tuple(self.x.shape)

    @property
    def dtype(self) -> Any:
        """The precision of the features."""
        return self.x.dtype

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Any) -> Samples:
        return jax.tree.map(lambda part: part[rows], self)


def samples(x: Any, *, mask: Any = None, graph: Any = None) -> Samples:
    """Samples of different lengths or on different graphs, as one batch for `kernel`, `apply` and the rest.

    x: `[n, *positions, d]`, filled up with anything.  mask: `[n, *positions]`, true for the positions that exist, read
    by `masked`, `masked_mean` and attention with `masked=True`.  graph: `[n, P, P]`, one operator for each sample
    (such as its normalized adjacency), read by `aggregate`.
    Raises: ValueError for shapes that do not fit, a mask that is not boolean, or a sample that is masked entirely.

    >>> import numpy as np, widenet as wn
    >>> x = wn.samples(np.ones((2, 3, 4)), mask=[[True, True, True], [True, False, False]])
    >>> wn.nngp(wn.serial(wn.masked(), wn.position_sum(), wn.dense()))(x)
    array([[9., 3.],
           [3., 1.]])
    """
    x = x if isinstance(x, jax.Array) else np.asarray(x)
    if mask is not None:
        mask = _mask(mask, x)
        x = x * mask[..., None].astype(x.dtype)  # what is not there shall not be read, not even a NaN times zero
    if graph is not None:
        graph = _graph(graph, x)
    return Samples(x, mask, graph)


def _mask(mask: Any, x: Any) -> Any:
    mask = mask if isinstance(mask, jax.Array) else np.asarray(mask)
    if mask.shape != x.shape[:-1]:
        raise ValueError(
            f"samples: the mask must be {x.shape[:-1]}, one entry a position of x {x.shape}; got {mask.shape}."
        )
    if mask.dtype != bool:
        raise ValueError(f"samples: the mask must be boolean (true: exists); got {mask.dtype}: write mask=mask > 0.")
    if isinstance(mask, np.ndarray) and not mask.reshape(len(mask), -1).any(1).all():
        raise ValueError("samples: a sample has no position left by its mask; drop it.")
    return mask


def _graph(graph: Any, x: Any) -> Any:
    graph = graph if isinstance(graph, jax.Array) else np.asarray(graph, float)
    size = int(np.prod(x.shape[1:-1]))
    if graph.shape != (x.shape[0], size, size):
        raise ValueError(
            f"samples: graph must be {(x.shape[0], size, size)}, one operator a sample over the {size} positions of x "
            f"{x.shape}; got {graph.shape}.  For one operator of all samples write aggregate(h, operator)."
        )
    return graph.astype(x.dtype) if np.issubdtype(x.dtype, np.floating) else graph


def features_of(x: Any) -> Any:
    """The array of features, of an array or of samples."""
    return x.x if isinstance(x, Samples) else x


def checked(x: Any, name: str) -> Any:
    """`checks.batch` of an array, or of the features of samples."""
    return Samples(checks.batch(x.x, name), x.mask, x.graph) if isinstance(x, Samples) else checks.batch(x, name)


def is_traced(x: Any) -> bool:
    """Is an array or any part of samples traced?"""
    return any(map(checks.is_traced, jax.tree.leaves(x)))
