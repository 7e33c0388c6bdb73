"""What a kernel will take, before anything runs: positions, covariances, memory and time (C6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from widenet.kernels.estimate import Needs, needs
from widenet.kernels.kernel import POINTS, check_options, layout_of, plan_of, program_of, uses_distance
from widenet.kernels.layout import Layout
from widenet.kernels.schedule import Mode, Pair, Stage
from widenet.memory import budget, in_words
from widenet.program.ops import Input, Repeat
from widenet.program.show import names
from widenet.program.trace import Net, Program
from widenet.program.var import Var
from widenet.program.var import describe as describe_var


class Row(NamedTuple):
    """One covariance, and the pairs of positions at which it is formed."""

    name: str
    made_by: str
    positions: tuple[int, ...]
    formed: str
    pairs: int


class Description(NamedTuple):
    """What `kernel(net)(x1, x2)` will do; printed, it is a table."""

    rows: tuple[Row, ...]
    samples: tuple[int, int]
    needs: Needs  # tiles, bytes, seconds on four cores
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        """The table."""
        cells = self._cells()
        sizes = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.ljust, row, sizes)).rstrip() for row in cells]
        (n1, n2), (rows, columns), result = self.samples, self.needs.tile, in_words(self.needs.result)
        return "\n".join(
            [
                *lines,
                "",
                f"tiles   {self.needs.tiles} of {rows} x {columns} samples, for {n1} x {n2}",
                f"memory  about {in_words(self.needs.memory)}, {result} of it the result in {self.dtype}; "
                f"{in_words(budget())} may be used",
                f"time    about {_duration(self.needs.seconds)} on four cores",
            ]
        )

    __repr__ = __str__

    def _cells(self) -> list[tuple[str, ...]]:
        header = ("covariance", "made by", "positions", "formed at")
        return [header, *((r.name, r.made_by, "x".join(map(str, r.positions)) or "-", r.formed) for r in self.rows)]


def describe(
    net: Net,
    shape1: Sequence[int],
    shape2: Sequence[int] | None = None,
    *,
    ntk: bool = True,
    positions: str | None = None,
    points: int = POINTS,
    dtype: Any = np.float64,
) -> Description:
    """What `kernel(net)(x1, x2)` will form and take, for data of these shapes; nothing is computed.

    A covariance between positions is formed at equal positions, at all pairs, or at those pairs that something further
    up reads (C6).  ntk: False for `nngp`.  Memory is a count of the numbers that the engine holds; time is entries
    times nanoseconds measured on four cores, without a GPU, good to a factor of about three.
    Raises: what `kernel` would.

    >>> import widenet as wn
    >>> net = wn.serial(wn.conv(3), wn.relu, wn.flatten(), wn.dense())
    >>> print(wn.describe(net, (100, 8, 8, 3)))  # doctest: +ELLIPSIS
    covariance  made by  positions  formed at
    x           input    8x8        data
    h1          conv     8x8        64 equal positions
    z1          relu     8x8        64 equal positions
    z2          flatten  -          1
    h2          dense    -          1
    <BLANKLINE>
    tiles   ...
    memory  about ...
    time    about ...
    """
    check_options(positions, points)
    dtype, same, shape1 = np.dtype(dtype), shape2 is None, tuple(shape1)
    shape2 = shape1 if shape2 is None else tuple(shape2)
    program = program_of(net, shape1, readout=positions is None)
    mode = Mode(ntk, uses_distance(program), points, variances=False)
    plan = plan_of(program, mode, layout_of(program, positions))
    samples = shape1[0], shape2[0]
    needed = needs(plan, mode, *samples, same, math.prod(shape1[1:]), dtype.itemsize)
    return Description(tuple(_rows(program, plan)), samples, needed, dtype)


def _rows(program: Program, plan: Any, depth: int = 0) -> list[Row]:
    called, made = names(program), []
    for stage in plan.stages:
        if stage.step.copies:
            within = _rows(program, stage.step.body(stage.at)._replace(stages=_carried(stage)))
            by_shifts = stage.step.body(stage.at).stages[-1].pair != stage.pair
            shifts = f", {stage.step.copies} shifts" if by_shifts else ""
            made += [row._replace(formed=row.formed + shifts) for row in within]
        made.append(_row(called, stage, depth))
        if isinstance(stage.pair.u.op, Repeat):
            made += _rows(stage.pair.u.op.body, stage.step.body(stage.at), depth + 1)
    return made


def _carried(stage: Stage) -> tuple[Stage, ...]:
    """What is carried out for each shift, without what is given."""
    given = {need.pair for need in stage.step.needs} | {stage.pair}
    return tuple(inner for inner in stage.step.body(stage.at).stages if inner.pair not in given)


def _row(called: dict[Var, str], stage: Stage, depth: int) -> Row:
    (u, v), indent = stage.pair, "  " * depth
    name = _name(stage.pair, called)
    label = u.op.label if v is None or v.op.label == u.op.label else f"{u.op.label}, {v.op.label}"
    formed = "data" if isinstance(u.op, Input) and not depth else _formed(stage.layout)
    return Row(indent + name, label, u.positions, formed, len(stage.layout))


def _name(pair: Pair, called: dict[Var, str]) -> str:
    u, v = (None if w is None else called.get(w, describe_var(w)) for w in pair)
    if v is None:
        return f"mean of {u}"
    return str(u) if pair.u is pair.v else f"{u}, {v}"


def _formed(layout: Layout) -> str:
    total = layout.sizes[0] * layout.sizes[1]
    if total == 1:
        return "1"
    if layout.is_equal:
        return f"{len(layout)} equal positions"
    return f"all {total} pairs" if layout.is_all else f"{len(layout)} of {total} pairs"


def _duration(seconds: float) -> str:
    if seconds < 1:
        return "a second"
    return (
        f"{seconds:.2g} s"
        if seconds < 100
        else f"{seconds / 60:.2g} min"
        if seconds < 6000
        else f"{seconds / 3600:.2g} h"
    )
