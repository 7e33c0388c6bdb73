"""The engine of many machines: dask.distributed, whose workers write into a store that all of them see."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any

from widenet.scale.kernel import Engine, Job, unpacked
from widenet.scale.tiles import Tile, optional


def dask(scheduler: str) -> Engine:
    """The engine of the dask.distributed cluster at address `scheduler`, such as "tcp://host:8786".

    The store must have one path on all machines.  Only numbers of tiles travel: workers read data and write tiles.
    Workers may come and go; without any, tiles wait, and that is said.
    Raises: ModuleNotFoundError that names the extra to install; OSError if no scheduler answers.
    """
    distributed = optional("distributed")

    def engine(job: Job, tiles: Sequence[Tile]) -> Iterator[Tile]:
        packed = job.packed()
        with _client(distributed, scheduler) as client:
            if not client.nthreads():
                print(f"no worker yet: start some with dask worker {scheduler}", file=sys.stderr, flush=True)
            futures = [client.submit(compute, *packed, tile, pure=False) for tile in tiles]
            try:
                for future in distributed.as_completed(futures, loop=client.loop):
                    yield future.result()
            except distributed.KilledWorker as error:
                raise RuntimeError(
                    f"a tile of side {job.store.first.side} ended every worker that tried it, most likely for want of "
                    "memory: use a smaller tile, or workers with more memory; finished tiles are kept."
                ) from error

    return engine


def _client(distributed: Any, scheduler: str) -> Any:
    try:
        return distributed.Client(scheduler, set_as_default=False)
    except OSError as error:
        raise OSError(
            f"no scheduler answers at {scheduler}: start one with dask scheduler, give the address that it prints, "
            "and resume."
        ) from error


def compute(path: str, identity: str, net: bytes, tile: Tile) -> Tile:
    """The task of a worker; a tile that is in the store is not computed again when dask loses its answer."""
    return unpacked(path, identity, net).compute(tile)
