"""The engine of many machines, on a cluster of this one."""

from __future__ import annotations

import dask
import numpy as np
import pytest

import widenet as wn
from tests.scale.conftest import SIDE
from tests.scale.crashes import check_resumed, killing
from widenet.cli import main
from widenet.scale.cluster import compute
from widenet.scale.kernel import Job

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # sockets of workers that are killed


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


def test_a_killed_worker_of_a_cluster_is_replaced(cluster, net, x, tmp_path):
    engine, before = killing(
        wn.scale.dask(cluster.scheduler_address), lambda: [worker.pid for worker in cluster.workers.values()]
    )
    store = wn.scale.kernel(net, x, store=tmp_path / "K.zarr", tile=SIDE, engine=engine)
    check_resumed(store, before, net, x)


def test_the_command_line_gives_tiles_to_a_cluster_and_resumes(cluster, x, tmp_path, capsys):
    np.save(tmp_path / "x.npy", x)
    path, there = tmp_path / "K.zarr", ["--engine", "dask", "--scheduler", cluster.scheduler_address, "--resume"]
    arguments = ["kernel", str(tmp_path / "x.npy"), "--net", "mlp:erf:1", "--store", str(path), "--tile", str(SIDE)]
    for tiles in ([], [(0, 1), (2, 2)]):
        for tile in tiles:
            wn.scale.KernelStore.open(path).ntk.file(tile).unlink()
        assert main([*arguments, *there]) == 0
        assert "15 tiles of 50 x 50 are done" in capsys.readouterr().out
    np.testing.assert_allclose(np.asarray(wn.scale.KernelStore.open(path).ntk), wn.ntk(wn.zoo.mlp(wn.erf, 1))(x))


def test_a_scheduler_that_does_not_answer_is_said(net, x, tmp_path):
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "500ms"}),
        pytest.raises(OSError, match=r"no scheduler answers at tcp://127\.0\.0\.1:9: start one with dask scheduler"),
    ):
        wn.scale.kernel(net, x, store=tmp_path / "K.zarr", tile=SIDE, engine=wn.scale.dask("tcp://127.0.0.1:9"))


def test_a_cluster_without_workers_is_said(net, x, tmp_path, capsys, monkeypatch):
    ask = distributed.Client.nthreads

    def ask_and_start_one(client):
        found = ask(client)
        cluster.scale(1)
        return found

    monkeypatch.setattr(distributed.Client, "nthreads", ask_and_start_one)
    with distributed.LocalCluster(n_workers=0, dashboard_address=":0", processes=False) as cluster:
        engine = wn.scale.dask(cluster.scheduler_address)
        assert list(engine(Job(store_of(net, x, tmp_path), net), [(0, 0)])) == [(0, 0)]
    assert f"no worker yet: start some with dask worker {cluster.scheduler_address}" in capsys.readouterr().err


def store_of(net, x, folder, **options):
    """A store without tiles."""
    return wn.scale.kernel(net, x, store=folder / "K.zarr", engine=lambda *_: [], **options)


def test_a_worker_that_does_not_see_the_store_says_so(net, x, tmp_path):
    path, identity, packed = Job(store_of(net, x, tmp_path), net).packed()
    with pytest.raises(FileNotFoundError, match=r"does not see the store .*elsewhere: keep it where all machines"):
        compute(path + "elsewhere", identity, packed, (0, 0))
    with pytest.raises(FileNotFoundError, match="does not see the store"):
        compute(path, "another", packed, (0, 0))


def test_a_worker_notices_a_new_store_in_the_place_of_an_old_one(net, x, tmp_path):
    for tile in (100, 60):
        store = store_of(net, x, tmp_path, tile=tile)
        compute(*Job(store, net).packed(), (0, 1))
        np.testing.assert_allclose(store.ntk.read((0, 1)), wn.ntk(net)(x[:tile], x[tile : 2 * tile]))
        store.path.rename(tmp_path / f"old_{tile}")
