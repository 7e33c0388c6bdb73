"""Reading data from files and writing results, so that nothing half-written or overwritten is left behind."""

from __future__ import annotations

import csv
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Table(NamedTuple):
    """Samples `[n, ..., d]` in float64 and, if the file has them, labels `[n]`."""

    x: np.ndarray
    y: np.ndarray | None


def read(path: str | Path, *, label: str | None = None) -> Table:
    """The data of a .npy, .npz or .csv file.

    .npz: `x` (or the only array), and `y` if there; .csv: numbers with or without a header, the column named or
    numbered `label` becoming y.  Integer images [n, h, w] get a channel axis by the caller, not here.
    Raises: FileNotFoundError, or ValueError that names the file and the remedy.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give a .npy, .npz or .csv file.")
    readers = {".npy": _read_npy, ".npz": _read_npz, ".csv": lambda file: _read_csv(file, label)}
    if path.suffix not in readers:
        raise ValueError(f"{path}: unknown kind {path.suffix or 'without ending'!r}; give a .npy, .npz or .csv file.")
    try:
        table = readers[path.suffix](path)
    except (OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    return Table(_numbers(path, table.x), table.y)


def _numbers(path: Path, x: np.ndarray) -> np.ndarray:
    if x.dtype.kind not in "iufb":
        raise ValueError(f"{path}: x has dtype {x.dtype}, which is not numeric; save it as floats.")
    return np.asarray(x, np.float64)


def _read_npy(path: Path) -> Table:
    return Table(np.load(path, allow_pickle=False), None)


def _read_npz(path: Path) -> Table:
    with np.load(path, allow_pickle=False) as arrays:
        names = arrays.files
        name = "x" if "x" in names else names[0] if len(names) == 1 else None
        if name is None:
            raise ValueError(
                f"it holds {', '.join(names)}, and none is called x; save with np.savez(path, x=..., y=...)."
            )
        return Table(arrays[name], arrays["y"] if "y" in names else None)


def _read_csv(path: Path, label: str | None) -> Table:
    with path.open(newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    if not rows:
        raise ValueError("it has no rows.")
    header = None if all(map(_is_number, rows[0])) else rows.pop(0)
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
