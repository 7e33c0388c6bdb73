"""Ways to end processes while they write into a store, and what must hold after that."""

from __future__ import annotations

import os
import signal
import time

import numpy as np

import widenet as wn
from tests.scale.conftest import SIDE

SOON = 60.0  # seconds that nothing here takes, on a busy machine


def anywhere():
    """How many tiles of fifteen are done when the blow falls; another number in every run."""
    return int(np.random.default_rng(time.time_ns()).integers(1, 11))


def times(store):
    """When each file of a tile was written."""
    found = (path for path in store.path.glob("*/c/*/*") if path.suffix != ".partial")
    return {path: path.stat().st_mtime_ns for path in found}


def wait_for(condition):
    """Wait until `condition()` holds."""
    end = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < end, "this should not take so long"
        time.sleep(0.005)


def killing(engine, pids):
    """The engine, one process of which is killed after some tiles, and the files that were there by then."""
    at, before = anywhere(), {}

    def wrapped(job, tiles):
        for done, tile in enumerate(engine(job, tiles), 1):
            if done == at:
                before.update(times(job.store))
                os.kill(pids()[0], signal.SIGKILL)
            yield tile
        assert len(before) >= 2 * at  # a file of the NNGP and one of the NTK

    return wrapped, before


def check_resumed(store, before, net, x):
    """Every tile is there with the bits of a run in one go, and those that were there are untouched."""
    alone = wn.scale.kernel(net, x, store=store.path.with_name("alone.zarr"), tile=SIDE)
    for name, k in store.kernels.items():
        np.testing.assert_array_equal(np.asarray(k), np.asarray(alone.kernels[name]))
    now = times(store)
    assert {path: now[path] for path in before} == before
