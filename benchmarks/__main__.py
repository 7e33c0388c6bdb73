"""`python -m benchmarks [NAME...]`: time workloads of ours and of the peer, and write the table and the figure."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from benchmarks import report
from benchmarks.machine import described
from benchmarks.pairs import QUICK, Effort, Job, Row, Sides, measure
from benchmarks.side import ROOT
from benchmarks.workloads import WORKLOADS

VARIABLE = "WIDENET_PEER_PYTHON"
PEER = ROOT / ".venv" / "peer" / "bin" / "python"  # where `make bench` makes it
RESULTS = ROOT / "benchmarks" / "results"
DTYPES = ("float64", "float32")  # float64 first: float32 is compared with it
KEYS = [f"{name} {dtype}" for name in WORKLOADS for dtype in DTYPES]  # the order of the table


def main(arguments: list[str] | None = None) -> int:
    """Run the workloads that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of: {', '.join(WORKLOADS)}")
    parser.add_argument("--quick", action="store_true", help="few samples of everything, in float64, no limits")
    parser.add_argument("--against", choices=("peer", "ours"), default="peer", help="the other side")
    parser.add_argument("--out", type=Path, help=f"folder to write; {RESULTS.relative_to(ROOT)}, or none with --quick")
    parser.add_argument("--limit", type=float, help="seconds that one process may live")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(WORKLOADS):
        parser.error(f"no workload {', '.join(sorted(unknown))}; there are {', '.join(WORKLOADS)}")
    effort = QUICK if options.quick else Effort()
    if options.limit:
        effort = Effort(options.limit, effort.budget, effort.least, effort.most)
    out = options.out or (None if options.quick else RESULTS)
    machine = described()
    rows = report.read(out, machine) if out else {}
    for name, row in timed(options.names or WORKLOADS, sides(options.against), effort, options.quick):
        rows = {key: (rows | {name: row})[key] for key in KEYS if key in rows or key == name}
        if out:
            report.write(out, machine, rows)
    print(report.table(rows))
    return 0


def sides(against: str) -> Sides:
    """The module and the interpreter of ours and, where there is one, of theirs."""
    ours = ("ours", sys.executable)
    if against == "ours":
        return {"ours": ours, "theirs": ours}
    python = os.environ.get(VARIABLE) or (str(PEER) if PEER.exists() else None)
    if python is None:
        say(f"only ours is timed: no peer in {VARIABLE} or {PEER}; benchmarks/make_peer.sh makes one")
        return {"ours": ours}
    return {"ours": ours, "theirs": ("peer", python)}


def timed(names: Collection[str], modules: Sides, effort: Effort, quick: bool) -> Iterator[tuple[str, Row]]:
    """Yield each row with its name, saying how far we are."""
    jobs = [(name, dtype) for name in names for dtype in (DTYPES[:1] if quick else DTYPES)]
    begin, precise = time.monotonic(), None
    for i, (name, dtype) in enumerate(jobs, start=1):
        say(f"[{i}/{len(jobs)}, {time.monotonic() - begin:.0f} s] {name} {dtype}")
        reference = precise if dtype == "float32" else None
        row, precise = measure(Job(WORKLOADS[name], dtype, quick), modules, effort, reference)
        say(f"    {summary(row)}")
        yield f"{name} {dtype}", row


def summary(row: Row) -> str:
    """A row in a few words."""
    parts = [f"{side} {report.time(row[side]['run'])}" for side in ("ours", "theirs") if side in row]
    if "difference" in row:
        parts += [f"ratio {report.times(row['runs_ratio'])}", f"difference {report.errors(row)}"]
    return ", ".join(parts + [f"{side}: {reason}" for side, reason in row["failed"].items()])


def say(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
