"""What is said while long work goes on."""

from __future__ import annotations

import pytest

from widenet import progress as module
from widenet.progress import part, progress


@pytest.fixture
def said(monkeypatch, capsys):
    """The lines of work whose items take 1.5 s each, by a clock of the test."""

    def lines(items):
        clock = iter(1.5 * tick for tick in range(1000))
        monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
        assert len(list(progress(items, "kernel tiles"))) > 0
        return capsys.readouterr().err.splitlines()

    return lines


def test_rate_and_time_left_are_said_every_few_seconds(said):
    assert said(range(5)) == ["kernel tiles: 1/5, 0.333/s, 12 s left", "kernel tiles: 3/5, 0.5/s, 4 s left"]


def test_short_work_is_silent(said):
    assert said(range(1)) == []


def test_work_of_unknown_length_has_a_rate(said):
    assert said(iter(range(3))) == ["kernel tiles: 1 done, 0.333/s"]


def test_parts_of_other_work_speak_less_and_say_whose_they_are(said):
    with part("tile (2, 3)"):
        assert said(range(40)) == ["tile (2, 3): kernel tiles: 20/40, 0.635/s, 32 s left"]
    assert said(range(3))[0].startswith("kernel tiles")
