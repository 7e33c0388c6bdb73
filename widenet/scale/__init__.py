"""Kernels larger than memory: tiles on disk that are resumed after a crash, many machines, and solvers that stream."""

from widenet.scale.cluster import dask
from widenet.scale.devices import devices
from widenet.scale.kernel import kernel, serial
from widenet.scale.processes import processes
from widenet.scale.store import KernelStore
from widenet.scale.tiles import CorruptTileError, Tiles

__all__ = [
    "CorruptTileError",
    "KernelStore",
    "Tiles",
    "dask",
    "devices",
    "kernel",
    "processes",
    "serial",
]
