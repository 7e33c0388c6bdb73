"""Kernels on disk and the doctor, on the command line."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import widenet as wn
from widenet.cli import main
from widenet.kernels.tiles import THREADS

NET = ["--net", "mlp:erf:1"]


@pytest.fixture
def data(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(23, 4)))
    return str(tmp_path / "x.npy")


@pytest.fixture
def store(data, tmp_path):
    path = str(tmp_path / "K.zarr")
    assert main(["kernel", data, *NET, "--store", path, "--tile", "10"]) == 0
    return path


def test_a_store_is_computed_and_resumed(data, store, capsys):
    x = np.load(data)
    np.testing.assert_allclose(
        np.asarray(wn.scale.KernelStore.open(store).ntk), wn.ntk(wn.zoo.mlp(wn.erf, 1))(x), rtol=1e-13
    )
    assert main(["kernel", data, *NET, "--store", store]) == 2
    assert "complete it with resume=True (--resume)" in capsys.readouterr().err
    assert main(["kernel", data, *NET, "--store", store, "--resume"]) == 0
    assert "6 tiles of 10 x 10 are done" in capsys.readouterr().out
    assert main(["kernel", data, "--net", "mlp:erf:1:sigma_w=2", "--store", store, "--resume"]) == 2
    assert "another network" in capsys.readouterr().err


def test_engines_are_chosen(data, tmp_path):
    arguments = ["kernel", data, *NET, "--tile", "10", "--get", "nngp"]
    assert main([*arguments, "--store", str(tmp_path / "P.zarr"), "--engine", "processes", "--processes", "1"]) == 0
    assert main([*arguments, "--store", str(tmp_path / "D.zarr"), "--engine", "devices"]) == 0
    p, d = (np.asarray(wn.scale.KernelStore.open(tmp_path / name).nngp) for name in ("P.zarr", "D.zarr"))
    np.testing.assert_allclose(p, d, rtol=1e-13)


def test_points_of_integrals_are_those_of_the_store(data, store, capsys):
    assert main(["kernel", data, *NET, "--store", store, "--resume", "--points", "8192"]) == 2
    assert "integrals with 4096 points, not 8192" in capsys.readouterr().err


MISTAKES = {
    "--store K.zarr instead of --out": ["--out", "K.npz", "--tile", "5"],
    "--processes goes with --engine processes": ["--store", "K.zarr", "--processes", "2"],
    "--scheduler goes with --engine dask": ["--store", "K.zarr", "--scheduler", "tcp://a:1"],
    "needs --scheduler ADDRESS": ["--store", "K.zarr", "--engine", "dask"],
    "a store is never overwritten": ["--store", "K.zarr", "--force"],
    "tile must be at least 1": ["--store", "K.zarr", "--tile", "-1"],
}


@pytest.mark.parametrize("message", MISTAKES)
def test_mistakes_are_answered_in_words(data, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["kernel", data, *NET, *MISTAKES[message]]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "K.zarr").exists()


def test_the_doctor_knows_the_machine(capsys, monkeypatch):
    monkeypatch.setenv("WIDENET_MEMORY", "3GB")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert main(["doctor"]) == 0
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["widenet"] == wn.__version__
    assert rows["numpy"] == np.__version__
    assert rows["python"].startswith(".".join(map(str, sys.version_info[:3])))
    assert rows["devices"].startswith("cpu:0")
    assert rows["OMP_NUM_THREADS"] == "7"
    assert rows["memory"].startswith("3 GB")
    assert rows["threads"].startswith(f"{THREADS} for a kernel")
    assert "cloudpickle" in rows


def test_the_doctor_names_the_extra_of_what_is_missing(capsys, monkeypatch):
    import importlib.metadata as metadata

    found = metadata.version

    def version(package):
        if package == "zarr":
            raise metadata.PackageNotFoundError
        return found(package)

    monkeypatch.setattr(metadata, "version", version)
    assert main(["doctor"]) == 0
    assert 'not installed: pip install "widenet[scale]"' in capsys.readouterr().out


def test_the_doctor_finds_what_is_missing_and_corrupt(store, capsys):
    assert main(["doctor", store]) == 0
    out = capsys.readouterr().out
    assert "23 x 23, symmetric, float64" in out
    assert "6 tiles\n" in out
    assert "relu" not in out
    k = wn.scale.KernelStore.open(store)
    k.nngp.file((0, 1)).unlink()
    assert main(["doctor", store]) == 0
    assert "1 tiles: (0, 1); run widenet kernel" in capsys.readouterr().out
    k.ntk.file((1, 2)).write_bytes(b"torn")
    assert main(["doctor", store]) == 1
    rows = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["done"] == "4 tiles"
    assert rows["corrupt"].startswith("1 tiles: (1, 2)")


def test_the_doctor_reads_a_factor_too(store, tmp_path, capsys):
    path = tmp_path / "R.zarr"
    wn.scale.stored_cholesky(path)(wn.scale.KernelStore.open(store).nngp, np.ones(23), 0.1)
    assert main(["doctor", str(path)]) == 0
    assert "one matrix of tiles, 23 x 23, upper, float64" in capsys.readouterr().out
    wn.scale.Tiles.open(path).file((0, 2)).write_bytes(b"torn")
    assert main(["doctor", str(path)]) == 1
    assert "1 tiles: (0, 2); run what made it again" in capsys.readouterr().out


def test_the_doctor_of_something_else_says_so(tmp_path, capsys):
    assert main(["doctor", str(tmp_path)]) == 2
    assert "holds no kernels" in capsys.readouterr().err
