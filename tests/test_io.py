"""Files as users have them: read whole or refused by name, written whole or not at all."""

from __future__ import annotations

import os

import numpy as np
import pytest

from widenet.io import check_writable, read, save

X = np.arange(6.0).reshape(3, 2)


def written(path, content):
    """The file at `path`, holding a text, bytes or arrays."""
    if isinstance(content, dict):
        np.savez(path, **content)
    elif isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", X),
        ("a.npy", X.astype(np.int16)),
        ("a.npy", X.astype(">f8")),
        ("a.npz", {"x": X, "other": X[:1]}),
        ("a.npz", {"samples": X}),
        ("a.csv", "0,1\n2,3\n4,5\n"),
        ("a.csv", "first,second\n0,1\n2,3\n\n4,5\n"),
        ("A.CSV", "0,1\r\n2,3\r\n4,5\r\n"),
        ("a.csv", b"\xef\xbb\xbf0,1\n2,3\n4,5\n"),  # a byte order mark, which is no header
    ],
)
def test_samples_are_read_in_float64(name, content, tmp_path):
    table = read(written(tmp_path / name, content))
    np.testing.assert_array_equal(table.x, X)
    assert table.x.dtype == np.float64
    assert table.x.dtype.isnative
    assert table.y is None


@pytest.mark.parametrize("y", [np.arange(3), np.arange(3)[:, None]])
def test_targets_of_an_archive_keep_their_dtype(y, tmp_path):
    found = read(written(tmp_path / "a.npz", {"x": X, "y": y})).y
    np.testing.assert_array_equal(found, np.arange(3))
    assert found.dtype == y.dtype


@pytest.mark.parametrize("label", ["b", "1", "-1"])
def test_a_column_of_a_table_becomes_the_target(label, tmp_path):
    table = read(written(tmp_path / "a.csv", "a,b\n0,1\n2,3\n"), label=label)
    np.testing.assert_array_equal(table.x, [[0], [2]])
    np.testing.assert_array_equal(table.y, [1, 3])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "1 2", "unknown kind '.txt'"),
        ("a", "1 2", "unknown kind 'without ending'"),
        ("a.npy", b"not an array", "magic string"),
        ("a.npy", b"", "cannot be read"),
        ("a.npz", b"PK\x03\x04 cut off", "not a whole .npz archive"),
        ("a.npz", {}, "it holds nothing"),
        ("a.npz", {"x": np.array([["a"]])}, "x has dtype <U1, which is not numeric"),
        ("a.npz", {"x": X, "y": np.array(["a", "b", "c"])}, "y has dtype <U1, which is not numeric"),
        ("a.npz", {"x": X, "y": np.arange(2)}, "x has 3 samples, but y has 2"),
        ("a.npz", {"x": np.float64(1)}, "a single number"),
        ("a.csv", "a,b\n", "no rows of numbers"),
        ("a.csv", "a,b\n1,\n", "data row 0 is not 2 numbers"),
    ],
)
def test_a_file_that_is_not_data_is_refused_by_its_name(name, content, message, tmp_path):
    path = written(tmp_path / name, content)
    with pytest.raises(ValueError, match=message) as error:
        read(path)
    assert str(path) in str(error.value)


def test_an_unknown_column_is_refused_with_those_there_are(tmp_path):
    with pytest.raises(ValueError, match="no column 'c'; its columns are a, b"):
        read(written(tmp_path / "a.csv", "a,b\n0,1\n"), label="c")


def test_what_is_saved_is_there_and_nothing_else(tmp_path):
    save(tmp_path / "K.npz", nngp=X)
    assert os.listdir(tmp_path) == ["K.npz"]
    np.testing.assert_array_equal(np.load(tmp_path / "K.npz")["nngp"], X)


def test_an_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch):
    save(tmp_path / "K.npz", nngp=X)
    before = (tmp_path / "K.npz").read_bytes()

    def interrupted(file, **_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "K.npz", force=True, nngp=X + 1)
    assert os.listdir(tmp_path) == ["K.npz"]
    assert (tmp_path / "K.npz").read_bytes() == before


def test_a_folder_is_no_place_for_a_result(tmp_path):
    (tmp_path / "K.npz").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder; name a file"):
        check_writable(tmp_path / "K.npz", force=True)


def test_a_locked_folder_is_refused_before_anything_is_computed(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere, so permissions cannot tell
    with pytest.raises(PermissionError, match="cannot be written to; choose another folder"):
        check_writable(tmp_path / "K.npz", force=False)
