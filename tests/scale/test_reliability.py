"""Processes that are killed, disks that fill or rot, writers that meet: nothing finished is lost or wrong."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import numpy as np
import psutil
import pytest

import widenet as wn
from tests.scale.conftest import NET, SIDE

SLOWLY = """
import pickle, sys, time
import widenet as wn
from widenet.scale.tiles import Tiles
write = Tiles.write
def slowly(*args):
    time.sleep(0.05)
    write(*args)
Tiles.write = slowly
net, x = pickle.load(sys.stdin.buffer)
wn.scale.kernel(net, x, store=sys.argv[1], tile=int(sys.argv[2]), resume=True)
"""


def times(store):
    """When each file of a tile was written."""
    return {path: path.stat().st_mtime_ns for path in store.path.glob("*/c/*/*")}


def check_resumed(store, before, net, x):
    """Every tile is there with the bits of a run in one go, and those that were there are untouched."""
    alone = wn.scale.kernel(net, x, store=store.path.with_name("alone.zarr"), tile=SIDE)
    for name, k in store.kernels.items():
        np.testing.assert_array_equal(np.asarray(k), np.asarray(alone.kernels[name]))
    now = times(store)
    assert {path: now[path] for path in before} == before


def killing(engine, at, pids):
    """An engine, one process of which is killed after `at` tiles."""

    def wrapped(job, tiles):
        for done, tile in enumerate(engine(job, tiles)):
            if done == at:
                os.kill(pids()[0], signal.SIGKILL)
            yield tile

    return wrapped


def children():
    found = (child for child in psutil.Process().children() if "widenet.scale.worker" in child.cmdline())
    return [child.pid for child in found]


@pytest.mark.parametrize("at", [0, 4])
def test_a_killed_worker_is_replaced(net, x, tmp_path, at):
    engine = killing(wn.scale.processes(2), at, children)
    store = wn.scale.kernel(net, x, store=tmp_path / "K.zarr", tile=SIDE, engine=engine)
    check_resumed(store, {}, net, x)
    assert not children()


def test_a_killed_run_goes_on_where_it_stopped(net, x, tmp_path):
    at = int(np.random.default_rng(time.time_ns()).integers(1, 12))
    path = tmp_path / "K.zarr"
    run = subprocess.Popen([sys.executable, "-c", SLOWLY, path, str(SIDE)], stdin=subprocess.PIPE)
    cloudpickle.dump((net, x), run.stdin)
    run.stdin.close()
    while len(list(path.glob("ntk/c/*/*[0-9]"))) < at and run.poll() is None:
        time.sleep(0.005)
    run.kill()
    assert run.wait() == -signal.SIGKILL
    store = wn.scale.KernelStore.open(path)
    done = [tile for tile in store.first.plan() if store.has(tile)]
    assert at <= len(done) < 15
    before = {k.file(tile): k.file(tile).stat().st_mtime_ns for k in store.kernels.values() for tile in done}
    check_resumed(wn.scale.kernel(net, x, store=path, resume=True), before, net, x)


def test_workers_end_when_their_driver_is_killed(net, x, tmp_path):
    script = "import pickle, sys, widenet as wn; net, x = pickle.load(sys.stdin.buffer); "
    script += "wn.scale.kernel(net, x, store=sys.argv[1], tile=10, engine=wn.scale.processes(1))"
    run = subprocess.Popen([sys.executable, "-c", script, tmp_path / "K.zarr"], stdin=subprocess.PIPE)
    cloudpickle.dump((net, x), run.stdin)
    run.stdin.close()
    while not list(tmp_path.glob("K.zarr/ntk/c/*/*")) and run.poll() is None:
        time.sleep(0.01)
    workers = psutil.Process(run.pid).children()
    run.kill()
    run.wait()
    assert workers
    assert psutil.wait_procs(workers, timeout=20)[1] == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_killed_worker_of_a_cluster_is_replaced(net, x, tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        engine = killing(
            wn.scale.dask(cluster.scheduler_address), 3, lambda: [worker.pid for worker in cluster.workers.values()]
        )
        store = wn.scale.kernel(net, x, store=tmp_path / "K.zarr", tile=SIDE, engine=engine)
    check_resumed(store, {}, net, x)


def test_corrupt_and_truncated_tiles_are_found_and_made_again(net, x, partial):
    torn, rotten = (partial.ntk.file(tile) for tile in partial.ntk.plan()[2:4])
    torn.write_bytes(torn.read_bytes()[:1000])
    data = bytearray(rotten.read_bytes())
    data[77] ^= 1
    rotten.write_bytes(data)
    before = {path: when for path, when in times(partial).items() if path not in (torn, rotten)}
    with pytest.warns(UserWarning, match="ntk: 2 corrupt tiles are computed again"):
        store = wn.scale.kernel(net, x, store=partial.path, resume=True)
    check_resumed(store, before, net, x)


def test_a_full_disk_is_said_and_keeps_what_is_done(net, x, partial):
    before, limits = times(partial), resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8 * SIDE * SIDE // 2, limits[1]))
        with pytest.raises(OSError, match=r"could not be written.*7 of 15 tiles are kept: free .* KB.*then resume"):
            wn.scale.kernel(net, x, store=partial.path, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert times(partial) == before
    check_resumed(wn.scale.kernel(net, x, store=partial.path, resume=True), before, net, x)


def test_an_error_in_a_worker_reaches_the_caller(x, tmp_path):
    def broken(v):
        if os.environ.get("WIDENET_MEMORY"):  # which processes sets for its workers
            raise ValueError("not here")
        return NET(v)

    with pytest.raises(ValueError, match="not here"):
        wn.scale.kernel(broken, x, store=tmp_path / "K.zarr", tile=SIDE, engine=wn.scale.processes(1))
    assert not children()


def test_a_tile_that_ends_its_workers_is_named(x, tmp_path, monkeypatch):
    monkeypatch.setattr(sys.modules["widenet.scale.processes"], "ATTEMPTS", 2)

    def deadly(v):
        if os.environ.get("WIDENET_MEMORY"):
            os._exit(1)
        return NET(v)

    with pytest.raises(RuntimeError, match=r"tile \(0, 0\) ended 2 workers.*smaller tile"):
        wn.scale.kernel(deadly, x[:20], store=tmp_path / "K.zarr", engine=wn.scale.processes(1))


def test_two_writers_at_once_do_no_harm(net, x, tmp_path):
    def write(_):
        return wn.scale.kernel(net, x, store=tmp_path / "K.zarr", tile=SIDE, resume=True)

    with ThreadPoolExecutor(2) as pool:
        stores = list(pool.map(write, range(2)))
    check_resumed(stores[0], {}, net, x)
    assert stores[1].missing() == []
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ["K.zarr", "alone.zarr"]
