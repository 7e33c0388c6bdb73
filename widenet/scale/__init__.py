"""Kernels larger than memory: tiles on disk that are resumed after a crash, many machines, and solvers that stream."""

from widenet.scale.cholesky import cholesky, stored_cholesky
from widenet.scale.cluster import dask
from widenet.scale.conjugate_gradients import conjugate_gradients, nystrom
from widenet.scale.devices import devices
from widenet.scale.eigenpro import EigenPro, eigenpro
from widenet.scale.gp import gp
from widenet.scale.kernel import kernel, serial
from widenet.scale.processes import processes
from widenet.scale.solution import Solution
from widenet.scale.store import KERNELS, KernelStore
from widenet.scale.tiles import CorruptTileError, Tiles

__all__ = [
    "KERNELS",
    "CorruptTileError",
    "EigenPro",
    "KernelStore",
    "Solution",
    "Tiles",
    "cholesky",
    "conjugate_gradients",
    "dask",
    "devices",
    "eigenpro",
    "gp",
    "kernel",
    "nystrom",
    "processes",
    "serial",
    "stored_cholesky",
]
