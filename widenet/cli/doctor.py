"""`widenet doctor [K.zarr]`: what this machine has, and whether a store is whole."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGES = ("jax", "jaxlib", "numpy", "scipy", "matplotlib", "scikit-learn", "zarr", "distributed", "cloudpickle")
EXTRAS = {"scikit-learn": "demo", "zarr": "scale", "distributed": "scale", "cloudpickle": "scale"}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "XLA_FLAGS")
SHOWN = 5  # tiles to name


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the task takes."""
    parser.add_argument(
        "store", nargs="?", metavar="K.zarr", help="a store of kernels, or a factor: read and check every tile"
    )


def run(options: argparse.Namespace) -> int:
    """Print a line for each thing; the exit code is 1 if a tile is corrupt."""
    corrupt = False
    for name, text in _store(options.store) if options.store else _machine():
        print(f"{name:20} {text}", flush=True)
        corrupt |= name == "corrupt"
    return int(corrupt)


def _machine() -> Iterator[tuple[str, str]]:
    import platform
    from importlib.metadata import PackageNotFoundError, version

    import jax

    import widenet
    from widenet import memory
    from widenet.kernels import tiles

    yield "widenet", widenet.__version__
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    for package in PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, f'not installed: pip install "widenet[{EXTRAS[package]}]"'
    yield "devices", ", ".join(f"{device.platform}:{device.id} {device.device_kind}" for device in jax.devices())
    x64 = "on" if jax.config.read("jax_enable_x64") else "off (kernels of numpy float64 data are float64 all the same)"
    yield "x64 of jax", x64
    yield "cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    for variable in THREADS:
        yield variable, os.environ.get(variable, "not set")
    source = memory.VARIABLE if memory.VARIABLE in os.environ else f"set {memory.VARIABLE} to change it"
    yield "threads", f"{tiles.THREADS} for a kernel (OMP_NUM_THREADS, or else every core)"
    yield "memory", f"{memory.in_words(memory.budget())} may be used ({source})"


def _store(path: str) -> Iterator[tuple[str, str]]:
    import widenet as wn

    try:
        store: Any = wn.scale.KernelStore.open(path)
        k, kernels, network = store.first, ", ".join(store.kernels), store.spec["network"]
        again = "run widenet kernel with --store and --resume again"
    except FileNotFoundError:
        if not (Path(path) / "c").is_dir():
            raise
        store = k = wn.scale.Tiles.open(Path(path))
        kernels, network, again = "one matrix of tiles", [], "run what made it again"
    yield "kernels", f"{kernels}, {k.shape[0]} x {k.shape[1]}, {k.kind}, {k.dtype}"
    yield "tiles", f"{len(k.plan())} of {k.side} x {k.side}"
    for line in network:
        yield "network", line
    health = store.health()
    yield "done", f"{len(health.done)} tiles"
    if health.missing:
        yield "missing", _named(health.missing, again)
    if health.corrupt:
        yield "corrupt", _named(health.corrupt, again)


def _named(tiles: list[tuple[int, int]], again: str) -> str:
    some = ", ".join(map(str, tiles[:SHOWN])) + (", ..." if len(tiles) > SHOWN else "")
    return f"{len(tiles)} tiles: {some}; {again}"
