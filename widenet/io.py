"""Reading data from files and writing results, so that nothing half-written or overwritten is left behind."""

from __future__ import annotations

import csv
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Table(NamedTuple):
    """Samples `[n, ..., d]` in float64 and, if the file has them, targets `[n]` or `[n, outputs]`, masks and graphs."""

    x: np.ndarray
    y: np.ndarray | None
    mask: np.ndarray | None = None  # [n, *positions], boolean
    graph: np.ndarray | None = None  # [n, nodes, nodes]: one operator for each sample
    adjacency: np.ndarray | None = None  # [n, nodes, nodes], or [nodes, nodes] for all samples


def read(path: str | Path, *, label: str | None = None) -> Table:
    """The data of a .npy, .npz or .csv file.

    .npz: `x` (or the only array), and if there `y`, `mask`, `graph` or `adjacency`; .csv: numbers with or without a
    header, the column named or numbered `label` becoming y.  Shapes are kept, but for y `[n, 1]`, which becomes `[n]`.
    Raises: FileNotFoundError, or ValueError that names the file and the remedy.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give a .npy, .npz or .csv file.")
    readers = {".npy": _read_npy, ".npz": _read_npz, ".csv": lambda file: _read_csv(file, label)}
    kind = path.suffix.lower()
    if kind not in readers:
        raise ValueError(f"{path}: unknown kind {path.suffix or 'without ending'!r}; give a .npy, .npz or .csv file.")
    try:
        table = readers[kind](path)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    x = _numbers(path, "x", table.x)
    y = None if table.y is None else _targets(path, table.y, len(x))
    mask = None if table.mask is None else _numbers(path, "mask", table.mask) != 0
    graphs = (None if a is None else _numbers(path, "a graph", a) for a in (table.graph, table.adjacency))
    return Table(x, y, mask, *graphs)


def _numbers(path: Path, name: str, x: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "iufb":
        raise ValueError(f"{path}: {name} has dtype {x.dtype}, which is not numeric; save it as numbers.")
    if not x.ndim:
        raise ValueError(f"{path}: {name} is a single number; save one row a sample.")
    return np.asarray(x, np.float64)


def _targets(path: Path, y: np.ndarray, n: int) -> np.ndarray:
    _numbers(path, "y", y)  # checked, but integers stay integers
    if len(y) != n:
        raise ValueError(f"{path}: x has {n} samples, but y has {len(y)}; save one target a sample.")
    return y[:, 0] if y.shape == (n, 1) else y


def _read_npy(path: Path) -> Table:
    with path.open("rb") as file:
        return Table(np.lib.format.read_array(file, allow_pickle=False), None)


def _read_npz(path: Path) -> Table:
    if not zipfile.is_zipfile(path):
        raise ValueError("it is not a whole .npz archive; save with np.savez(path, x=..., y=...).")
    with np.load(path, allow_pickle=False) as arrays:
        names = arrays.files
        name = "x" if "x" in names else names[0] if len(names) == 1 else None
        if name is None:
            raise ValueError(
                f"it holds {', '.join(names) or 'nothing'}, and none is called x; "
                "save with np.savez(path, x=..., y=...)."
            )
        others = (arrays[other] if other in names else None for other in Table._fields[1:])
        return Table(arrays[name], *others)


def _read_csv(path: Path, label: str | None) -> Table:
    with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets begin with a byte order mark
        rows = [row for row in csv.reader(file) if row]
    header = rows.pop(0) if rows and not all(map(_is_number, rows[0])) else None
    if not rows:
        raise ValueError("it has no rows of numbers.")
    wrong = next((i for i, row in enumerate(rows) if len(row) != len(rows[0]) or not all(map(_is_number, row))), None)
    if wrong is not None:
        raise ValueError(f"data row {wrong} is not {len(rows[0])} numbers: {','.join(rows[wrong])[:60]!r}.")
    table = np.array(rows, np.float64)
    if label is None:
        return Table(table, None)
    column = _column(label, header, table.shape[1])
    return Table(np.delete(table, column, axis=1), table[:, column])


def _column(label: str, header: list[str] | None, width: int) -> int:
    if header and label in header:
        return header.index(label)
    if label.lstrip("-").isdigit() and -width <= int(label) < width:
        return int(label)
    raise ValueError(
        f"it has no column {label!r}; its columns are {', '.join(header) if header else f'0 to {width - 1}'}."
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_writable(path: str | Path, *, force: bool) -> Path:
    """`path`, if a result may be written there; asked before the computation.

    Raises: FileExistsError unless `force`; FileNotFoundError or PermissionError for its folder.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"{path}: results are written as .npz; call it {path.with_suffix('.npz')}.")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; name a file.")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists and is kept; choose another name, or overwrite it with --force.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder; make it first.")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path.parent} cannot be written to; choose another folder.")
    return path


def save(path: str | Path, *, force: bool = False, **arrays: Any) -> None:
    """Write `arrays` to a .npz file, whole or not at all."""
    path = check_writable(path, force=force)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)
