"""The engine of many machines: dask.distributed, whose workers write into a store that all of them see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from widenet.scale.kernel import Engine, Job, unpacked
from widenet.scale.tiles import Tile, optional


def dask(scheduler: str) -> Engine:
    """The engine of the dask.distributed cluster at address `scheduler`, such as "tcp://host:8786".

    The store must have one path on all machines.  Only numbers of tiles travel: workers read data and write tiles.
    Raises: ModuleNotFoundError that names the extra to install.
    """
    distributed = optional("distributed")

    def engine(job: Job, tiles: Sequence[Tile]) -> Iterator[Tile]:
        packed = job.packed()
        with distributed.Client(scheduler, set_as_default=False) as client:
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


def compute(path: str, net: bytes, tile: Tile) -> Tile:
    """The task of a worker; a tile that is in the store is not computed again when dask loses its answer."""
    return unpacked(path, net).compute(tile)
