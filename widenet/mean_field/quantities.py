"""What the kernel reading of one period says: functions of (program, numbers) that can be traced (Q2)-(Q4).

All are carried out on the covariance of two inputs with one variance q and covariance k = q c at every position.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from widenet.kernels.covariance import Cov, as_cov
from widenet.kernels.distance import rule
from widenet.kernels.layout import equal
from widenet.kernels.schedule import Context, Mode, Pair, Places, Plan, Planner, carry_out, positions
from widenet.mean_field.period import jumps
from widenet.program.trace import Program

MODE = Mode(ntk=False, distance=False)


def carried(program: Program, k: Cov) -> Cov:
    """The covariance after one period, at equal positions, from that before it."""
    plan = plan_of(program)
    start = Pair(program.input, program.input)
    made: Any = carry_out(plan, {start: k}, Context(plan.at))
    return as_cov(made, plan.at.between)


def plan_of(program: Program) -> Plan:
    """The plan of one period, which must ask for equal positions only."""
    at = equal(positions(program.input))
    here = Places(at, at)
    plan = Planner(program, MODE, rule).plan(program.output, here)
    start = Pair(program.input, program.input)
    if not plan.places.get(start, here).between.is_equal:
        raise NotImplementedError(
            "the block compares different positions of a sample (attention, pooling), so its state is more than one "
            "variance and one correlation: use kernel(net, positions='all') layer by layer."
        )
    return plan


def lengths(program: Program, q: Array) -> Array:
    """The variances `[P]` after one period, from q at all positions."""
    p = positions(program.input)
    row = jnp.full((p, 1), q)
    variances = carried(program, Cov(row[:, :, None], row, row, None)).self1
    assert variances is not None
    return variances[:, 0]


def length(program: Program, q: Array) -> Array:
    """V(q), the variance after one period. (Q2)"""
    return jnp.mean(lengths(program, q))


def covariances(program: Program, q: Array, k: Array) -> Array:
    """The covariances `[P]` after one period of two inputs with variance q and covariances k `[P]`."""
    row = jnp.full((positions(program.input), 1), q)
    return carried(program, Cov(k[:, None, None], row, row, None)).cross[:, 0, 0]


def covariance(program: Program, q: Array, k: Array) -> Array:
    """K(q, k), the covariance after one period of two inputs with variance q and covariance k. (Q2)"""
    return jnp.mean(covariances(program, q, jnp.full(positions(program.input), k)))


def correlation(program: Program, q: Array, c: Array) -> Array:
    """C(c) = K(q, q c) / V(q), the correlation after one period. (Q2)"""
    return covariance(program, q, q * c) / length(program, q)


def chi_par(program: Program, q: Array) -> Array:
    """V'(q). (Q3)"""
    return jax.jvp(partial(length, program), (q,), (jnp.ones_like(q),))[1]


def chi_perp(program: Program, q: Array, c: Array) -> Array:
    """dK/dk at k = q c. (Q3)"""
    slope = jax.jvp(partial(covariance, program, q), (q * c,), (jnp.ones_like(q),))[1]
    return jnp.where(c == 1, jnp.inf, slope) if jumps(program) else slope


def curvature(program: Program, q: Array) -> Array:
    """h = (1/2) d chi_perp / dq at c = 1. (Q3)"""
    if jumps(program):
        return jnp.full_like(q, jnp.nan)
    return jax.jvp(lambda x: chi_perp(program, x, jnp.ones_like(x)), (q,), (jnp.ones_like(q),))[1] / 2


def multipliers(program: Program, q: Array, c: Array) -> Array:
    """The factors by which Fourier modes of the correlation over positions change, flattened. (Q4)"""
    shape, count = program.input.positions, positions(program.input)
    here = jnp.zeros(count, q.dtype).at[0].set(1.0)
    response: Any = jax.jvp(partial(covariances, program, q), (jnp.full(count, q * c),), (here,))[1]
    return jnp.fft.fftn(response.reshape(shape)).ravel()
