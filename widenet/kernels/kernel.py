"""The kernel reading: NNGP and NTK of an architecture, in closed form at infinite width."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import widenet.kernels.distance_positions
import widenet.kernels.heads
import widenet.kernels.products  # noqa: F401 - these three register their rules
from widenet import checks
from widenet.kernels.covariance import Data, between
from widenet.kernels.distance import rule
from widenet.kernels.estimate import check_memory, needs
from widenet.kernels.inputs import covariance_of
from widenet.kernels.joint import CHUNK
from widenet.kernels.layout import Layout, equal, every
from widenet.kernels.schedule import Context, Mode, Pair, Places, Plan, Planner, carry_out, positions
from widenet.kernels.tiles import in_tiles
from widenet.precision import float64
from widenet.program.ops import BatchNorm, Embed, Nonlin, Repeat
from widenet.program.rewrite import unroll_bypassed
from widenet.program.runs import find_runs
from widenet.program.samples import Samples, checked, features_of, is_traced
from widenet.program.structure import Structure, numbers_of
from widenet.program.trace import Net, Program, trace
from widenet.program.var import describe, shape_text

POINTS = 4096  # of quasi-Monte Carlo
COMPILED = 64  # architectures whose compiled code is kept; a process has room for some thousands of functions


class Kernel(NamedTuple):
    """The kernels of an architecture; a field that was not asked for is None."""

    nngp: Any  # [n1, n2]: covariance of the outputs of the random network
    ntk: Any  # [n1, n2]: inner products of its parameter gradients


def kernel(net: Net, *, positions: str | None = None, points: int = POINTS, scramble: int = 0) -> Callable[..., Kernel]:
    """NNGP and NTK of `net` at infinite width: `kernel(net)(x1, x2=None).nngp`, `.ntk`.

    K(x1, x2) = lim E f(x1) f(x2),  Theta(x1, x2) = lim sum_parameters df(x1) df(x2)        (K1)-(K3)

    Shapes: x1 `[n1, *positions, d]`, x2 `[n2, *positions, d]` to `[n1, n2]`, per output channel.  x2=None is
    x1 with itself: half the work, and an exact diagonal.  Data may be `samples` with masks or graphs.
    positions: for a net whose output keeps positions P, "equal" gives `[n1, n2, *P]` and "all" `[n1, n2, *P, *P]`.
    points, scramble: of the quasi-Monte Carlo that takes the place of a closed form where gates are dependent or
    softmax attention has infinitely many heads (G2), (A3); `kernel_error` states its error.
    dtype: that of the inputs; numpy float64 in, numpy float64 out, whatever jax's configuration.  Lists and
    integers are taken as float64.  Traced inputs work inside jit, vmap and grad.
    Raises: ValueError for inputs that are not finite or do not fit each other, and for an architecture whose output
    still has positions if `positions` is not given.
    Source: jacot2018, thm. 1; yang2019, thm. 3.1.

    >>> import numpy as np, widenet as wn
    >>> k = wn.kernel(wn.serial(wn.dense(), wn.relu, wn.dense()))(np.eye(2))
    >>> k.nngp.round(4)
    array([[0.25  , 0.0796],
           [0.0796, 0.25  ]])
    """
    return _reading(net, ntk=True, positions=positions, points=points, scramble=scramble)


def nngp(net: Net, **options: Any) -> Callable[..., Any]:
    """The NNGP kernel alone, `[n1, n2]`; see `kernel`."""
    return lambda x1, x2=None: _reading(net, ntk=False, **options)(x1, x2).nngp


def ntk(net: Net, **options: Any) -> Callable[..., Any]:
    """The neural tangent kernel alone, `[n1, n2]`; see `kernel`."""
    return lambda x1, x2=None: _reading(net, ntk=True, **options)(x1, x2).ntk


def kernel_error(net: Net, *, scrambles: int = 4, points: int = POINTS) -> Callable[..., Kernel]:
    """The standard error of what `kernel` integrates numerically, from independent random shifts of its points.

    `kernel_error(net)(x1, x2)` has the shapes of `kernel(net)(x1, x2)`, and is zero where all is closed form.
    error = std over m scrambles / sqrt(m) of kernels with `points` points each; `kernel` takes one of these (G2).
    """

    def error_fn(x1: Any, x2: Any = None) -> Kernel:
        made = [kernel(net, points=points, scramble=i)(x1, x2) for i in range(scrambles)]
        return Kernel(
            *(np.std(np.stack(part), axis=0, ddof=1) / np.sqrt(scrambles) for part in zip(*made, strict=True))
        )

    return error_fn


def _reading(
    net: Net, ntk: bool, positions: str | None = None, points: int = POINTS, scramble: int = 0
) -> Callable[..., Kernel]:
    check_options(positions, points)

    def kernel_fn(x1: Any, x2: Any = None) -> Kernel:
        x1 = checked(x1, "x1")
        if x2 is not None:
            x2 = checked(x2, "x2")
            checks.same_features(x1, x2)
        program = program_of(net, x1.shape, readout=positions is None)
        check_tokens(program, x1, x2)
        layout = layout_of(program, positions)
        numbers, structure = numbers_of(program), Structure(program)

        def shaped(part: Any) -> Any:
            return None if part is None else part.reshape(*part.shape[:2], *out_shape(program, positions))

        task = Task(structure, Mode(ntk, uses_distance(program), points, scramble, variances=False), layout)
        if any(map(is_traced, (x1, x2, *numbers))):
            return Kernel(*map(shaped, traced_entries(task, numbers, x1, x2)))
        with float64() if isinstance(features_of(x1), np.ndarray) else nullcontext():
            plan = plan_of(program, task.mode, layout)
            sizes = x1.shape[0], (x1 if x2 is None else x2).shape[0]
            size = math.prod(x1.shape[1:]), features_of(x1).dtype.itemsize
            needed = needs(plan, task.mode, *sizes, x2 is None, *size)
            check_memory(needed, *sizes)
            compute = partial(compiled(task), numbers)
            parts = in_tiles(compute, x1, x2, needed.tile, partial(_mirror, layout), tiles_of(task))
            return Kernel(*map(shaped, parts))

    return kernel_fn


class Task(NamedTuple):
    """A kernel to be computed, apart from numbers: equal tasks share compiled code."""

    structure: Structure
    mode: Mode
    layout: Layout


def entries_of(task: Task, numbers: Sequence[Any], x1: Any, x2: Any, own: Array | None) -> tuple[Array | None, ...]:
    """NNGP and NTK `[n1, n2, L]`: the recursion itself, which can be traced.  own: as in `Context`."""
    program, layout = task.structure.program(numbers), task.layout
    plan = plan_of(program, task.mode, layout)
    made = covariance(program, x1, x2, task.mode, plan, own)
    return tuple(None if part is None else jnp.moveaxis(part, 0, -1) for part in made)


@lru_cache(maxsize=COMPILED)
def compiled(task: Task) -> Callable[..., tuple[Array | None, ...]]:
    """`entries_of` a task as one compiled function; the least recently used ones are forgotten."""
    return jax.jit(partial(entries_of, task))


@lru_cache(maxsize=COMPILED)
def tiles_of(task: Task) -> dict[Any, Any]:
    """What the tiles of a task look like that have been made: see `in_tiles`."""
    return {}


def traced_entries(task: Task, numbers: Sequence[Any], x1: Any, x2: Any) -> tuple[Array | None, ...]:
    """The same inside somebody's jit, grad or vmap; symmetric for x2=None, where the numerical error may not be."""
    if x2 is not None:
        return entries_of(task, numbers, x1, x2, None)
    n = x1.shape[0]
    made = entries_of(task, numbers, x1, x1, jnp.eye(n, dtype=bool))
    below = np.tril(np.ones((n, n), bool), -1)[..., None]
    return tuple(None if part is None else jnp.where(below, _mirror(task.layout, part), part) for part in made)


def _mirror(layout: Layout, block: Any) -> Any:
    """Entries `[n1, n2, L]` with x1 and x2, and their positions, exchanged."""
    swapped = block.swapaxes(0, 1)
    if layout.is_equal:
        return swapped
    return swapped.reshape(*swapped.shape[:2], *layout.sizes).swapaxes(2, 3).reshape(swapped.shape)


def out_shape(program: Program, kind: str | None) -> tuple[int, ...]:
    """Axes of the kernel behind those of samples."""
    return {None: (), "equal": program.output.positions, "all": program.output.positions * 2}[kind]


def check_options(positions: str | None, points: int) -> None:
    """Raise a ValueError for options that `kernel` does not know."""
    if positions not in (None, "equal", "all"):
        raise ValueError(f"positions must be None (a net with a readout), 'equal' or 'all'; got {positions!r}.")
    if points < CHUNK or points & (points - 1):
        raise ValueError(f"points must be a power of two, {CHUNK} or more (a Sobol sequence); got {points}.")


def layout_of(program: Program, kind: str | None) -> Layout:
    """Where the kernel of the output is wanted."""
    count = positions(program.output)
    return every(count, count) if kind == "all" else equal(count)


def check_tokens(program: Program, *batches: Any) -> None:
    """Raise a ValueError unless the data of an embedding are token ids of its vocabulary."""
    sizes = [var.op.vocabulary for var in program.variables if isinstance(var.op, Embed)]
    for x in batches:
        if not sizes or x is None or checks.is_traced(features_of(x)):
            continue
        ids = np.asarray(features_of(x))
        bad = np.argwhere((ids != np.round(ids)) | (ids < 0) | (ids >= min(sizes)))
        if len(bad):
            at = tuple(map(int, bad[0]))
            raise ValueError(
                f"token ids must be whole numbers from 0 to {min(sizes) - 1}, the vocabulary of embed; got {ids[at]:g} "
                f"at {at} ({len(bad)} such entries): map unknown tokens to one of these, or enlarge the vocabulary."
            )


def program_of(net: Net, shape: tuple[int, ...], *, readout: bool = True) -> Program:
    """The program of `net` as the kernel reading wants it: a readout at its end, bypassed repeats written out."""
    program = find_runs(unroll_bypassed(trace(net, shape)))
    check_samples_apart(program)
    if readout and program.output.positions:
        raise ValueError(
            f"the network has no readout: its last layer, {describe(program.output)}, "
            f"gives {shape_text(program.output)} "
            f"of data {tuple(shape)}; end it with flatten, position_mean or select, then a dense layer, or ask for "
            "positions='equal' or 'all'."
        )
    return program


def check_samples_apart(program: Program) -> None:
    """Raise a NotImplementedError if the output of a sample depends on the other samples of its batch."""
    for var in program.variables:
        if isinstance(var.op, BatchNorm):
            raise NotImplementedError(
                f"{describe(var)} couples the samples of a batch, so a pair of samples has no kernel of its own: use "
                "batch_kernel(net)(x), the kernels over one batch, or layer_norm."
            )
        if isinstance(var.op, Repeat):
            check_samples_apart(var.op.body)


def uses_distance(program: Program) -> bool:
    """Does an activation of the relu family occur, so that the distance form pays?"""
    ops = [var.op for var in program.variables]
    return any(
        (isinstance(op, Nonlin) and op.phi.distance is not None) or (isinstance(op, Repeat) and uses_distance(op.body))
        for op in ops
    )


def plan_of(program: Program, mode: Mode, layout: Layout | None = None) -> Plan:
    """What must be computed for the covariance of the output with itself, by default at equal positions."""
    at = equal(positions(program.output))
    return Planner(program, mode, rule).plan(
        program.output, Places(layout or at, (layout or at) if mode.variances else at)
    )


def covariance(
    program: Program, x1: Any, x2: Any, mode: Mode, plan: Plan, own: Array | None
) -> tuple[Array, Array | None]:
    """NNGP and NTK `[L, n1, n2]` of the output, traceable: the recursion itself."""
    samples = tuple(x if isinstance(x, Samples) else None for x in (x1, x2))
    features = (x.x if isinstance(x, Samples) else x for x in (x1, x2))
    data = Data(*(x.reshape(x.shape[0], -1, x.shape[-1]) for x in features))
    pair = Pair(program.input, program.input)
    at = plan.stages[-1].layout
    out = carry_out(plan, {pair: data}, Context(plan.at, samples, own))
    out = between(covariance_of(out, at, mode.ntk, own) if isinstance(out, Data) else out, at)
    return out.cross, out.ntk
