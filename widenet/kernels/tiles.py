"""Running a kernel over many samples: in tiles of one shape, the upper triangle only if x2 is x1, in threads."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.program.samples import Samples
from widenet.progress import progress

# Numbers in one tile of one covariance: small enough for the cache of a core, large enough to hide a call; more where
# a pair of samples takes many, as variances are then worth sharing.
TILE_NUMBERS, TILE_NUMBERS_OF_POSITIONS = 2**16, 2**18
LANES = 16  # samples of x2 in a tile come in as many, where there is memory: they are the innermost, vectorized axis
CALL = 2e4  # entries that are computed in the time that a tile takes however small it is
ALIGNMENT = 64  # bytes
THREADS = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)  # compiled loops run on one or two cores each

Mirror = Callable[[np.ndarray], np.ndarray]
Compute = Callable[..., tuple[Any, ...]]


class Place(NamedTuple):
    """The rows and columns of a tile."""

    rows: slice
    columns: slice


def tile_shape(entries: float, n1: int, n2: int, symmetric: bool, lanes: int = LANES) -> tuple[int, int]:
    """Samples of x1 and of x2 in a tile, if a pair of samples takes so many numbers.

    Of the shapes that fit into the cache, the one with which all threads are done first: tiles across the border or the
    diagonal compute entries that nobody needs, columns come in whole vectors, and each tile computes variances.
    """
    pairs = max(1, int((TILE_NUMBERS if entries == 1 else TILE_NUMBERS_OF_POSITIONS) // entries))
    if entries == 1:
        columns = min(n2, math.isqrt(pairs))
        return min(n1, pairs // columns), columns

    def time(tile: tuple[int, int]) -> float:
        rows, columns = tile
        starts = np.arange(0, n1, rows) // columns if symmetric else np.zeros(math.ceil(n1 / rows))
        rounds = math.ceil(float(np.sum(math.ceil(n2 / columns) - starts)) / THREADS)
        return rounds * (entries * (rows * lanes * math.ceil(columns / lanes) + rows + columns) + CALL)

    return min(((r, c) for r in _sizes(n1, pairs) for c in _sizes(n2, pairs) if r * c <= pairs), key=time)


def _sizes(n: int, most: int) -> list[int]:
    """Sides of tiles of n samples: powers of two, and all of them."""
    return [size for size in (1 << k for k in range(most.bit_length())) if size < n] + [n] * (n <= most)


def places(n1: int, n2: int, tile: tuple[int, int], symmetric: bool) -> Iterator[Place]:
    """All tiles; only those that reach the diagonal or above it, if the others are their mirror images."""
    for i in range(0, n1, tile[0]):
        for j in range(0, n2, tile[1]):
            place = Place(slice(i, min(i + tile[0], n1)), slice(j, min(j + tile[1], n2)))
            if not symmetric or place.columns.stop > i:
                yield place


def in_tiles(
    compute: Compute, x1: Any, x2: Any, tile: tuple[int, int], mirror: Mirror, made_before: dict[Any, Any]
) -> tuple[Any, ...]:
    """`compute(a, b, own)` of all tiles, assembled to arrays of the kind of x1 (numpy or jax).

    own: `[rows, columns]`, is row i of a row j of b, the same sample?  None if x2 is given.  `mirror` makes a tile's
    transpose; for x2=None entries below the diagonal are those above it.  made_before: what tiles of a kind look like,
    written here: the first tile of a new kind goes alone, so that it is compiled once.
    """
    symmetric = x2 is None
    x1 = jax.tree.map(_aligned, x1)
    other = x1 if symmetric else jax.tree.map(_aligned, x2)
    n1, n2 = x1.shape[0], other.shape[0]
    features = x1.x if isinstance(x1, Samples) else x1
    as_kind = np.asarray if isinstance(features, np.ndarray) else jnp.asarray
    todo = list(places(n1, n2, tile, symmetric))
    apart = jnp.zeros(tile, bool) if symmetric else None

    def made(place: Place) -> tuple[Any, ...]:
        i, j = (_padded(part, length) for part, length in zip(place, tile, strict=True))
        meet = symmetric and place.rows.start < place.columns.stop and place.columns.start < place.rows.stop
        own = jnp.asarray(_numbers(i)[:, None] == _numbers(j)) if meet else apart
        return tuple(compute(_on_device(x1[i]), _on_device(other[j]), own))

    kind = tile, features.shape[1:], features.dtype, symmetric, bool(jax.config.jax_enable_x64)
    first = None if kind in made_before else made(todo[0])
    if first is not None:
        made_before[kind] = [None if part is None else (part.shape[2:], part.dtype) for part in first]
    out = [None if part is None else np.empty((n1, n2, *part[0]), part[1]) for part in made_before[kind]]

    def write(place: Place, parts: Sequence[Array | None]) -> None:
        for whole, part in zip(out, parts, strict=True):
            if whole is not None:
                _write(whole, np.asarray(part), place, mirror if symmetric else None)

    if first is not None:
        write(todo.pop(0), first)
    for _ in progress(_in_threads(lambda place: write(place, made(place)), todo), "kernel tiles", len(todo)):
        pass
    return tuple(None if whole is None else as_kind(whole) for whole in out)


def _in_threads(work: Callable[[Any], None], items: Sequence[Any]) -> Iterator[None]:
    """Do `work` on all items, yielding as they are done."""
    if not items:
        return
    x64 = bool(jax.config.jax_enable_x64)  # a context, which threads do not inherit

    def inside(item: Any) -> None:
        with jax.enable_x64(x64):
            work(item)

    with ThreadPoolExecutor(min(THREADS, len(items))) as pool:
        try:
            yield from pool.map(inside, items)
        finally:
            pool.shutdown(cancel_futures=True)


def _aligned(x: Any) -> Any:
    """The same numbers at an address from which jax reads them in place, all tiles of them."""
    if not isinstance(x, np.ndarray) or (x.flags.c_contiguous and x.ctypes.data % ALIGNMENT == 0):
        return x
    memory = np.empty(x.nbytes + ALIGNMENT, np.uint8)
    out = memory[-memory.ctypes.data % ALIGNMENT :][: x.nbytes].view(x.dtype).reshape(x.shape)
    out[...] = x
    return out


def _on_device(x: Any) -> Any:
    return jax.tree.map(lambda part: jax.device_put(part, may_alias=True), x)  # nobody writes while we compute


def _padded(rows: slice, length: int) -> slice | np.ndarray:
    """So many rows, the last ones repeating a real one if there are too few: every tile has one shape."""
    if rows.stop - rows.start == length:
        return rows  # a view
    return np.minimum(np.arange(rows.start, rows.start + length), rows.stop - 1)


def _numbers(rows: slice | np.ndarray) -> np.ndarray:
    return np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows


def _write(whole: np.ndarray, tile: np.ndarray, place: Place, mirror: Mirror | None) -> None:
    rows, columns = place
    kept = tile[: rows.stop - rows.start, : columns.stop - columns.start]
    if mirror is None:
        whole[rows, columns] = kept
    elif rows.stop - 1 <= columns.start:
        whole[rows, columns] = kept
        whole[columns, rows] = mirror(kept)
    else:  # across the diagonal
        above = np.arange(columns.start, columns.stop) >= np.arange(rows.start, rows.stop)[:, None]
        above = above[..., None]
        np.copyto(whole[rows, columns], kept, where=above)
        np.copyto(whole[columns, rows], mirror(kept), where=above.swapaxes(0, 1))
