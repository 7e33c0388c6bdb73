"""One row: both sides of a workload take turns, and their times, memory and results are compared."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.machine import limit
from benchmarks.side import ROOT, Failed, Side, start
from benchmarks.workloads import Workload, arrays

Row = dict[str, Any]
Arrays = list[np.ndarray]
Sides = dict[str, tuple[str, str]]  # ours and theirs -> module of this package, interpreter
LEAST_SECONDS, LEAST_MEGABYTES = 1e-3, 1.0  # below, a ratio says nothing


@dataclass(frozen=True)
class Effort:
    """How long one row may take."""

    limit: float = 900.0  # seconds that one process may live
    budget: float = 25.0  # seconds of alternating runs ...
    least: int = 3  # ... but no fewer runs than these,
    most: int = 11  # and no more

    def runs(self, seconds: float) -> int:
        """How many runs of both sides fit, if one run of both takes so long."""
        return min(max(int(self.budget / seconds), self.least), self.most)


QUICK = Effort(limit=60, budget=0.5, least=1, most=3)


@dataclass(frozen=True)
class Job:
    """A workload in one precision, with the samples that ours and theirs are given."""

    workload: Workload
    dtype: str
    quick: bool

    @property
    def sizes(self) -> dict[str, int]:
        """The samples of ours and of theirs."""
        w = self.workload
        return dict.fromkeys(SIDES, w.quick) if self.quick else {"ours": w.n, "theirs": w.n_peer or w.n}

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample."""
        return (self.quick and self.workload.shape_quick) or self.workload.shape

    def write(self, folder: Path, n: int) -> None:
        """What a process of child.py reads."""
        w = self.workload
        option = w.option_quick if self.quick and w.option_quick is not None else w.option
        folder.joinpath("job.json").write_text(json.dumps({"net": w.net, "reading": w.reading, "option": option}))
        for name, array in arrays(w, self.shape, n, self.dtype).items():
            np.save(folder / f"{name}.npy", array)


SIDES = ("ours", "theirs")


def measure(job: Job, modules: Sides, effort: Effort, reference: Arrays | None = None) -> tuple[Row, Arrays | None]:
    """The row of a job, and the arrays of theirs.

    reference: more precise arrays to compare both sides with.
    """
    failed = {"theirs": job.workload.ours_only} if job.workload.ours_only else {}
    rates = None if job.quick else rates_now()
    with tempfile.TemporaryDirectory() as folder:
        sides: dict[str, Side] = {}
        try:
            for name, (module, python) in modules.items():
                if name not in failed:
                    place = Path(folder, name)
                    place.mkdir()
                    job.write(place, job.sizes[name])
                    sides[name] = start(module, python, place, job.dtype, effort.limit)
            made = take_turns(sides, effort, failed)
        except ModuleNotFoundError as error:  # of the data
            made, failed["ours"] = {}, str(error)
        finally:
            for side in sides.values():
                side.close()
    return row_of(job, sides, made, failed, reference, rates), made.get("theirs")


def take_turns(sides: dict[str, Side], effort: Effort, failed: dict[str, str]) -> dict[str, Arrays]:
    """Run the sides by turns and return their arrays.  One that fails is out, with its reason in `failed`."""

    def turn(act: Any) -> dict[str, Any]:
        done = {}
        for name, side in sides.items():
            if name not in failed:
                try:
                    done[name] = act(side)
                except Failed as reason:
                    failed[name] = str(reason)
        return done

    turn(Side.begin)
    turn(Side.run)
    together = sum(turn(Side.run).values())
    for _ in range(effort.runs(max(together, LEAST_SECONDS)) - 1):
        turn(Side.run)
    return turn(Side.save)


def row_of(
    job: Job,
    sides: dict[str, Side],
    made: dict[str, Arrays],
    failed: dict[str, str],
    reference: Arrays | None,
    rates: dict[str, float] | None,
) -> Row:
    """Everything that the table says of a job."""
    row: Row = {"title": job.workload.title, "shape": job.shape, "dtype": job.dtype, "n": job.sizes}
    row |= {"failed": failed, "rates": rates}
    for name in made:
        side, n = sides[name], job.sizes[name]
        run = median(side.seconds)
        row[name] = {
            "run": run,
            "compile": max(side.first - run, 0.0),
            "megabytes": side.megabytes,
            "runs": len(side.seconds),
            "versions": side.versions,
            "over_limit": rates and run / limit(job.workload.work, n, job.dtype, rates),
            "error": None if reference is None else difference(made[name], reference),
        }
    if len(made) == 2:
        ours, theirs = (sides[name] for name in SIDES)
        entries = (job.sizes["ours"] / job.sizes["theirs"]) ** 2
        row["runs_ratio"] = entries * median(b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True))
        row["compile_ratio"] = ratio(row, "compile", LEAST_SECONDS)
        row["megabytes_ratio"] = ratio(row, "megabytes", LEAST_MEGABYTES) if entries == 1 else None
        row["difference"] = difference(made["ours"], made["theirs"])
    return row


def ratio(row: Row, key: str, least: float) -> float:
    """Theirs over ours."""
    ours, theirs = (max(row[name][key], least) for name in SIDES)
    return theirs / ours


def difference(made: Arrays, expected: Arrays) -> float:
    """The largest difference over the largest entry; the first samples are compared if there are more in one."""
    if [a.ndim for a in made] != [b.ndim for b in expected]:
        return float("inf")
    worst = []
    for a, b in zip(made, expected, strict=True):
        common = tuple(slice(min(sizes)) for sizes in zip(a.shape, b.shape, strict=True))
        a, b = a[common], b[common]
        worst.append(np.abs(a - b).max() / np.abs(b).max())
    return float(np.max(worst)) if np.isfinite(worst).all() else float("inf")


def rates_now() -> dict[str, float]:
    """What the machine does at this moment; see machine.py."""
    command = [sys.executable, "-m", "benchmarks.machine"]
    return json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
