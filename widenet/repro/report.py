"""What a run of a paper script found: result.json."""

from __future__ import annotations

import json
import math
import os
import platform
from collections import Counter
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import widenet
from widenet.repro.claim import Outcome, Verdict
from widenet.repro.files import write_whole
from widenet.repro.header import Header

RESULT = "result.json"


@dataclass(frozen=True)
class Report:
    """All outcomes of one run, and how it was made."""

    header: Header
    outcomes: tuple[Outcome, ...]
    seed: int
    quick: bool
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """Fail if a claim failed, pass if those that were checked passed, not checked if none was."""
        found = {outcome.verdict for outcome in self.outcomes}
        return next((verdict for verdict in (Verdict.FAIL, Verdict.PASS) if verdict in found), Verdict.NOT_CHECKED)

    def __str__(self) -> str:
        counts = Counter(outcome.verdict for outcome in self.outcomes)
        verdicts = ", ".join(f"{counts[verdict]} {verdict}" for verdict in Verdict)
        return f"{self.header.key}: {verdicts}; {self.seconds:.0f} s"


def write(report: Report, folder: Path) -> Path:
    """Write `report` to result.json in `folder`, whole or not at all."""
    path = folder / RESULT
    write_whole(path, (json.dumps(as_json(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
    return path


def is_full(folder: Path) -> bool:
    """Does `folder` hold the result of a full run?"""
    path = folder / RESULT
    return path.exists() and json.loads(path.read_text("utf-8"))["run"] == "full"


def as_json(report: Report) -> dict[str, Any]:
    """The report as JSON has it; a tolerance that is null is unbounded on that side."""
    return {
        "key": report.header.key,
        "title": report.header.title,
        "paper": report.header.paper,
        "run": "quick" if report.quick else "full",
        "verdict": str(report.verdict),
        "claims": [_claim(outcome) for outcome in report.outcomes],
        "data": sorted({outcome.data for outcome in report.outcomes} - {""}),
        "seed": report.seed,
        "seconds": round(report.seconds, 1),
        "cores": os.cpu_count(),
        "versions": versions(),
    }


def _claim(outcome: Outcome) -> dict[str, Any]:
    claim = outcome.claim
    return {
        "where": claim.where,
        "claim": claim.text,
        "expected": claim.expected.value,
        "tolerance": {"below": _number(claim.expected.below), "above": _number(claim.expected.above)},
        "measured": None if outcome.measured is None else _number(outcome.measured),
        "verdict": str(outcome.verdict),
        "data": outcome.data,
        "note": outcome.note,
    }


def _number(x: float) -> float | None:
    return x if math.isfinite(x) else None


def versions() -> dict[str, str]:
    """The versions that a number may depend on."""
    installed = {name: metadata.version(name) for name in ("jax", "numpy")}
    return {"python": platform.python_version(), **installed, "widenet": widenet.__version__}
