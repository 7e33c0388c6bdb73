from __future__ import annotations

import json

import matplotlib as mpl
import pytest

from widenet.repro import Claim, about, panels, run, save

FOUR = Claim("fig. 1", "sum", about(4.0, 0.5))


def right(run):
    yield FOUR.check(2 + 2, "numbers")


def wrong(run):
    yield FOUR.check(float("nan"), "numbers")
    yield FOUR.check(4, "numbers")


def skipped(run):
    yield FOUR.skip("needs MNIST")


def result(script, *more):
    return json.loads(script.parents[1].joinpath("figures", "sum", *more, "result.json").read_text())


@pytest.mark.parametrize(
    ("main", "code", "verdict"), [(right, 0, "pass"), (wrong, 1, "fail"), (skipped, 0, "not checked")]
)
def test_exit_code_is_one_if_a_claim_fails(script, main, code, verdict):
    assert run(main, script, []) == code
    assert result(script)["verdict"] == verdict


def test_result_says_what_was_found_and_how(script):
    run(right, script, ["--seed", "7"])
    found = result(script)
    assert (found["key"], found["run"], found["seed"], found["data"]) == ("sum", "full", 7, ["numbers"])
    assert set(found["versions"]) == {"python", "jax", "numpy", "widenet"}
    assert found["seconds"] >= 0
    assert found["claims"] == [
        {
            "where": "fig. 1",
            "claim": "sum",
            "expected": 4.0,
            "tolerance": {"below": 0.5, "above": 0.5},
            "measured": 4.0,
            "verdict": "pass",
            "data": "numbers",
            "note": "",
        }
    ]


def test_a_quick_run_leaves_the_full_result_alone(script):
    run(right, script, [])
    run(wrong, script, ["--quick"])
    assert result(script)["run"] == "full"
    assert result(script, "quick")["run"] == "quick"


def test_a_quick_run_refuses_the_folder_of_a_full_one(script, capsys):
    run(right, script, [])
    with pytest.raises(SystemExit) as stop:
        run(right, script, ["--quick", "--out", str(script.parents[1] / "figures" / "sum")])
    assert stop.value.code == 2
    assert "give another --out" in capsys.readouterr().err


def test_a_run_that_breaks_writes_no_result(script):
    def broken(run):
        yield FOUR.check(4, "numbers")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(broken, script, [])
    assert not (script.parents[1] / "figures").exists()


def test_outcomes_are_printed_as_they_come(script, capsys):
    run(wrong, script, [])
    text = capsys.readouterr().out
    assert "FAIL  fig. 1: sum: nan, expected 4 +- 0.5" in text
    assert "sum: 1 pass, 1 fail, 0 not checked" in text


def test_a_picture_knows_where_it_comes_from(script):
    image = pytest.importorskip("PIL.Image")

    def main(run):
        figure, (ax, _) = panels(2)
        ax.plot([0, 1])
        save(figure, run, "line")
        yield FOUR.check(4, "numbers")

    before = mpl.rcParams.copy()
    run(main, script, ["--seed", "3"])
    assert mpl.rcParams == before
    with image.open(script.parents[1] / "figures" / "sum" / "line.png") as picture:
        assert picture.text["Title"] == "sum: line"
        assert json.loads(picture.text["Description"])["seed"] == 3
        assert picture.info["dpi"][0] == pytest.approx(150, abs=0.1)
