"""Matrices on disk."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from widenet.scale import CorruptTileError, Tiles
from widenet.scale.tiles import FULL, SYMMETRIC, UPPER

RNG = np.random.default_rng(1)


def kept(path, matrix, side, kind):
    k = Tiles.create(path, matrix.shape, side, matrix.dtype, kind)
    for tile in k.plan():
        k.write(tile, matrix[k.slices(tile)])
    return k


def matrix(kind, n=23, m=17):
    if kind == FULL:
        return RNG.normal(size=(n, m))
    a = RNG.normal(size=(n, n))
    return a + a.T if kind == SYMMETRIC else np.triu(a)


@pytest.mark.parametrize("kind", [FULL, SYMMETRIC, UPPER])
@pytest.mark.parametrize("side", [1, 5, 23, 40])
def test_blocks_are_those_of_the_matrix(tmp_path, kind, side):
    a = matrix(kind)
    kept(tmp_path / "k", a, side, kind)
    k = Tiles.open(tmp_path / "k")
    assert (k.shape, k.side, k.dtype, k.kind, len(k)) == (a.shape, side, a.dtype, kind, len(a))
    np.testing.assert_array_equal(np.asarray(k), a)
    for rows, columns in ((slice(3, 12), slice(0, 17)), (slice(-4, None), slice(2, 3)), (slice(5, 5), slice(0, 9))):
        np.testing.assert_array_equal(k[rows, columns], a[rows, columns])


@pytest.mark.parametrize("kind", [FULL, SYMMETRIC, UPPER])
def test_products_are_those_of_the_matrix(tmp_path, kind):
    a = matrix(kind)
    k = kept(tmp_path / "k", a, 5, kind)
    for v in (RNG.normal(size=a.shape[1]), RNG.normal(size=(a.shape[1], 3))):
        np.testing.assert_allclose(k @ v, a @ v, rtol=1e-12)
    if kind != FULL:
        np.testing.assert_array_equal(k.diagonal(), np.diag(a))


def test_half_of_a_symmetric_matrix_is_kept(tmp_path):
    k = kept(tmp_path / "k", matrix(SYMMETRIC), 5, SYMMETRIC)
    assert len(k.plan()) == 15
    assert len(list(tmp_path.glob("k/c/*/*"))) == 15


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_tile_of_one_value_is_there(tmp_path, value):
    kept(tmp_path / "k", np.full((4, 4), value), 2, FULL)
    k = Tiles.open(tmp_path / "k")
    k.write((0, 0), np.full((2, 2), value))
    assert k.done() == 4


def test_single_precision_is_kept_and_products_are_double(tmp_path):
    a = matrix(SYMMETRIC).astype(np.float32)
    k = kept(tmp_path / "k", a, 5, SYMMETRIC)
    assert np.asarray(k).dtype == np.float32
    assert (k @ np.ones(len(a))).dtype == np.float64


DAMAGE = [b"", lambda data: data[:100], lambda data: data[:-1], lambda data: data[:50] + b"\x07" + data[51:]]


@pytest.mark.parametrize("damage", DAMAGE)
def test_every_damage_is_found(tmp_path, damage):
    k = kept(tmp_path / "k", matrix(FULL), 5, FULL)
    data = k.file((1, 2)).read_bytes()
    k.file((1, 2)).write_bytes(damage(data) if callable(damage) else damage)
    with pytest.raises(CorruptTileError, match=r"\(1, 2\).*resume"):
        k @ np.ones(17)
    k.file((0, 3)).unlink()
    health = k.health()
    assert (health.missing, health.corrupt, len(health.done)) == ([(0, 3)], [(1, 2)], 18)
    with pytest.raises(FileNotFoundError, match=r"\(0, 3\).*missing"):
        k[0:5, 15:17]


def test_what_killed_writers_left_is_swept_but_not_what_is_being_written(tmp_path):
    k = kept(tmp_path / "k", matrix(FULL), 5, FULL)
    old, new = (k.path / "c" / "0" / f"1.{name}.partial" for name in "ab")
    for file in (old, new):
        file.write_bytes(b"half")
    os.utime(old, times=(time.time() - 1e5,) * 2)
    k.sweep()
    assert not old.exists()
    assert new.exists()


def test_mistakes_are_answered_in_words(tmp_path, monkeypatch):
    k = kept(tmp_path / "k", matrix(FULL), 5, FULL)
    with pytest.raises(FileExistsError, match="choose another name"):
        Tiles.create(tmp_path / "k", (2, 2), 1, float)
    with pytest.raises(ValueError, match="is square"):
        Tiles.create(tmp_path / "l", (2, 3), 1, float, UPPER)
    with pytest.raises(FileNotFoundError, match="holds no matrix"):
        Tiles.open(tmp_path / "m")
    with pytest.raises(ValueError, match="of step 1"):
        k[::2, 0:3]
    monkeypatch.setenv("WIDENET_MEMORY", "1KB")
    with pytest.raises(MemoryError, match="read blocks"):
        np.asarray(k)
