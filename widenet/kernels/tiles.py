"""Running a kernel over many samples: in square tiles of one shape, the upper triangle only if x2 is x1."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from widenet.program.samples import Samples
from widenet.progress import progress

# Numbers in one tile of one covariance: 4 MB in float64, small enough for a cache, large enough to hide a call.
TILE_NUMBERS = 2**19

Mirror = Callable[[np.ndarray], np.ndarray]


def in_tiles(compute: Callable[..., tuple[Any, ...]], x1: Any, x2: Any, side: int, mirror: Mirror) -> tuple[Any, ...]:
    """`compute(a, b)` of all blocks of rows, assembled; a tile has `side` x `side` samples.

    Gives arrays of the kind of x1 (numpy or jax); `compute(a, None)` serves the diagonal blocks if x2 is None, and
    `mirror` makes block (j, i) of block (i, j).
    """
    n1, n2 = x1.shape[0], (x1 if x2 is None else x2).shape[0]
    features = x1.x if isinstance(x1, Samples) else x1
    as_kind = np.array if isinstance(features, np.ndarray) else jnp.asarray
    if max(n1, n2) <= side:
        whole = compute(_on_device(x1), None if x2 is None else _on_device(x2))
        return tuple(None if part is None else as_kind(part) for part in whole)
    out: list[np.ndarray | None] = []
    pairs = list(blocks(n1, n2, side, x2 is None))
    for rows, columns in progress(pairs, "kernel tiles"):
        a = _padded(x1, rows, side)
        b = None if x2 is None and rows == columns else _padded(x1 if x2 is None else x2, columns, side)
        made = compute(a, b)
        out = out or [None if block is None else np.empty((n1, n2, *block.shape[2:]), block.dtype) for block in made]
        for whole, block in zip(out, made, strict=True):
            _write(whole, block, rows, columns, mirror if x2 is None else None)
    return tuple(None if whole is None else as_kind(whole) for whole in out)


def side_of(entries: float) -> int:
    """Samples on a side of a tile, if a pair of samples takes so many numbers."""
    return max(1, math.isqrt(int(TILE_NUMBERS // entries)))


def blocks(n1: int, n2: int, side: int, symmetric: bool) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of all tiles; of those on or above the diagonal, if the others are their mirror images."""
    for i in range(0, n1, side):
        for j in range(i if symmetric else 0, n2, side):
            yield slice(i, min(i + side, n1)), slice(j, min(j + side, n2))


def _on_device(x: Any) -> Any:
    return jax.tree.map(jnp.asarray, x)


def _padded(x: Any, rows: slice, side: int) -> Any:
    """`side` rows of x, the last ones repeating a real one: every tile has one shape, so one compilation."""
    index = np.minimum(np.arange(rows.start, rows.start + side), rows.stop - 1)
    return _on_device(x[index])


def _write(whole: np.ndarray | None, block: Any, rows: slice, columns: slice, mirror: Mirror | None) -> None:
    if whole is None:
        return
    kept = np.asarray(block)[: rows.stop - rows.start, : columns.stop - columns.start]
    whole[rows, columns] = kept
    if mirror is not None and rows != columns:
        whole[columns, rows] = mirror(kept)
