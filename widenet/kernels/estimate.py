"""What a plan will take: numbers held at once, and time.  Nothing is computed (C6).

The time of a step is the number of entries that it makes times what one entry takes, measured on four cores in
float64; good to a factor of about three.
"""

from __future__ import annotations

import math
from functools import singledispatch
from typing import NamedTuple

from widenet.activations.activation import Activation
from widenet.kernels.joint import CHUNK
from widenet.kernels.layout import Layout
from widenet.kernels.schedule import Mode, Pair, Plan, Stage, positions
from widenet.kernels.tiles import LANES, THREADS, places, tile_shape
from widenet.memory import VARIABLE, budget, in_words
from widenet.program.ops import (
    Attend,
    Conv,
    Embed,
    Heads,
    Input,
    Linear,
    Mix,
    Nonlin,
    Op,
    Product,
    Repeat,
    SampleMix,
)
from widenet.program.var import Var

NANOSECONDS = 1e-9
AT_ONCE = 2**16  # numbers of a covariance by shifts that are computed together
FLOP = 0.02  # nanoseconds of a multiplication and an addition in a matrix product
PASS = 3.0  # nanoseconds that an entry takes where it is only scaled or added
COMPILE = 0.12  # seconds for each distinct step
HEADS_CHUNK = 16  # points that attention with random scores holds at a time


class Cost(NamedTuple):
    """What a plan takes for n1 and n2 samples."""

    numbers: float  # the most that are held at a time
    seconds: float  # of computation
    compiled: int  # distinct steps


class Needs(NamedTuple):
    """What a kernel of many samples takes."""

    tile: tuple[int, int]  # samples of x1 and of x2
    tiles: int
    memory: float  # bytes at the peak
    result: float  # of these, the result
    seconds: float


def needs(plan: Plan, mode: Mode, n1: int, n2: int, symmetric: bool, features: int, itemsize: int) -> Needs:
    """Memory and time of the kernel of n1 with n2 samples of so many numbers each.

    Tiles are as large as a cache likes, or smaller where memory is short; there is one in each thread.
    """
    result = n1 * n2 * len(plan.stages[-1].layout) * (1 + mode.ntk)
    allowed = budget() / itemsize
    tile = tile_shape(entries(plan, mode), n1, n2, symmetric, 1 if by_shifts(plan) else LANES)
    while (at_once := _at_once(plan, mode, tile, n1, n2, features)) > allowed - result and max(tile) > 1:
        tile = (tile[0] + 1) // 2, (tile[1] + 1) // 2
    tiles = sum(1 for _ in places(n1, n2, tile, symmetric))
    once = cost(plan, mode, *tile, features)
    seconds = tiles * once.seconds + COMPILE * once.compiled
    return Needs(tile, tiles, (at_once + result) * itemsize, result * itemsize, seconds)


def _at_once(plan: Plan, mode: Mode, tile: tuple[int, int], n1: int, n2: int, features: int) -> float:
    """Numbers in the tiles that are computed at the same time."""
    count = min(THREADS, math.ceil(n1 / tile[0]) * math.ceil(n2 / tile[1]))
    return count * cost(plan, mode, *tile, features).numbers


def check_memory(needed: Needs, n1: int, n2: int) -> None:
    """Raise a MemoryError that says what would fit, if this does not."""
    allowed, tiles, (rows, columns) = budget(), needed.memory - needed.result, needed.tile
    if needed.memory <= allowed:
        return
    remedy = "pool or stride earlier, or end in flatten (`describe` says what is formed at which positions)"
    if needed.result > tiles:
        remedy = "compute it in parts, kernel(net)(x1[i:j], x2), and keep them on disk"
    raise MemoryError(
        f"the kernel of {n1} x {n2} samples would take about {in_words(needed.memory)} "
        f"({in_words(needed.result)} for the result, {in_words(tiles)} for tiles of {rows} x {columns}), "
        f"and {in_words(allowed)} may be used: {remedy}; float32 takes half as much, and {VARIABLE}=64GB, say, "
        "allows more."
    )


def cost(plan: Plan, mode: Mode, n1: int, n2: int, features: int) -> Cost:
    """The cost of carrying out `plan` once, on data with so many numbers a sample."""
    last = {need.pair: i for i, stage in enumerate(plan.stages) for need in stage.step.needs}
    live: dict[Pair, float] = {}
    peak, seconds, seen = 0.0, 0.0, set()
    for i, stage in enumerate(plan.stages):
        size = (
            features * (n1 + n2) if isinstance(stage.pair.u.op, Input) else held(stage.pair, stage.layout, mode, n1, n2)
        )
        inner = _inside(stage, mode, n1, n2)
        copies = sum(
            held(need.pair, want.between, mode, n1, n2)
            for need, want in zip(stage.step.needs, stage.wants, strict=True)
            if want != plan.places[need.pair]
        )
        live[stage.pair] = size
        peak = max(peak, sum(live.values()) + copies + max(inner.numbers, size + scratch(stage, mode, n1, n2)))
        seconds += inner.seconds + _seconds(stage, plan, mode, n1, n2, features)
        seen.add((type(stage.pair.u.op), stage.layout, getattr(stage.pair.u.op, "phi", None)))
        for need in stage.step.needs:
            if last[need.pair] == i:
                live.pop(need.pair, None)
    return Cost(peak, seconds, len(seen))


def entries(plan: Plan, mode: Mode) -> float:
    """The numbers that the widest stage holds for a pair of samples: what the size of tiles is chosen by."""
    return max(_entries(stage, mode) for stage in plan.stages)


def _entries(stage: Stage, mode: Mode) -> float:
    if isinstance(stage.pair.u.op, Input):
        return positions(stage.pair.u)
    inner = 0.0 if stage.step.body is None else entries(stage.step.body(stage.at), mode)
    if stage.step.copies:  # as many as the cache likes, of at most 64 pairs of samples
        inner = max(4 * inner, 4096)
    return max(inner, len(stage.layout) * (1 + CHUNK * _integrated(stage)))


def by_shifts(plan: Plan) -> bool:
    """Are there many shifted copies of each sample of x2 side by side?"""
    return any(stage.step.copies for stage in plan.stages)


def _integrated(stage: Stage) -> int:
    """Numbers a point that are held for an entry of an integral over several variables."""
    return 4 * stage.step.integrates


def held(pair: Pair, layout: Layout, mode: Mode, n1: int, n2: int) -> float:
    """Numbers in a covariance, or in a mean."""
    if pair.v is None:
        return positions(pair.u) * (n1 + n2)
    return len(layout) * ((1 + mode.ntk) * n1 * n2 + n1 + n2)


def scratch(stage: Stage, mode: Mode, n1: int, n2: int) -> float:
    """Numbers that a step holds beside its arguments and its result."""
    if isinstance(stage.pair.u.op, Heads):
        p, q = (positions(x) for x in stage.pair.u.args)
        return HEADS_CHUNK * (8 * p * q + 8 * p * max(p, q))
    return held(stage.pair, stage.layout, mode, n1, n2) + len(stage.layout) * n1 * n2 * CHUNK * _integrated(stage)


def _inside(stage: Stage, mode: Mode, n1: int, n2: int) -> Cost:
    """The cost of all copies of a repeated block."""
    op = stage.pair.u.op
    if stage.step.body is None:
        return Cost(0, 0, 0)
    body = stage.step.body(stage.at)
    if isinstance(op, Repeat):
        once = cost(body, mode, n1, n2, 0)
        return Cost(once.numbers, op.times * once.seconds, once.compiled)
    if body.stages[-1].pair == stage.pair:  # without shifts
        return cost(body, mode, n1, n2, 0)
    at_once = int(min(stage.step.copies, max(1, AT_ONCE // (entries(body, mode) * n1 * n2))))
    once = cost(body, mode, n1, n2 * at_once, 0)
    return Cost(once.numbers, stage.step.copies / at_once * once.seconds, once.compiled)


def _seconds(stage: Stage, plan: Plan, mode: Mode, n1: int, n2: int, features: int) -> float:
    u, v = stage.pair
    if v is None:
        return 0.0
    if stage.step.integrates:
        each = mode.points * (10.0 * stage.step.integrates + 0.05 * stage.step.integrates**2)
    else:
        made_by = u.op if isinstance(u.op, Product) or v is u else v.op
        each = max(_nanoseconds(op, plan, stage.layout, w, mode) for op, w in {(u.op, u), (made_by, v)})
    if any(isinstance(w.op, (Linear, Embed)) and w.args and isinstance(w.args[0].op, Input) for w in (u, v)):
        each += FLOP * features / positions(u.args[0])
    return each * len(stage.layout) * n1 * n2 * NANOSECONDS


@singledispatch
def _nanoseconds(op: Op, plan: Plan, layout: Layout, var: Var, mode: Mode) -> float:
    """What an entry of a covariance takes, by the primitive that makes it."""
    return PASS


@_nanoseconds.register
def _nonlin(op: Nonlin, plan: Plan, layout: Layout, var: Var, mode: Mode) -> float:
    phi: Activation = op.phi
    if phi.distance is not None:
        return 1.2
    if phi.closed is not None:
        return 45.0
    return 35000.0 if phi.breakpoints else 500.0


@_nanoseconds.register
def _conv(op: Conv, plan: Plan, layout: Layout, var: Var, mode: Mode) -> float:
    if isinstance(var.args[0].op, Input):
        return FLOP * op.window.taps * var.args[0].channels.count(0) + 2.0
    return 20.0 + 5.0 * op.window.taps if layout.kind in ("grid", "some") else 0.5 + 0.25 * sum(op.window.sizes)


@_nanoseconds.register(Mix)
@_nanoseconds.register(SampleMix)
def _mix(op: Mix | SampleMix, plan: Plan, layout: Layout, var: Var, mode: Mode) -> float:
    before = [at.between for pair, at in plan.places.items() if var.args[0] in pair]
    return PASS * max((len(at) for at in before), default=1) / len(layout)


@_nanoseconds.register
def _attend(op: Attend, plan: Plan, layout: Layout, var: Var, mode: Mode) -> float:
    return 20.0 + 10 * FLOP * positions(var.args[0])


@_nanoseconds.register
def _heads(op: Heads, plan: Plan, layout: Layout, var: Var, mode: Mode) -> float:
    p, q = (positions(x) for x in var.args)
    if op.weights == "identity" and not (op.causal or op.masked):
        return 5.0 * q * q / math.sqrt(len(layout))
    return mode.points * 30 * FLOP * q * max(p, q) ** 2 / len(layout)
