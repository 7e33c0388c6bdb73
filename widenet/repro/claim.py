"""Claims of a paper as data, and what became of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    """What a run can say about a claim."""

    PASS = "pass"
    FAIL = "fail"
    NOT_CHECKED = "not checked"


class Expected(NamedTuple):
    """The values that agree with a claim: from `value - below` to `value + above`."""

    value: float
    below: float
    above: float

    def __contains__(self, measured: object) -> bool:
        """Does `measured` agree?  What is not a number never does."""
        return isinstance(measured, float) and self.value - self.below <= measured <= self.value + self.above

    def __str__(self) -> str:
        if math.isinf(self.below):
            return f"<= {self.value:.4g}"
        if math.isinf(self.above):
            return f">= {self.value:.4g}"
        return f"{self.value:.4g} +- {self.below:.2g}"


def about(value: float, tolerance: float) -> Expected:
    """`value`, up to `tolerance` (absolute) on either side."""
    return Expected(value, tolerance, tolerance)


def at_most(value: float) -> Expected:
    """`value` or less."""
    return Expected(value, math.inf, 0.0)


def at_least(value: float) -> Expected:
    """`value` or more."""
    return Expected(value, 0.0, math.inf)


@dataclass(frozen=True)
class Claim:
    """One thing a paper says: where, what, and the number that would confirm it."""

    where: str
    text: str
    expected: Expected

    def check(self, measured: float, data: str = "", note: str = "") -> Outcome:
        """The claim held against a measurement made on `data`, if any."""
        return Outcome(self, float(measured), data, note)

    def skip(self, reason: str) -> Outcome:
        """The claim left open, and why: 'needs MNIST'."""
        return Outcome(self, None, "", reason)


@dataclass(frozen=True)
class Outcome:
    """What became of a claim."""

    claim: Claim
    measured: float | None  # None: not checked
    data: str
    note: str

    @property
    def verdict(self) -> Verdict:
        """Pass or fail; not checked where nothing was measured."""
        if self.measured is None:
            return Verdict.NOT_CHECKED
        return Verdict.PASS if self.measured in self.claim.expected else Verdict.FAIL

    def __str__(self) -> str:
        claim, note = f"{self.claim.where}: {self.claim.text}", f" ({self.note})" if self.note else ""
        if self.measured is None:
            return f"not checked: {self.note}  {claim}, expected {self.claim.expected}"
        return f"{self.verdict.upper()}  {claim}: {self.measured:.4g}, expected {self.claim.expected}{note}"
