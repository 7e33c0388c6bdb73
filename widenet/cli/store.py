"""`widenet kernel DATA --net ... --store K.zarr`: kernels larger than memory."""

from __future__ import annotations

import argparse
import time
from typing import Any

ENGINES = ("serial", "processes", "devices", "dask")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What goes with --store."""
    group = parser.add_argument_group("kernels larger than memory, with --store")
    group.add_argument("--tile", type=int, metavar="N", help="rows and columns of a tile (default: 1000)")
    group.add_argument("--engine", choices=ENGINES, help="who computes (default: serial, this process)")
    group.add_argument("--processes", type=int, metavar="N", help="with --engine processes; default: one a core")
    group.add_argument("--scheduler", metavar="ADDRESS", help="with --engine dask: tcp://host:port")
    group.add_argument("--resume", action="store_true", help="go on with the store that is there")


def check(options: argparse.Namespace) -> None:
    """Raise a ValueError for arguments that do not go together."""
    given = [name for name in ("tile", "engine", "processes", "scheduler", "resume") if getattr(options, name)]
    if given and not options.store:
        raise ValueError(f"--{given[0]} is for a kernel on disk: write --store K.zarr instead of --out.")
    for name, engine in (("processes", "processes"), ("scheduler", "dask")):
        if getattr(options, name) and options.engine != engine:
            raise ValueError(f"--{name} goes with --engine {engine}.")
    if options.engine == "dask" and not options.scheduler:
        raise ValueError("--engine dask needs --scheduler ADDRESS, which `dask scheduler` prints when it starts.")
    if options.store and (options.force or options.error):
        raise ValueError("--force and --error do not go with --store: a store is never overwritten; see --resume.")


def run(options: argparse.Namespace, net: Any, x1: Any, x2: Any) -> None:
    """Compute what is missing, and say what there is."""
    import widenet as wn

    begin = time.perf_counter()
    store = wn.scale.kernel(
        *(net, x1, x2),
        store=options.store,
        tile=options.tile,
        get=wn.scale.KERNELS if options.get == "both" else options.get,
        engine=_engine(options),
        resume=options.resume,
        **({"points": options.points} if options.points else {}),
    )
    k = store.first
    print(f"computed in {time.perf_counter() - begin:.1f} s: {len(k.plan())} tiles of {k.side} x {k.side} are done")
    print(f"{options.store}: {', '.join(store.kernels)} of shape {k.shape}, {k.dtype}; check it with widenet doctor")


def _engine(options: argparse.Namespace) -> Any:
    import widenet as wn

    if options.engine == "processes":
        return wn.scale.processes(options.processes)
    if options.engine == "dask":
        return wn.scale.dask(options.scheduler)
    return wn.scale.devices() if options.engine == "devices" else wn.scale.serial
