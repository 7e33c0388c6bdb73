"""Kernels larger than memory: computed tile by tile into a store, by an engine, and resumed where they stopped."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from widenet.checks import same_features
from widenet.kernels.kernel import POINTS, Kernel, check_options, nngp
from widenet.kernels.kernel import kernel as both
from widenet.program.trace import Net
from widenet.progress import part, progress
from widenet.scale.store import KERNELS, KernelStore, as_data, check_folder, check_get, open_or_make
from widenet.scale.tiles import Tile, check_room, optional

Packed = tuple[str, str, bytes]  # path and identity of a store, and a network
Engine = Callable[["Job", Sequence[Tile]], Iterable[Tile]]  # computes tiles, and yields each when it is in the store


@dataclass(frozen=True, eq=False)
class Job:
    """What an engine computes: kernels of a network into a store."""

    store: KernelStore
    net: Net

    def compute(self, tile: Tile) -> Tile:
        """Put a tile into the store, unless it is there."""
        wanted = {name: k for name, k in self.store.kernels.items() if not k.has(tile)}
        if wanted:
            with part(f"tile {tile}"):
                made = self._made(tile)
            for name, k in wanted.items():
                self.keep(k, tile, getattr(made, name))
        return tile

    def _made(self, tile: Tile) -> Kernel:
        try:
            return self.reading(*self.blocks(tile))
        except MemoryError as error:
            raise MemoryError(f"tiles of side {self.store.first.side} are too large: {error}") from error

    @cached_property
    def reading(self) -> Callable[..., Kernel]:
        """The kernels that are asked for, in one pass."""
        options = {name: self.store.spec[name] for name in ("points", "scramble")}
        if "ntk" in self.store.kernels:
            return both(self.net, **options)
        return lambda x1, x2=None: Kernel(nngp(self.net, **options)(x1, x2), None)

    def blocks(self, tile: Tile) -> tuple[Any, Any]:
        """The samples of the rows and of the columns of a tile; no columns where they are the rows."""
        rows, columns = self.store.first.slices(tile)
        x1 = self.store.data("x1", rows)
        if not self.store.is_symmetric:
            return x1, self.store.data("x2", columns)
        return x1, None if rows == columns else self.store.data("x1", columns)

    def keep(self, k: Any, tile: Tile, block: Any) -> None:
        """Write what of `block` is not padding."""
        rows, columns = k.slices(tile)
        k.write(tile, np.asarray(block)[: rows.stop - rows.start, : columns.stop - columns.start])

    def packed(self) -> Packed:
        """The job as data, for other processes and machines; a network made in a script goes by value."""
        return str(self.store.path.absolute()), self.store.identity(), optional("cloudpickle").dumps(self.net)


@lru_cache(maxsize=4)
def unpacked(path: str, identity: str, net: bytes) -> Job:
    """The job of `Job.packed`; a process opens and compiles once, unless another store has taken the place of this.

    Raises: FileNotFoundError if this machine sees no such store there.
    """
    try:
        store = KernelStore.open(path)
        seen = store.identity() == identity
    except FileNotFoundError:
        seen = False
    if not seen:
        raise FileNotFoundError(
            f"{platform.node()} does not see the store {path}: keep it where all machines see it under one path."
        )
    return Job(store, optional("cloudpickle").loads(net))


def serial(job: Job, tiles: Sequence[Tile]) -> Iterable[Tile]:
    """The engine of this process: one tile after the other."""
    return map(job.compute, tiles)


def kernel(
    net: Net,
    x1: Any,
    x2: Any = None,
    *,
    store: str | Path,
    tile: int | None = None,
    get: Sequence[str] = KERNELS,
    engine: Engine = serial,
    resume: bool = False,
    points: int = POINTS,
    scramble: int = 0,
) -> KernelStore:
    """NNGP and NTK of `net` in a folder: for kernels that memory does not hold, or that take hours.

    The tiles K(x1[a:b], x2[c:d]) are computed independently; a tile is done exactly when its file is there, whole.

    Shapes: x1 `[n1, ..., d]`, x2 `[n2, ..., d]` to matrices `[n1, n2]` of tiles `[tile, tile]`; x2=None is x1 with
    itself, and half the work.  Each tile has the dtype and the accuracy of `widenet.kernel`; tiles of one shape have
    the same bits from every engine whose processes have the same number of threads, but for `devices`.
    get: "nngp", "ntk" or both, in one pass.  engine: `serial`, `processes(count)`, `dask(scheduler)` or `devices()`.
    resume: go on with the store that is there; tiles that are whole are kept, torn or rotten ones are made again.
    points, scramble: as of `widenet.kernel`.
    Raises: FileExistsError if the store is there and not to be resumed; ValueError if it is of another network, data,
    dtype or tile; OSError if the disk has no room, or is full in spite of that, with all finished tiles kept.
    """
    path = Path(store)
    check_folder(path)
    if tile is not None and tile < 1:
        raise ValueError(f"tile must be at least 1; got {tile}.")
    check_options(None, points)
    x1 = as_data(x1, "x1")
    if x2 is not None:
        x2 = as_data(x2, "x2")
        same_features(x1, x2)
    asked = {"kernels": list(check_get(get)), "points": points, "scramble": scramble}
    found = open_or_make(path, net, x1, x2, tile=tile, asked=asked, resume=resume)
    for k in found.kernels.values():
        k.remove_corrupt()
    check_room(path, found.missing_bytes())
    todo = found.missing()
    for _ in progress(engine(Job(found, net), todo), "kernel tiles", len(todo)):
        pass
    return found
