"""The harness, on the smallest workload, against ourselves; limits and differences on numbers known beforehand."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from benchmarks import report
from benchmarks.__main__ import main
from benchmarks.machine import FLOPS_PER_ELEMENT_LAYER, limit
from benchmarks.pairs import QUICK, Effort, Job, difference, measure
from benchmarks.workloads import WORKLOADS, Work

TINY = Job(WORKLOADS["empirical_mlp_structured"], "float64", quick=True)


def test_a_workload_against_ourselves_makes_a_table_and_a_figure(tmp_path, capsys):
    assert main(["empirical_mlp_structured", "--quick", "--against", "ours", "--out", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "[1/1," in said.err
    assert said.out.strip() in (tmp_path / "table.md").read_text()
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    (row,) = json.loads((tmp_path / "results.json").read_text())["rows"].values()
    assert row["difference"] == 0
    for side in ("ours", "theirs"):
        assert row[side]["run"] > 0
        assert row[side]["megabytes"] > 0
        assert {"widenet", "jax", "python"} == set(row[side]["versions"])
    assert row["runs_ratio"] > 0


def test_a_side_that_fails_is_a_row_with_the_reason():
    row, theirs = measure(TINY, {"ours": ("ours", sys.executable), "theirs": ("nonsense", sys.executable)}, QUICK)
    assert theirs is None
    assert row["ours"]["run"] > 0
    assert "nonsense" in row["failed"]["theirs"]
    assert "nonsense" in report.table({"tiny": row})


def test_a_side_that_takes_too_long_is_a_row_with_the_reason():
    row, _ = measure(TINY, {"ours": ("ours", sys.executable)}, Effort(limit=0.01))
    assert row["failed"] == {"ours": "over the time limit"}


def test_fewer_runs_of_what_takes_longer():
    effort = Effort(budget=10, least=2, most=5)
    assert [effort.runs(seconds) for seconds in (0.1, 3, 60)] == [5, 3, 2]


def test_the_limit_is_the_larger_of_products_and_elements_and_the_writing():
    rates = {"float32": 1e9, "float64": 5e8, "bytes": 1e9}
    work = Work(flops=lambda n: 1e6 * n, layers=lambda n: 10.0 * n, outputs=lambda n: 1e3 * n)
    assert limit(work, 5, "float32", rates) == pytest.approx(5e6 / 1e9 + 5e3 * 4 / 0.5e9)
    elements = Work(flops=lambda _: 0.0, layers=lambda n: 1e6 * n, outputs=lambda _: 0.0)
    assert limit(elements, 5, "float64", rates) == pytest.approx(5e6 * FLOPS_PER_ELEMENT_LAYER["float64"] / 5e8)


def test_a_wrong_answer_has_a_difference():
    right = [np.ones((4, 4)), 2 * np.eye(3)]
    wrong = [np.ones((6, 6)), 2 * np.eye(3)]  # more samples: the common ones are compared
    assert difference(wrong, right) == 0
    wrong[1][0, 1] = 0.5
    assert difference(wrong, right) == 0.25
    wrong[0][0, 0] = np.nan
    assert difference(wrong, right) == np.inf
    assert difference(right[:1], right) == np.inf


def test_rows_of_another_machine_are_dropped(tmp_path):
    row = {"title": "a", "shape": [2], "dtype": "float64", "n": {"ours": 1, "theirs": 1}, "failed": {"ours": "why"}}
    report.write(tmp_path, {"processor": "one"}, {"a float64": row})
    assert report.read(tmp_path, {"processor": "one"}) == {"a float64": row}
    assert report.read(tmp_path, {"processor": "two"}) == {}


def test_every_workload_is_known_to_both_sides():
    import benchmarks.ours as ours

    theirs = (report.Path(ours.__file__).parent / "peer.py").read_text()
    for workload in WORKLOADS.values():
        assert workload.net in ours.NETS
        assert workload.reading in ours.READINGS
        assert workload.ours_only or f'"{workload.net}": ' in theirs


def test_an_unknown_name_is_refused(capsys):
    with pytest.raises(SystemExit):
        main(["mlp4"])
    assert "no workload mlp4" in capsys.readouterr().err
