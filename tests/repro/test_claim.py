from __future__ import annotations

import math

import numpy as np
import pytest

from widenet.repro import Claim, Verdict, about, at_least, at_most


@pytest.mark.parametrize(
    ("expected", "measured", "verdict"),
    [
        (about(4.0, 0.5), 4.5, Verdict.PASS),
        (about(4.0, 0.5), 3.4, Verdict.FAIL),
        (at_most(4.0), -100, Verdict.PASS),
        (at_most(4.0), 4.1, Verdict.FAIL),
        (at_least(4.0), np.float32(5), Verdict.PASS),
        (at_least(4.0), 3.9, Verdict.FAIL),
        (at_least(4.0), math.nan, Verdict.FAIL),
        (about(4.0, 0.5), math.inf, Verdict.FAIL),
    ],
)
def test_verdict_is_whether_the_number_lies_within_the_tolerance(expected, measured, verdict):
    assert Claim("fig. 1", "sum", expected).check(measured, "none").verdict is verdict


def test_a_claim_that_was_not_checked_says_so_and_never_passes():
    outcome = Claim("fig. 1", "sum", about(4.0, 0.5)).skip("needs MNIST")
    assert outcome.verdict is Verdict.NOT_CHECKED
    assert str(outcome).startswith("not checked: needs MNIST")


def test_an_outcome_reads_as_a_sentence():
    outcome = Claim("fig. 1", "sum", at_most(4.0)).check(5, "none", "of two numbers")
    assert str(outcome) == "FAIL  fig. 1: sum: 5, expected <= 4 (of two numbers)"
