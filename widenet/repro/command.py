"""The command line that all paper scripts share."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from widenet.repro import report
from widenet.repro.claim import Outcome, Verdict
from widenet.repro.figures import style
from widenet.repro.header import Header, read_header


@dataclass(frozen=True)
class Run:
    """How a script was asked to run."""

    header: Header
    out: Path  # where figures and result.json go
    seed: int
    quick: bool


Main = Callable[[Run], Iterator[Outcome]]


def run(main: Main, script: str, argv: Sequence[str] | None = None) -> int:
    """Run a paper script: `sys.exit(run(main, __file__))`.

    `main(run)` saves figures and yields an outcome a claim, each printed as it comes; then result.json is written.
    It goes to figures/KEY beside the script's folder, that of a quick run to figures/KEY/quick; `--out DIR` replaces
    either.  A quick run never replaces the result of a full one.
    Exit code: 0, or 1 if a claim failed; 2 for a wrong command.
    """
    asked = _parse(Path(script).resolve(), argv)
    size = "quick" if asked.quick else "full"
    print(f"{asked.header.title}\n{size} run, seed {asked.seed}, into {asked.out}", flush=True)
    begin = time.monotonic()
    with style():
        outcomes = tuple(_told(main(asked)))
    found = report.Report(asked.header, outcomes, asked.seed, asked.quick, time.monotonic() - begin)
    print(f"{found}; wrote {report.write(found, asked.out)}")
    return int(found.verdict is Verdict.FAIL)


def _told(outcomes: Iterator[Outcome]) -> Iterator[Outcome]:
    for outcome in outcomes:
        print(outcome, flush=True)
        yield outcome


def _parse(script: Path, argv: Sequence[str] | None) -> Run:
    header = read_header(script)
    parser = argparse.ArgumentParser(prog=script.name, description=f"{header.title} {header.claim}")
    parser.add_argument("--quick", action="store_true", help="a smaller run, within a minute")
    parser.add_argument("--out", type=Path, help="folder of figures and result.json (default: figures/KEY[/quick])")
    parser.add_argument("--seed", type=int, default=0, help="seed of all randomness (default: 0)")
    given = parser.parse_args(argv)
    home = script.parents[1] / "figures" / header.key
    out = given.out or (home / "quick" if given.quick else home)
    if given.quick and report.is_full(out):
        parser.error(f"{out} holds the result of a full run, which a quick one does not replace; give another --out.")
    return Run(header, out, given.seed, given.quick)
