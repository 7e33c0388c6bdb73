from __future__ import annotations

import os

import pytest

from widenet.repro.files import write_whole


def test_a_file_is_replaced(tmp_path):
    for content in (b"old", b"new"):
        write_whole(tmp_path / "a" / "b.json", content)
    assert (tmp_path / "a" / "b.json").read_bytes() == b"new"


def test_an_interrupted_write_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "b.json"
    write_whole(path, b"old")

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["b.json"]
