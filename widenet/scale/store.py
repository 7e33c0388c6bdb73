"""A folder that holds the kernels of a network in tiles, the data that they are of, and whose they are."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from widenet.program.fingerprint import fingerprint
from widenet.program.samples import Samples, checked
from widenet.program.show import show
from widenet.program.trace import Net, trace
from widenet.scale.tiles import FULL, SYMMETRIC, Health, Tile, Tiles, check_room, optional

KERNELS = ("nngp", "ntk")
SIDE = 1000  # rows and columns of a tile if nobody says: 8 MB in float64
OWNER = "widenet"  # the attribute of the store that says whose it is
PARTS = ("x", "mask", "graph")  # of samples


@dataclass(frozen=True, eq=False)
class KernelStore:
    """NNGP and NTK on disk; `.nngp` and `.ntk` are matrices of tiles.  Made by `kernel`, opened by `KernelStore.open`.

    spec: hashes of the network and of the data, dtype, which kernels, how they are integrated, and the side of a tile.
    """

    path: Path
    spec: dict[str, Any]
    kernels: dict[str, Tiles]

    @classmethod
    def open(cls, path: str | Path) -> KernelStore:
        """The store at `path`.  Raises: FileNotFoundError if there is none."""
        path = Path(path)
        found = path / "zarr.json"
        spec = json.loads(found.read_text()).get("attributes", {}).get(OWNER) if found.is_file() else None
        if spec is None:
            raise FileNotFoundError(
                f"{path} holds no kernels; make it with widenet kernel DATA --net ... --store {path}."
            )
        return cls(path, dict(spec), {name: Tiles.open(path / name) for name in spec["kernels"]})

    @property
    def nngp(self) -> Tiles:
        """The NNGP kernel.  Raises: ValueError if it was not asked for."""
        return self._kernel("nngp")

    @property
    def ntk(self) -> Tiles:
        """The neural tangent kernel.  Raises: ValueError if it was not asked for."""
        return self._kernel("ntk")

    def _kernel(self, name: str) -> Tiles:
        if name not in self.kernels:
            raise ValueError(f"{self.path} holds {', '.join(self.kernels)} only; make a store with get=({name!r},).")
        return self.kernels[name]

    @property
    def first(self) -> Tiles:
        """Any of the kernels: what they have in common."""
        return next(iter(self.kernels.values()))

    @property
    def is_symmetric(self) -> bool:
        """Are these kernels of samples with themselves?"""
        return self.first.kind == SYMMETRIC

    def has(self, tile: Tile) -> bool:
        """Is the tile there, of all kernels?"""
        return all(k.has(tile) for k in self.kernels.values())

    def missing(self) -> list[Tile]:
        """The tiles that are still to be computed."""
        return [tile for tile in self.first.plan() if not self.has(tile)]

    def health(self) -> Health:
        """Every tile read and checked; a tile is done if it is in all kernels."""
        each = [k.health() for k in self.kernels.values()]
        corrupt = {tile for health in each for tile in health.corrupt}
        missing = {tile for health in each for tile in health.missing} - corrupt
        plan = self.first.plan()
        done = [tile for tile in plan if tile not in corrupt | missing]
        return Health(done, sorted(missing), sorted(corrupt))

    def missing_bytes(self) -> float:
        """What the tiles that are not there will take."""
        return sum(k.missing_bytes() for k in self.kernels.values())

    def identity(self) -> str:
        """A hash of `spec`: stores with equal ones are the same computation."""
        return hashlib.sha256(json.dumps(self.spec, sort_keys=True).encode()).hexdigest()

    def data(self, which: str, rows: slice) -> Any:
        """Rows of the data `x1` or `x2`, as the readings take them; `side` of them, the last one repeated."""
        group = optional("zarr").open_group(str(self.path / which), mode="r")
        parts = [_padded(group[name][rows], self.first.side) if name in group else None for name in PARTS]
        return parts[0] if list(group) == ["x"] else Samples(*parts)


def _padded(rows: np.ndarray, side: int) -> np.ndarray:
    return rows[np.minimum(np.arange(side), len(rows) - 1)]


def open_or_make(
    path: Path, net: Net, x1: Any, x2: Any, *, tile: int | None, asked: dict[str, Any], resume: bool
) -> KernelStore:
    """The store of these kernels: a new one, or the one that is there if `resume`.

    Raises: FileExistsError if one is there and not to be resumed; ValueError if it is of other kernels.
    """
    if path.exists() and not resume:
        raise FileExistsError(f"{path} exists and is kept; complete it with resume=True (--resume), or name another.")
    spec = _spec(net, x1, x2, tile) | asked
    if not path.exists():
        _make(path, spec, x1, x2)
    found = KernelStore.open(path)
    _check_same(path, found.spec, spec if tile else {**spec, "tile": found.spec["tile"]})
    return found


def _spec(net: Net, x1: Any, x2: Any, tile: int | None) -> dict[str, Any]:
    parts = _parts(x1) if x2 is None else _parts(x1) + _parts(x2)
    return {
        "program": fingerprint(trace(net, x1.shape)),
        "data": _hash(parts),
        "dtype": np.result_type(x1.dtype, (x1 if x2 is None else x2).dtype).name,
        "tile": tile or min(SIDE, max(len(x1), len(x1 if x2 is None else x2))),
        "shape": [len(x1), len(x1 if x2 is None else x2)],
        "network": show(net, x1.shape).splitlines(),
    }


def _parts(x: Any) -> list[np.ndarray | None]:
    return [x.x, x.mask, x.graph] if isinstance(x, Samples) else [x, None, None]


def _hash(parts: list[np.ndarray | None]) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(b"none" if part is None else f"{part.shape} {part.dtype}".encode())
        if part is not None:
            found.update(np.ascontiguousarray(part).data)
    return found.hexdigest()[:32]


def _make(path: Path, spec: dict[str, Any], x1: Any, x2: Any) -> None:
    """A store under another name, then renamed: whole or not there, and whoever is first makes it."""
    check_room(path, sum(part.nbytes for part in _parts(x1) + ([] if x2 is None else _parts(x2)) if part is not None))
    building = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        _fill(building, spec, x1, x2)
        check_room(path, KernelStore.open(building).missing_bytes())
        building.chmod(0o755)
        building.rename(path)
    except OSError:
        if not (path / "zarr.json").is_file():  # else another writer was first: go on with its store
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _fill(path: Path, spec: dict[str, Any], x1: Any, x2: Any) -> None:
    module = optional("zarr")
    module.create_group(str(path), attributes={OWNER: spec})
    for which, x in (("x1", x1), ("x2", x2)):
        if x is None:
            continue
        group = module.create_group(str(path / which))
        for name, part in zip(PARTS, _parts(x), strict=True):
            if part is not None:
                part = np.asarray(part)
                rows = min(spec["tile"], len(part))
                guard = [module.codecs.Crc32cCodec()]
                group.create_array(name, data=part, chunks=(rows, *part.shape[1:]), compressors=guard)
    for name in spec["kernels"]:
        kind = SYMMETRIC if x2 is None else FULL
        n, m = spec["shape"]
        Tiles.create(path / name, (n, m), spec["tile"], spec["dtype"], kind)


def _check_same(path: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    names = {
        "program": f"another network ({'; '.join(found['network'])})",
        "data": f"other data (of shape {found['shape']})",
        "dtype": f"dtype {found['dtype']}, not {wanted['dtype']}",
        "kernels": f"the kernels {found['kernels']}, not {wanted['kernels']}",
        "points": f"integrals with {found['points']} points, not {wanted['points']}",
        "scramble": f"integrals with points of scramble {found['scramble']}, not {wanted['scramble']}",
        "tile": f"tiles of side {found['tile']}, not {wanted['tile']} (leave tile out to keep them)",
    }
    different = [text for key, text in names.items() if found[key] != wanted[key]]
    if different:
        raise ValueError(
            f"{path} is of {' and '.join(different)}: ask for what it was made for, or name another store."
        )


def as_data(x: Any, name: str) -> Any:
    """`x` checked, with its arrays in numpy."""
    x = checked(x, name)
    if not isinstance(x, Samples):
        return np.asarray(x)
    return Samples(*(None if part is None else np.asarray(part) for part in _parts(x)))


def check_get(get: Any) -> tuple[str, ...]:
    """`get` as names of kernels.  Raises: ValueError for others."""
    names = (get,) if isinstance(get, str) else tuple(get)
    if not names or not set(names) <= set(KERNELS) or len(set(names)) < len(names):
        raise ValueError(f"get must name kernels, of {', '.join(KERNELS)}; got {get!r}.")
    return tuple(name for name in KERNELS if name in names)


def check_folder(path: Path) -> None:
    """Raise an OSError unless a store can be made at `path`."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder; make it first.")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"{path.parent} cannot be written to; choose another folder.")
