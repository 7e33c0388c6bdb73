"""Kernels in a store: the same numbers as in memory, by every engine, and never of something else."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

import widenet as wn
from tests.scale.conftest import SIDE

ROUNDING = 1e-13


def check(store, expected):
    for name, k in store.kernels.items():
        np.testing.assert_allclose(np.asarray(k), getattr(expected, name), rtol=ROUNDING, atol=ROUNDING)


def test_the_kernels_are_those_in_memory(net, x, expected, tmp_path):
    store = wn.scale.kernel(net, x, store=tmp_path / "K.zarr", tile=SIDE)
    check(store, expected)
    check(wn.scale.KernelStore.open(tmp_path / "K.zarr"), expected)


def test_the_diagonal_is_exact(net, tmp_path):
    x = np.random.default_rng(0).normal(size=(12, 3))
    net = wn.serial(
        wn.dense(), wn.relu, wn.dense()
    )  # whose rounding grows to 1e-8 where equal rows are not known to be
    store = wn.scale.kernel(net, x, store=tmp_path / "K.zarr", tile=5)
    np.testing.assert_allclose(store.ntk.diagonal(), np.diag(wn.ntk(net)(x)), rtol=1e-15)


def test_kernels_of_two_sets_of_samples(net, x, tmp_path):
    store = wn.scale.kernel(net, x[:70], x[100:], store=tmp_path / "K.zarr", tile=SIDE)
    check(store, wn.kernel(net)(x[:70], x[100:]))
    assert not store.is_symmetric


@pytest.mark.parametrize("name", ["nngp", "ntk"])
def test_one_kernel_alone(net, x, expected, tmp_path, name):
    store = wn.scale.kernel(net, x, store=tmp_path / "K.zarr", get=name, tile=SIDE)
    check(store, expected)
    other = {"nngp": "ntk", "ntk": "nngp"}[name]
    with pytest.raises(ValueError, match=f"holds {name} only; make a store with get"):
        getattr(store, other)


def test_masks_and_graphs_travel_with_the_samples(tmp_path):
    rng = np.random.default_rng(3)
    mask = rng.random((20, 4)) < 0.6
    mask[:, 0] = True
    graph = rng.normal(size=(20, 4, 4))
    data = wn.samples(rng.normal(size=(20, 4, 3)), mask=mask, graph=graph)
    net = wn.serial(wn.masked(), wn.dense(), wn.aggregate(), wn.masked_mean())
    store = wn.scale.kernel(net, data, store=tmp_path / "K.zarr", tile=10)
    check(store, wn.kernel(net)(data))


def test_single_precision_data_give_single_precision_kernels(net, x, tmp_path):
    store = wn.scale.kernel(net, x.astype(np.float32), store=tmp_path / "K.zarr", tile=SIDE)
    assert store.ntk.dtype == np.float32
    np.testing.assert_allclose(np.asarray(store.ntk), wn.ntk(net)(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["processes", "devices"])
def test_every_engine_gives_the_same(net, x, expected, tmp_path, name):
    engine = wn.scale.processes(2) if name == "processes" else wn.scale.devices()
    store = wn.scale.kernel(net, x, store=tmp_path / "K.zarr", tile=SIDE, engine=engine)
    check(store, expected)
    assert store.missing() == []


def test_a_finished_store_computes_nothing(net, x, tmp_path):
    asked = []

    def none(_, tiles):
        asked.append(len(tiles))
        return []

    for _ in range(2):
        wn.scale.kernel(net, x, store=tmp_path / "K.zarr", tile=SIDE, resume=True)
        wn.scale.kernel(net, x, store=tmp_path / "K.zarr", engine=none, resume=True)
    assert asked == [0, 0]


OTHERS = {
    "another network": lambda net, x: ((wn.serial(net, wn.relu, wn.dense()), x), {}),
    "other data": lambda net, x: ((net, x + 1e-9), {}),
    "dtype float64, not float32": lambda net, x: ((net, x.astype(np.float32)), {}),
    r"kernels \['nngp', 'ntk'\], not \['ntk'\]": lambda net, x: ((net, x), {"get": ("ntk",)}),
    "tiles of side 50, not 60": lambda net, x: ((net, x), {"tile": 60}),
    "integrals with 4096 points, not 8192": lambda net, x: ((net, x), {"points": 8192}),
    "integrals with points of scramble 0, not 1": lambda net, x: ((net, x), {"scramble": 1}),
    "other data .* and dtype": lambda net, x: ((net, x[1:].astype(np.float32)), {}),
}


@pytest.mark.parametrize("message", OTHERS)
def test_a_store_of_something_else_is_refused(net, x, partial, message):
    arguments, options = OTHERS[message](net, x)
    with pytest.raises(ValueError, match=message + ".*name another store"):
        wn.scale.kernel(*arguments, store=partial.path, resume=True, **options)


def test_a_store_is_kept_unless_it_is_to_be_resumed(net, x, partial):
    with pytest.raises(FileExistsError, match="complete it with resume=True"):
        wn.scale.kernel(net, x, store=partial.path, tile=SIDE)


def test_mistakes_are_answered_in_words(net, x, tmp_path):
    with pytest.raises(ValueError, match="get must name kernels"):
        wn.scale.kernel(net, x, store=tmp_path / "K.zarr", get="ntkk")
    with pytest.raises(ValueError, match="tile must be at least 1"):
        wn.scale.kernel(net, x, store=tmp_path / "K.zarr", tile=0)
    with pytest.raises(ValueError, match="8 features, x2 has 5"):
        wn.scale.kernel(net, x, x[:, :5], store=tmp_path / "K.zarr")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        wn.scale.kernel(net, x, store=tmp_path / "none" / "K.zarr")
    with pytest.raises(FileNotFoundError, match="holds no kernels"):
        wn.scale.KernelStore.open(tmp_path)
    with pytest.raises(ValueError, match="count of at least 1"):
        wn.scale.processes(0)
    with pytest.raises(ValueError, match="points must be a power of two"):
        wn.scale.kernel(net, x, store=tmp_path / "K.zarr", points=1000)
    assert not list(tmp_path.iterdir())


def test_a_tile_that_memory_does_not_hold_is_said(net, x, tmp_path, monkeypatch):
    monkeypatch.setenv("WIDENET_MEMORY", "10KB")
    with pytest.raises(MemoryError, match="tiles of side 50 are too large: the kernel of 50 x 50 samples would take"):
        wn.scale.kernel(net, x, store=tmp_path / "K.zarr", tile=SIDE)


def gated(x):
    h = wn.dense(x, sigma_b=0.2)
    return wn.dense(wn.tanh(h) * wn.sigmoid(wn.dense(h) + h))


@pytest.mark.parametrize("get", ["nngp", "ntk"])
def test_points_of_integrals_are_those_asked_for(x, tmp_path, get):
    options = {"points": 1024, "scramble": 2}
    stored = wn.scale.kernel(gated, x[:5], store=tmp_path / "K.zarr", get=get, **options)
    np.testing.assert_allclose(np.asarray(stored.kernels[get]), getattr(wn, get)(gated, **options)(x[:5]), rtol=1e-12)


@pytest.mark.parametrize("package", ["zarr", "distributed", "cloudpickle"])
def test_a_missing_package_is_named_with_its_extra(package, net, x, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    make = {"distributed": lambda: wn.scale.dask("tcp://nowhere:1"), "cloudpickle": wn.scale.processes}
    with pytest.raises(ModuleNotFoundError, match=rf'need {package}: pip install "widenet\[scale\]"'):
        wn.scale.kernel(net, x, store=tmp_path / "K.zarr", engine=make.get(package, lambda: wn.scale.serial)())


def test_several_devices_compute_a_tile_each(tmp_path):
    x = np.random.default_rng(0).normal(size=(23, 4))
    np.save(tmp_path / "x.npy", x)
    arguments = [
        *("kernel", "x.npy", "--net", "mlp:relu:3", "--store", "K.zarr"),
        *("--tile", "5", "--engine", "devices"),
    ]
    code = f"import jax; assert len(jax.devices()) == 4; from widenet.cli import main; exit(main({arguments}))"
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4", "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, **flags}, check=True)
    check(wn.scale.KernelStore.open(tmp_path / "K.zarr"), wn.kernel(wn.zoo.mlp(wn.relu, 3))(x))
