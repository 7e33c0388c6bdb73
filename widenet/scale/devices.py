"""The engine of the jax devices of one host: one tile a device at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from widenet.precision import float64
from widenet.scale.kernel import Engine, Job
from widenet.scale.tiles import Tile

AXIS = "tile"


def devices(found: Sequence[Any] | None = None) -> Engine:
    """The engine of jax devices, by default all of this host.

    A tile is one compiled computation and must fit on its device: choose `tile` so.  Compiled as a whole, it agrees
    with other engines to rounding, not in every bit.
    """
    mesh = jax.make_mesh((len(found or jax.devices()),), (AXIS,), devices=found)

    def engine(job: Job, tiles: Sequence[Tile]) -> Iterator[Tile]:
        compute = _on(mesh, job)
        own = [tile for tile in tiles if job.blocks(tile)[1] is None] if job.store.is_symmetric else []
        for kind in (own, [tile for tile in tiles if tile not in set(own)]):
            for begin in range(0, len(kind), mesh.size):
                batch = kind[begin : begin + mesh.size]
                padded = batch + batch[-1:] * (mesh.size - len(batch))
                made = compute(_stacked([job.blocks(tile) for tile in padded]))
                for at, tile in enumerate(batch):
                    for name, k in job.store.kernels.items():
                        job.keep(k, tile, made[name][at])
                    yield tile

    return engine


def _on(mesh: Any, job: Job) -> Callable[[Any], dict[str, np.ndarray]]:
    """Kernels `[devices, side, side]` of data `[devices, side, ..., d]`."""
    reading, spec = job.reading, jax.sharding.PartitionSpec(AXIS)

    def one(blocks: Any) -> dict[str, Any]:
        made = reading(*jax.tree.map(lambda part: part[0], blocks))
        return {name: getattr(made, name)[None] for name in job.store.kernels}

    spread = jax.jit(jax.shard_map(one, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False))

    def compute(blocks: Any) -> dict[str, np.ndarray]:
        with float64():
            placed = jax.device_put(blocks, jax.sharding.NamedSharding(mesh, spec))
            return {name: np.asarray(part) for name, part in spread(placed).items()}

    return compute


def _stacked(blocks: list[tuple[Any, Any]]) -> Any:
    return jax.tree.map(lambda *parts: np.stack(parts), *blocks)
