"""The batch reading: NNGP and NTK of a network with batch normalization, over one batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from widenet import checks
from widenet.batches.points import Points, scrambled_mean
from widenet.batches.recursion import Recursion, check_covered
from widenet.precision import float64
from widenet.program.ops import Linear, Repeat
from widenet.program.samples import Samples
from widenet.program.trace import Net, Program, trace
from widenet.program.var import Var, describe, shape_text

Batch = Float[Array, "n *positions d"]


class BatchKernel(NamedTuple):
    """The kernels of an architecture over one batch, and their standard errors over the scrambles."""

    nngp: Any  # [n, n]
    ntk: Any  # [n, n]
    nngp_error: Any  # [n, n]; zero where only closed forms were used
    ntk_error: Any


def batch_kernel(net: Net, *, points: int = 2**12, scrambles: int = 16, key: int = 0) -> Callable[[Batch], BatchKernel]:
    """NNGP and NTK of `net` over one batch, which batch normalization couples: `batch_kernel(net)(x).nngp`, `.ntk`.

    K' = E f(g) f(g)^T,   Theta' = E[J Theta J^T],   f = phi o BN,  J = df/dg,  g ~ N(0, K)        (B1)-(B7)

    and dense layers as in `kernel`.  Every sample is in the batch that the network normalizes: the kernels of a part
    of x are not a part of these.  Without an activation the expectations are one-dimensional integrals (B6); else
    means over `scrambles` scrambled Sobol sequences of `points` points each and their reflections (B4).  Errors are
    standard errors of these means, through all layers; they are known to a relative 1/sqrt(2 (scrambles - 1)).

    points: a power of two.  key: an integer; the same key gives the same numbers.
    Shapes: x `[n, *positions, d]` to `[n, n]`, per output channel.  batch_norm is over samples and positions.
    dtype: that of x; all is computed in float64.
    Raises: ValueError for data that are not finite, and where a batch varies in one or two directions only, so that
    the tangent kernel is infinite without eps; NotImplementedError for a layer without a rule, and for data with masks
    or graphs; TypeError for traced x.
    Source: yang2019bn; the tangent kernel, points and radii: widenet.
    """
    _check_request(points, scrambles, key)

    def kernel_fn(x: Any) -> BatchKernel:
        if isinstance(x, Samples):
            raise NotImplementedError("batch_kernel reads no masks and graphs: give it plain data, or use monte_carlo.")
        x = checks.batch(x, "x")
        program = _program(net, x)
        data = np.asarray(x, np.float64)

        def run(at: Points) -> tuple[np.ndarray, ...]:
            return Recursion(program, data, at).output()

        with float64():
            means, errors = scrambled_mean(run, points, scrambles, key)
        return BatchKernel(*(_like(part, x) for part in (*means, *errors)))

    return kernel_fn


def _check_request(points: int, scrambles: int, key: int) -> None:
    if points < 2 or points & (points - 1):
        raise ValueError(f"points must be a power of two, as Sobol points are even only then; got {points}.")
    if scrambles < 2:
        raise ValueError(f"a standard error needs two scrambles or more; got scrambles={scrambles}.")
    if not isinstance(key, (int, np.integer)) or key < 0:
        raise ValueError(f"key must be an integer >= 0, as the points are not made by jax; got {key!r}.")


def _program(net: Net, x: Any) -> Program:
    program = written_out(trace(net, x.shape))
    check_covered(program)
    scales = [s for var in program.variables if isinstance(var.op, Linear) for s in (var.op.sigma_w, var.op.sigma_b)]
    if any(map(checks.is_traced, [x, *scales])):
        raise TypeError(
            "batch_kernel integrates over points that are made outside of jax: call it outside of jit and grad."
        )
    if program.output.positions:
        raise ValueError(
            f"the network has no readout: its last layer, {describe(program.output)}, gives "
            f"{shape_text(program.output)} of data {tuple(x.shape)}; end it with flatten, position_mean or select, "
            "then a dense layer."
        )
    return program


def written_out(program: Program) -> Program:
    """The same program with every repeated block written out."""
    while any(isinstance(var.op, Repeat) for var in program.variables):
        new: dict[Var, Var] = {}
        for var in program.variables:
            new[var] = _copy(var, [new[arg] for arg in var.args])
        program = Program(program.input, new[program.output])
    return program


def _copy(var: Var, args: list[Var]) -> Var:
    if isinstance(var.op, Repeat):
        (x,) = args
        for _ in range(var.op.times):
            x = var.op.block(x)
        return x
    return Var(var.op, tuple(args), var.positions, var.channels) if args else var


def _like(array: np.ndarray, x: Any) -> Any:
    """In the kind and precision of the data."""
    return jnp.asarray(array, x.dtype) if isinstance(x, jax.Array) else array.astype(x.dtype)
