"""The table and the figure."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks.pairs import SIDES, Row
from widenet.repro.files import write_whole

HEADER = """# widenet and neural-tangents

{machine}

ours: {ours}. theirs: {theirs}.

Both sides of a row are processes of their own that take turns; times and memory are medians and peaks of the runs.
Compile time is the first call less a run; memory is the peak beyond what was resident after imports and data. Ratios
are theirs over ours: of run times the median over the pairs of runs. Times are per entry of the kernel where the sides
were given different numbers of samples. Ours is called with numpy arrays, as in the README ([ours.py](../ours.py)).
Theirs is called as it is fastest ([peer.py](../peer.py)): kernels and predictions are one `jit` each, deep networks its
compiled loop, data on the device. To the limit: run time over the time that the minimal work takes at
the rates of matrix products and of copying measured before the row ([machine.py](../machine.py)). Difference: the
largest of ours minus theirs, over the largest entry; in float32 also ours and theirs, each against theirs in
float64. Random networks differ by chance.

"""
COLUMNS = (
    "workload | data | dtype | run: ours | theirs | ratio | compile: ours | theirs | ratio | "
    "MB: ours | theirs | ratio | to the limit: ours | theirs | difference | pairs"
)
PANELS = (("runs_ratio", "run time"), ("compile_ratio", "compile time"), ("megabytes_ratio", "peak memory"))


def write(folder: Path, machine: dict[str, str], rows: dict[str, Row]) -> None:
    """Put results.json, table.md and figure.png into a folder."""
    kept = {"machine": machine, "rows": rows}
    write_whole(folder / "results.json", (json.dumps(kept, indent=1) + "\n").encode())
    write_whole(
        folder / "table.md",
        (HEADER.format(machine=", ".join(machine.values()), **versions(rows)) + table(rows)).encode(),
    )
    write_whole(folder / "figure.png", figure(rows))


def read(folder: Path, machine: dict[str, str]) -> dict[str, Row]:
    """The rows of earlier runs on the same machine."""
    path = folder / "results.json"
    kept = json.loads(path.read_text()) if path.exists() else {}
    return kept["rows"] if kept.get("machine") == machine else {}


def versions(rows: dict[str, Row]) -> dict[str, str]:
    """What each side was, in words."""
    said: dict[str, str] = {}
    for side in SIDES:
        seen = {
            ", ".join(f"{k} {v}" for k, v in row[side]["versions"].items()): None
            for row in rows.values()
            if side in row
        }
        said[side] = "; ".join(seen) or "not run"
    return said


def table(rows: dict[str, Row]) -> str:
    """The rows in markdown, and below why cells are empty."""
    lines = [f"| {COLUMNS} |", "|" + " --- |" * (COLUMNS.count("|") + 1)]
    lines += [f"| {' | '.join(cells(row))} |" for row in rows.values()]
    reasons = [f"- {name}: {side}: {reason}" for name, row in rows.items() for side, reason in row["failed"].items()]
    return "\n".join([*lines, *([""] if reasons else []), *reasons]) + "\n"


def cells(row: Row) -> list[str]:
    """One row of the table."""
    n = row["n"]
    per_entry = n["ours"] != n["theirs"]
    count = f"{n['ours']}, {n['theirs']}" if per_entry else str(n["ours"])
    shape = "x".join(map(str, row["shape"]))

    def both(key: str, show: Any) -> list[str]:
        return [show(row[side][key]) if row.get(side) and row[side][key] is not None else "" for side in SIDES]

    def run(side: str) -> str:
        if side not in row:
            return ""
        return f"{time(row[side]['run'] / n[side] ** 2)}/entry" if per_entry else time(row[side]["run"])

    return [
        *(row["title"], f"{count} of {shape}", row["dtype"]),
        *(*map(run, SIDES), times(row.get("runs_ratio"))),
        *(*both("compile", time), times(row.get("compile_ratio"))),
        *(*both("megabytes", number), times(row.get("megabytes_ratio"))),
        *both("over_limit", times),
        errors(row),
        str(max((row[side]["runs"] for side in SIDES if side in row), default="")),
    ]


def errors(row: Row) -> str:
    """The difference of the sides, and of each from more precise arrays."""
    if "difference" not in row:
        return ""
    from_precise = [row[side]["error"] for side in SIDES]
    more = "" if None in from_precise else " ({:.0e}, {:.0e})".format(*from_precise)
    return f"{row['difference']:.0e}{more}"


def number(value: float) -> str:
    """Two digits, or all before the point."""
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def times(value: float | None) -> str:
    """A ratio."""
    return "" if value is None else f"{number(value)}x"


def time(seconds: float) -> str:
    """Seconds in a readable unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds / 1e-6)} us"


def figure(rows: dict[str, Row]) -> bytes:
    """Ratios of run time, compile time and memory, and the distances to the limit, as a PNG."""
    names = list(dict.fromkeys(name.rsplit(" ", 1)[0] for name in rows))
    figure = Figure(figsize=(15, 1.5 + 0.34 * len(names)), layout="constrained")
    axes = figure.subplots(1, 4, sharey=True)
    for ax, (key, title) in zip(axes, PANELS, strict=False):
        for i, dtype in enumerate(("float32", "float64")):
            values = [rows.get(f"{name} {dtype}", {}).get(key) or np.nan for name in names]
            ax.barh(np.arange(len(names)) + 0.36 * i - 0.18, np.array(values) - 1, 0.34, left=1, label=dtype)
        ax.axvline(1, color="black", linewidth=1)
        ax.set(title=f"{title}: theirs / ours", xscale="log")
    for i, dtype in enumerate(("float32", "float64")):
        for side, marker in zip(SIDES, "o^", strict=True):
            values = [(rows.get(f"{name} {dtype}", {}).get(side) or {}).get("over_limit") or np.nan for name in names]
            place = np.arange(len(names)) + 0.36 * i - 0.18
            axes[3].plot(values, place, marker, color=f"C{i}", markersize=5, label=f"{side}, {dtype}")
    axes[3].set(title="run time / minimal work", xscale="log")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    for ax in axes:
        ax.grid(axis="x", alpha=0.3)
        ax.xaxis.set_minor_formatter("")  # labels of minor ticks overlap
    for ax in axes[[0, 3]]:
        ax.legend(fontsize=7)
    file = io.BytesIO()
    figure.savefig(file, dpi=110)
    return file.getvalue()
