"""A matrix on disk in square tiles: a Zarr v3 array with one file a tile.

A tile is there exactly when its file is: Zarr writes another name first and renames it.  Every file ends in a checksum
(crc32c), so what is torn or has rotted is known when it is read.
"""

from __future__ import annotations

import errno
import hashlib
import shutil
import time
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from widenet.memory import VARIABLE, budget, in_words
from widenet.progress import progress

Tile = tuple[int, int]  # row and column, counted in tiles

FULL, SYMMETRIC, UPPER = "full", "symmetric", "upper"  # of the last two only tiles on and above the diagonal are kept
ABANDONED = 3600.0  # seconds after which the file of an unfinished write is nobody's
AHEAD = 4  # tiles that are read while others are worked on
READ_TOGETHER = 2  # threads that read and check them
CHECKSUM = 4  # bytes at the end of a file


class CorruptTileError(OSError):
    """A tile whose file is not what was written."""


class Health(NamedTuple):
    """Which tiles of a matrix are there."""

    done: list[Tile]
    missing: list[Tile]
    corrupt: list[Tile]


def optional(name: str) -> Any:
    """A module that widenet does not need elsewhere.  Raises: ModuleNotFoundError that names the extra to install."""
    try:
        return import_module(name)
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f'kernels on disk need {name}: pip install "widenet[scale]"') from None


def check_room(path: Path, needed: float) -> None:
    """Raise an OSError unless the disk of the store at `path` has room for so many bytes."""
    free = shutil.disk_usage(path.parent).free
    if needed > free:
        raise OSError(
            errno.ENOSPC,
            f"{path} is to take {in_words(needed)} more, and its disk has {in_words(free)} free: free the rest, use "
            "another disk, or compute in float32, which takes half as much",
        )


@dataclass(frozen=True, eq=False)
class Tiles:
    """A matrix `[n, m]` on disk.  `k[a:b, c:d]` reads a block, `k @ v` streams, `numpy.asarray(k)` takes it whole.

    Made by `Tiles.create`, and by `Tiles.open` of what is there.
    """

    path: Path
    array: Any

    @classmethod
    def create(
        cls, path: Path, shape: tuple[int, int], side: int, dtype: Any, kind: str = FULL, **attributes: Any
    ) -> Tiles:
        """An empty matrix of tiles `[side, side]`; a symmetric or upper triangular one keeps half of them.

        Raises: FileExistsError if something is there; ValueError for a triangle that is not square.
        """
        if kind != FULL and shape[0] != shape[1]:
            raise ValueError(f"a matrix of kind {kind} is square; got {shape}.")
        if (path / "zarr.json").exists():
            raise FileExistsError(f"{path} exists; open it, or choose another name.")
        module = optional("zarr")
        array = module.create_array(
            str(path),
            shape=shape,
            chunks=(side, side),
            dtype=np.dtype(dtype),
            compressors=[module.codecs.Crc32cCodec()],
            fill_value=float("nan"),
            attributes={"kind": kind, **attributes},
            config={"write_empty_chunks": True},
        )
        return cls(path, array)

    @classmethod
    def open(cls, path: Path) -> Tiles:
        """The matrix at `path`.  Raises: FileNotFoundError."""
        module = optional("zarr")
        if not (path / "zarr.json").is_file():
            raise FileNotFoundError(f"{path} holds no matrix of tiles.")
        return cls(path, module.open_array(str(path), mode="r+").with_config({"write_empty_chunks": True}))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        n, m = self.array.shape
        return n, m

    @property
    def side(self) -> int:
        """Rows and columns of a tile."""
        return int(self.array.chunks[0])

    @property
    def dtype(self) -> np.dtype:
        """The precision of the entries."""
        return np.dtype(self.array.dtype)

    @property
    def kind(self) -> str:
        """Is it full, symmetric or upper triangular?"""
        return str(self.array.attrs["kind"])

    def __len__(self) -> int:
        return self.shape[0]

    def plan(self) -> list[Tile]:
        """All tiles that are kept, row by row."""
        rows, columns = (-(-size // self.side) for size in self.shape)
        return [(i, j) for i in range(rows) for j in range(0 if self.kind == FULL else i, columns)]

    def slices(self, tile: Tile) -> tuple[slice, slice]:
        """The rows and columns of a tile; those at the end may be fewer."""
        i, j = (slice(k * self.side, min((k + 1) * self.side, n)) for k, n in zip(tile, self.shape, strict=True))
        return i, j

    def file(self, tile: Tile) -> Path:
        """Where a tile is kept."""
        return self.path / "c" / str(tile[0]) / str(tile[1])

    def has(self, tile: Tile) -> bool:
        """Is the tile there?"""
        return self.file(tile).exists()

    def write(self, tile: Tile, block: np.ndarray) -> None:
        """Keep a tile: wholly or, if this fails, not at all.

        Raises: OSError that says what is kept, if the disk is full.
        """
        try:
            self.array[self.slices(tile)] = block
        except OSError as error:
            raise OSError(
                error.errno,
                f"tile {tile} of {self.path} could not be written ({error.strerror}); {self.done()} of "
                f"{len(self.plan())} tiles are kept: free at least {in_words(self.missing_bytes())} on that disk, or "
                "move the store to another, then resume",
            ) from error

    def read(self, tile: Tile) -> np.ndarray:
        """A tile.  Raises: FileNotFoundError if it is not there, CorruptTileError if it is not what was written."""
        if not self.has(tile):
            raise self._absent(tile)
        try:
            return np.asarray(self.array[self.slices(tile)])
        except ValueError as error:
            raise CorruptTileError(
                f"tile {tile} of {self.path} is corrupt: resume the computation of the store, which replaces it."
            ) from error

    def _absent(self, tile: Tile) -> FileNotFoundError:
        return FileNotFoundError(f"tile {tile} of {self.path} is missing: resume the computation of the store.")

    def done(self) -> int:
        """How many tiles are there."""
        return sum(map(self.has, self.plan()))

    def missing_bytes(self) -> float:
        """What the tiles that are not there will take."""
        return float(self.side) ** 2 * self.dtype.itemsize * (len(self.plan()) - self.done())

    def health(self) -> Health:
        """Every tile read and checked."""
        found = Health([], [], [])
        with ThreadPoolExecutor(READ_TOGETHER) as pool:
            states = pool.map(self._state, self.plan())
            for tile, state in zip(self.plan(), progress(states, "checking tiles", len(self.plan())), strict=True):
                found[state].append(tile)
        return found

    def _state(self, tile: Tile) -> int:
        try:
            self.read(tile)
        except CorruptTileError:
            return 2
        except FileNotFoundError:
            return 1
        return 0

    def sweep(self) -> None:
        """Remove what killed writers left behind; what another may still be writing stays."""
        for path in self.path.glob("c/*/*.partial"):
            if time.time() - path.stat().st_mtime > ABANDONED:
                path.unlink(missing_ok=True)

    def remove_corrupt(self) -> list[Tile]:
        """Remove the files of tiles that are not what was written, and of unfinished writes; say which tiles."""
        self.sweep()
        corrupt = self.health().corrupt if self.done() else []
        for tile in corrupt:
            self.file(tile).unlink(missing_ok=True)
        if corrupt:
            warnings.warn(f"{self.path}: {len(corrupt)} corrupt tiles are computed again: {corrupt[:5]}.", stacklevel=3)
        return corrupt

    def content(self) -> str:
        """A hash of the entries, from the checksums of the tiles.  Raises: FileNotFoundError if one is missing."""
        found = hashlib.sha256(f"{self.shape} {self.side} {self.dtype} {self.kind}".encode())
        for tile in self.plan():
            if not self.has(tile):
                raise self._absent(tile)
            with self.file(tile).open("rb") as file:
                file.seek(max(0, self.file(tile).stat().st_size - CHECKSUM))
                found.update(file.read())
        return found.hexdigest()

    def stream(self, plan: Sequence[Tile] | None = None) -> Iterator[tuple[slice, slice, np.ndarray]]:
        """Rows, columns and entries of the tiles of `plan`, or of all, the next ones being read meanwhile."""
        plan = self.plan() if plan is None else plan
        with ThreadPoolExecutor(READ_TOGETHER) as pool:
            reading = [pool.submit(self.read, tile) for tile in plan[:AHEAD]]
            for at, tile in enumerate(plan):
                block = reading.pop(0).result()
                reading += [pool.submit(self.read, later) for later in plan[at + AHEAD : at + AHEAD + 1]]
                yield *self.slices(tile), block

    def __matmul__(self, v: Any) -> np.ndarray:
        """K v in one pass over the tiles; v is `[m]` or `[m, columns]`."""
        v = np.asarray(v, np.float64)
        out = np.zeros((self.shape[0], *v.shape[1:]))
        for rows, columns, block in self.stream():
            out[rows] += block @ v[columns]
            if self.kind == SYMMETRIC and rows != columns:
                out[columns] += block.T @ v[rows]
        return out

    def diagonal(self) -> np.ndarray:
        """The entries on the diagonal, `[n]`."""
        return np.concatenate([np.diag(self.read(tile)) for tile in self.plan() if tile[0] == tile[1]])

    def __getitem__(self, at: tuple[slice, slice]) -> np.ndarray:
        """A block `k[a:b, c:d]` in memory, mirrored where only the other triangle is kept."""
        rows, columns = (slice(*part.indices(size)) for part, size in zip(at, self.shape, strict=True))
        if (rows.step, columns.step) != (1, 1):
            raise ValueError("a matrix of tiles gives blocks k[a:b, c:d] of step 1; take steps of the block.")
        out = np.zeros((max(0, rows.stop - rows.start), max(0, columns.stop - columns.start)), self.dtype)
        for i in self._tiles_of(rows):
            for j in self._tiles_of(columns):
                if self.kind == UPPER and i > j:
                    continue
                flipped = self.kind == SYMMETRIC and i > j
                block = self.read((j, i)).T if flipped else self.read((i, j))
                to, part = zip(self._overlap(i, rows), self._overlap(j, columns), strict=True)
                out[to] = block[part]
        return out

    def _tiles_of(self, wanted: slice) -> range:
        return (
            range(wanted.start // self.side, -(-wanted.stop // self.side)) if wanted.stop > wanted.start else range(0)
        )

    def _overlap(self, at: int, wanted: slice) -> tuple[slice, slice]:
        """Where the rows that a tile shares with `wanted` are in these, and in the tile."""
        begin = at * self.side
        low, high = max(wanted.start, begin), min(wanted.stop, begin + self.side)
        return slice(low - wanted.start, high - wanted.start), slice(low - begin, high - begin)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        needed = float(np.prod(self.shape)) * self.dtype.itemsize
        if needed > budget():
            raise MemoryError(
                f"{self.path} takes {in_words(needed)} of memory, and {in_words(budget())} may be used: read blocks "
                f"k[a:b, c:d], use a solver that streams tiles, or allow more with {VARIABLE}."
            )
        return self[:, :].astype(dtype or self.dtype, copy=False)
