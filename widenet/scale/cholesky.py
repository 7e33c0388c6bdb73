"""Exact solutions by a Cholesky factor: in memory, or in tiles on disk (L1)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import cholesky as dense_cholesky
from scipy.linalg import solve_triangular

from widenet.progress import progress
from widenet.scale.solution import Solution, Solver, not_positive, system
from widenet.scale.tiles import UPPER, Tile, Tiles, check_room


def cholesky(k: Tiles, b: Any, noise: float = 0.0) -> Solution:
    """(K + noise)^-1 b in memory, by one Cholesky factor of K + noise (L1).

    Shapes: k symmetric `[n, n]` on disk; b `[n]` or `[n, columns]`.  float64 throughout; 8 n^2 bytes, n^3 / 3 steps.
    LAPACK sees one tile at a time: its threads fail beyond 16000 rows in common builds of OpenBLAS.
    Raises: MemoryError if K does not fit, ValueError if K + noise is not positive definite to rounding.
    """
    columns, noise = system(k, b, noise)
    r = np.asarray(k).astype(np.float64, copy=False)
    r[np.diag_indices(len(r))] += noise
    parts = _parts(k)
    for at, rows in enumerate(progress(parts, "Cholesky rows")):
        rest = slice(rows.stop, None)
        r[rows, rows] = _upper(k, rows, r[rows, rows], noise)
        r[rows, rest] = solve_triangular(r[rows, rows], r[rows, rest], trans="T", check_finite=False)
        for later in parts[at + 1 :]:
            r[later, later.start :] -= r[rows, later].T @ r[rows, later.start :]
    return Solution(_solve(r, parts, columns).reshape(np.shape(b)))


def stored_cholesky(path: str | Path) -> Solver:
    """The solver by a Cholesky factor in tiles at `path`: in memory is one column of tiles, and b.

    K + noise = R^T R,  R_kk^T R_kk = A_kk,  R_kj = R_kk^-T A_kj,  A_kj = (K + noise)_kj - sum_(m < k) R_mk^T R_mj (L1)

    A tile is written once, so a factorization that was stopped goes on where it stopped, and a finished one serves
    other b.  Reads (n / side)^3 / 6 tiles.
    Raises: ValueError if a factor of another matrix is at `path`, or if K + noise is not positive definite.
    """

    def solve(k: Tiles, b: Any, noise: float = 0.0) -> Solution:
        columns, noise = system(k, b, noise)
        r = _factor(k, noise, Path(path))
        return Solution(_solve(r, _parts(k), columns).reshape(np.shape(b)))

    return solve


def _factor(k: Tiles, noise: float, path: Path) -> Tiles:
    r = _open(k, noise, path)
    r.remove_corrupt()
    check_room(path, r.missing_bytes())
    todo = [tile for tile in r.plan() if not r.has(tile)]
    row, panel, diagonal = -1, np.zeros((0, 0)), np.zeros((0, 0))
    for tile in progress(todo, "Cholesky tiles", len(todo)):
        if tile[0] != row:
            row = tile[0]
            panel = _column(r, row)
            diagonal = _diagonal(k, noise, r, row, panel)
        if tile[0] != tile[1]:
            r.write(tile, solve_triangular(diagonal, _reduced(k, r, tile, panel), trans="T", check_finite=False))
    return r


def _open(k: Tiles, noise: float, path: Path) -> Tiles:
    """The factor at `path`, or an empty one."""
    identity = hashlib.sha256(f"{k.content()} {noise.hex()}".encode()).hexdigest()
    if not (path / "zarr.json").exists():
        return Tiles.create(path, k.shape, k.side, np.float64, UPPER, factor_of=identity)
    r = Tiles.open(path)
    if r.array.attrs.get("factor_of") != identity:
        raise ValueError(f"{path} is not the factor of {k.path} with noise {noise:g}: name another path, or delete it.")
    return r


def _column(r: Tiles, row: int) -> np.ndarray:
    """The tiles above the diagonal in one column: `[rows above, side]`."""
    blocks = [block for _, _, block in r.stream([(m, row) for m in range(row)])]
    return np.concatenate(blocks) if blocks else np.zeros((0, 0))


def _diagonal(k: Tiles, noise: float, r: Tiles, row: int, panel: np.ndarray) -> np.ndarray:
    """R_kk, read or made."""
    tile = (row, row)
    if not r.has(tile):
        reduced = _reduced(k, r, tile, panel)
        reduced[np.diag_indices(len(reduced))] += noise
        r.write(tile, _upper(k, k.slices(tile)[0], reduced, noise))
    return r.read(tile)


def _reduced(k: Tiles, r: Tiles, tile: Tile, panel: np.ndarray) -> np.ndarray:
    """K_kj - sum_(m < k) R_mk^T R_mj."""
    out = k.read(tile).astype(np.float64)
    for rows, _, block in r.stream([(m, tile[1]) for m in range(tile[0])]):
        out -= panel[rows].T @ block
    return out


def _upper(k: Tiles, rows: slice, reduced: np.ndarray, noise: float) -> np.ndarray:
    """The Cholesky factor of a tile on the diagonal."""
    try:
        return dense_cholesky(reduced, check_finite=False)
    except np.linalg.LinAlgError:
        raise not_positive(k, rows, noise) from None


def _parts(k: Tiles) -> list[slice]:
    """The rows of each row of tiles."""
    return [k.slices(tile)[0] for tile in k.plan() if tile[0] == tile[1]]


def _solve(r: np.ndarray | Tiles, parts: list[slice], b: np.ndarray) -> np.ndarray:
    """R^-1 R^-T b, reading R twice."""
    x = b.copy()
    for rows in parts:
        row, own = r[rows, rows.start :], rows.stop - rows.start
        x[rows] = solve_triangular(row[:, :own], x[rows], trans="T", check_finite=False)
        x[rows.stop :] -= row[:, own:].T @ x[rows]
    for rows in parts[::-1]:
        row, own = r[rows, rows.start :], rows.stop - rows.start
        x[rows] = solve_triangular(row[:, :own], x[rows] - row[:, own:] @ x[rows.stop :], check_finite=False)
    return x
