"""The kernel reading: NNGP and NTK of an architecture, in closed form at infinite width."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Float

import widenet.kernels.products  # noqa: F401 - registers its rule
from widenet import checks
from widenet.kernels.covariance import Data, as_cov
from widenet.kernels.distance import rule
from widenet.kernels.inputs import covariance_of, distance_of
from widenet.kernels.schedule import Key, Mode, Plan, Planner, carry_out, normal, positions
from widenet.kernels.tiles import in_tiles
from widenet.precision import float64
from widenet.program.ops import Nonlin, Repeat
from widenet.program.rewrite import unroll_bypassed
from widenet.program.trace import Net, Program, trace
from widenet.program.var import describe, shape_text

Batch = Float[Array, "n *positions d"]


class Kernel(NamedTuple):
    """The kernels of an architecture; a field that was not asked for is None."""

    nngp: Any  # [n1, n2]: covariance of the outputs of the random network
    ntk: Any  # [n1, n2]: inner products of its parameter gradients


def kernel(net: Net) -> Callable[..., Kernel]:
    """NNGP and NTK of `net` at infinite width: `kernel(net)(x1, x2=None).nngp`, `.ntk`.

    K(x1, x2) = lim E f(x1) f(x2),  Theta(x1, x2) = lim sum_parameters df(x1) df(x2)        (K1)-(K3)

    Shapes: x1 `[n1, *positions, d]`, x2 `[n2, *positions, d]` to `[n1, n2]`, per output channel.  x2=None is
    x1 with itself: half the work, and an exact diagonal.
    dtype: that of the inputs; numpy float64 in, numpy float64 out, whatever jax's configuration.  Lists and
    integers are taken as float64.  Traced inputs work inside jit, vmap and grad.
    Raises: ValueError for inputs that are not finite or do not fit each other, and for an architecture whose output
    still has positions.
    Source: jacot2018, thm. 1; yang2019, thm. 3.1.

    >>> import numpy as np, widenet as wn
    >>> k = wn.kernel(wn.serial(wn.dense(), wn.relu, wn.dense()))(np.eye(2))
    >>> k.nngp.round(4)
    array([[0.25  , 0.0796],
           [0.0796, 0.25  ]])
    """
    return _reading(net, ntk=True)


def nngp(net: Net) -> Callable[..., Any]:
    """The NNGP kernel alone, `[n1, n2]`; see `kernel`."""
    return lambda x1, x2=None: _reading(net, ntk=False)(x1, x2).nngp


def ntk(net: Net) -> Callable[..., Any]:
    """The neural tangent kernel alone, `[n1, n2]`; see `kernel`."""
    return lambda x1, x2=None: _reading(net, ntk=True)(x1, x2).ntk


def _reading(net: Net, ntk: bool) -> Callable[..., Kernel]:
    def kernel_fn(x1: Any, x2: Any = None) -> Kernel:
        x1 = checks.batch(x1, "x1")
        if x2 is not None:
            x2 = checks.batch(x2, "x2")
            checks.same_features(x1, x2)
        program = program_of(net, x1.shape)

        def compute(a: Array, b: Array | None) -> tuple[Array, Array | None]:
            return covariance(program, a, b, ntk)

        if checks.is_traced(x1) or checks.is_traced(x2):
            return Kernel(*compute(x1, x2))
        with float64() if isinstance(x1, np.ndarray) else nullcontext():
            return Kernel(*in_tiles(compute, x1, x2, entries(program)))

    return kernel_fn


def program_of(net: Net, shape: tuple[int, ...]) -> Program:
    """The program of `net` as the kernel reading wants it: a readout at its end, bypassed repeats written out."""
    program = unroll_bypassed(trace(net, shape))
    if program.output.positions:
        raise ValueError(
            f"the network has no readout: its last layer, {describe(program.output)}, "
            f"gives {shape_text(program.output)} "
            f"of data {tuple(shape)}; end it with flatten, position_mean or select, then a dense layer."
        )
    return program


def uses_distance(program: Program) -> bool:
    """Does an activation of the relu family occur, so that the distance form pays?"""
    ops = [var.op for var in program.variables]
    return any(
        (isinstance(op, Nonlin) and op.phi.distance is not None) or (isinstance(op, Repeat) and uses_distance(op.body))
        for op in ops
    )


def plan_of(program: Program, mode: Mode) -> Plan:
    """What must be computed for the covariance of the output with itself."""
    return Planner(program, mode, rule).plan(Key(program.output, program.output))


def covariance(program: Program, x1: Array, x2: Array | None, ntk: bool) -> tuple[Array, Array | None]:
    """NNGP and NTK `[n1, n2]` of the output, traceable: the recursion itself."""
    mode = Mode(ntk, x2 is None, uses_distance(program))
    plan = plan_of(program, mode)
    rows1 = x1.reshape(x1.shape[0], -1, x1.shape[-1])
    data = Data(rows1, rows1 if x2 is None else x2.reshape(x2.shape[0], -1, x2.shape[-1]))
    x = Key(program.input, program.input)
    out = carry_out(plan, {normal(x._replace(full=full)): data for full in (False, True)})
    if isinstance(out, Data):
        out = (distance_of if mode.distance else covariance_of)(out, False, mode)
    out = as_cov(out)
    return out.cross[0], None if out.ntk is None else out.ntk[0]


def entries(program: Program) -> int:
    """The numbers in the largest covariance, per pair of samples."""
    plan = plan_of(program, Mode(False, False, False))
    return max(positions(key.u) * (positions(key.v) if key.full else 1) for key in plan.steps)
