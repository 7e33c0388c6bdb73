"""Processes that are killed, disks that fill or rot, writers that meet: nothing finished is lost or wrong."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import psutil
import pytest

import widenet as wn
from tests.scale.conftest import NET, SIDE
from tests.scale.crashes import SOON, anywhere, check_resumed, killing, times, wait_for

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


def children():
    found = (child for child in psutil.Process().children() if "widenet.scale.worker" in child.cmdline())
    return [child.pid for child in found]


def started(script, data, *arguments):
    """An interpreter that runs `script` with `data` on its standard input."""
    run = subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stdin=subprocess.PIPE)
    cloudpickle.dump(data, run.stdin)
    run.stdin.close()
    return run


def test_a_killed_worker_is_replaced(net, x, tmp_path):
    engine, before = killing(wn.scale.processes(2), children)
    store = wn.scale.kernel(net, x, store=tmp_path / "K.zarr", tile=SIDE, engine=engine)
    check_resumed(store, before, net, x)
    assert not children()


def test_a_killed_run_goes_on_where_it_stopped(net, x, tmp_path):
    at, path = anywhere(), tmp_path / "K.zarr"
    run = started(SLOWLY, (net, x), path, SIDE)
    wait_for(lambda: len(list(path.glob("ntk/c/*/*[0-9]"))) >= at or run.poll() is not None)
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
    run = started(script, (net, x), tmp_path / "K.zarr")
    wait_for(lambda: list(tmp_path.glob("K.zarr/ntk/c/*/*")) or run.poll() is not None)
    workers = psutil.Process(run.pid).children()
    run.kill()
    run.wait()
    assert workers
    assert psutil.wait_procs(workers, timeout=20)[1] == []


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


def test_a_disk_without_room_is_said_before_anything_is_computed(net, x, partial, tmp_path, monkeypatch):
    usage = type(shutil.disk_usage(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 200_000, 200_000))
    with pytest.raises(OSError, match=r"L\.zarr is to take 600 KB more, and its disk has 200 KB free"):
        wn.scale.kernel(net, x, store=tmp_path / "L.zarr", tile=SIDE)
    assert [path.name for path in tmp_path.iterdir()] == ["K.zarr"]
    before = times(partial)
    with pytest.raises(OSError, match=r"K\.zarr is to take 320 KB more"):
        wn.scale.kernel(net, x, store=partial.path, resume=True)
    assert times(partial) == before
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9 - 10_000, 10_000))
    with pytest.raises(OSError, match=r"L\.zarr is to take 15 KB more"):  # the data alone
        wn.scale.kernel(net, x, store=tmp_path / "L.zarr", tile=SIDE)


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


def test_two_processes_that_write_at_once_do_no_harm(net, x, tmp_path):
    path = tmp_path / "K.zarr"
    run = started(SLOWLY, (net, x), path, SIDE)
    wait_for(lambda: list(path.glob("ntk/c/*/*[0-9]")) or run.poll() is not None)
    store = wn.scale.kernel(net, x, store=path, tile=SIDE, resume=True)
    assert run.poll() is None  # the other one is still at it
    assert run.wait(timeout=SOON) == 0
    check_resumed(store, {}, net, x)


def test_two_threads_that_write_at_once_do_no_harm(net, x, tmp_path):
    def write(_):
        return wn.scale.kernel(net, x, store=tmp_path / "K.zarr", tile=SIDE, resume=True)

    with ThreadPoolExecutor(2) as pool:
        stores = list(pool.map(write, range(2)))
    check_resumed(stores[0], {}, net, x)
    assert stores[1].missing() == []
    assert sorted(path.name for path in Path(tmp_path).iterdir()) == ["K.zarr", "alone.zarr"]
