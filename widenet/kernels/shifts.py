"""The mean over all positions, one shift of the second image after the other (C9).

A convolution pairs positions at one distance with positions at that distance, so all layers up to the pooling can be
carried out for a few distances at a time, in the cache, and all pairs of positions are never there at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.kernels import mixing, seams
from widenet.kernels.covariance import Cov, Data, Dist, Features, Form, between
from widenet.kernels.inputs import covariance_of
from widenet.kernels.layout import equal, every
from widenet.kernels.schedule import Context, Need, Pair, Places, Plan, Planner, Step, carry_out, positions
from widenet.kernels.windows import slide_of
from widenet.program.ops import Conv, LinComb, Linear, Mix, Nonlin, Op, Repeat
from widenet.program.var import Var

AT_ONCE = 2**16  # numbers of one covariance


def shifted_step(planner: Planner, u: Var) -> Step | None:
    """The step of a mean over all positions of which only the covariance between samples is wanted; None: another."""
    if not isinstance(u.op, Mix) or u not in planner.tail:
        return None
    x, m = u.args[0], mixing.matrices(u.op.matrices)
    if m.out != 1 or m.size == 1:
        return None
    weights = m.whole.toarray()
    start = _start(x) if (weights == weights.flat[0]).all() else None
    if start is None:
        return None
    here = equal(positions(x))
    body = planner.plan(x, Places(here, here), given=start)
    if not all(stage.layout.is_equal and _shifts(stage.pair, x, start) for stage in body.stages):
        return None

    def compute(context: Context, k: Form) -> Cov:
        total = _over_shifts(planner, body, Pair(start, start), x, k, context)
        return jax.tree.map(lambda part: weights.flat[0].item() ** 2 * part[None], total)

    before = positions(start)
    everywhere = every(before, before)
    need = Need(Pair(start, start), lambda _: everywhere, lambda _: Places(everywhere, equal(before)))
    return Step((need,), compute, takes_data=True, copies=positions(x), body=lambda _: body)


def _start(x: Var) -> Var | None:
    """The one variable from which convolutions and what acts on positions alone lead to x."""
    found, todo, seen = set(), [x], set()
    while todo:
        var = todo.pop()
        if var in seen:
            continue
        seen.add(var)
        if isinstance(var.op, (Conv, Nonlin, LinComb, Linear, Repeat)):
            todo.extend(var.args)
        else:
            found.add(var)
    (start,) = found if len(found) == 1 else (None,)
    return None if start is x else start


def _shifts(pair: Pair, x: Var, start: Var) -> bool:
    """Is the covariance at shifted positions made of covariances at shifted positions?"""
    u, v = pair
    if u is start:
        return v is start
    if u is not v or len(u.positions) != len(x.positions):
        return False
    op: Op = u.op
    if isinstance(op, Repeat):
        return all(_shifts(Pair(var, var), x, op.body.input) for var in op.body.variables)
    if isinstance(op, Conv) and not seams.fits(slide_of(u, u)):
        return False
    return all(size % last == 0 for size, last in zip(u.positions, x.positions, strict=True))


def _over_shifts(planner: Planner, body: Plan, start: Pair, x: Var, k: Form, context: Context) -> Cov:
    """The covariances of all pairs of positions of x, added up."""
    first, second = (k.x1, k.x2) if isinstance(k, (Data, Features)) else (k.cross[0], k.cross[0].T)
    n1, n2 = first.shape[0], second.shape[0]
    shifts = np.stack([axis.ravel() for axis in np.indices(x.positions)])  # [axes, P]
    count = shifts.shape[1]
    at_once = max(c for c in _divisors(count) if c == 1 or c * count * n1 * n2 <= AT_ONCE)
    here = body.at.between

    def add(total: Cov, by: Array) -> tuple[Cov, None]:
        copies = seams.Shifts(jnp.repeat(by, n2, axis=1), x.positions)
        own = None
        if context.own is not None:
            own = (context.own[:, None] & (by == 0).all(0)[:, None]).reshape(n1, -1)
        given = _shifted(k, start.u, seams.Shifts(by, x.positions))
        made = carry_out(body, {start: given}, Context(body.at, own=own, shifts=copies))
        made = between(covariance_of(made, here, planner.mode.ntk, own) if isinstance(made, Data) else made, here)
        return jax.tree.map(jnp.add, total, made), None

    zero = jnp.zeros((count, n1, at_once * n2), first.dtype)  # added up once, at the end
    start_sum = Cov(zero, None, None, zero if planner.mode.ntk else None)
    chunks = jnp.asarray(shifts.reshape(len(shifts), -1, at_once).swapaxes(0, 1))
    total = jax.lax.scan(add, start_sum, chunks)[0]
    return jax.tree.map(lambda part: part.sum(0).reshape(n1, -1, n2).sum(1), total)


def _divisors(number: int) -> Iterator[int]:
    return (c for c in range(1, number + 1) if number % c == 0)


def _shifted(k: Form, start: Var, shifts: seams.Shifts) -> Form:
    """The second samples replaced by shifted copies of them all, `[copies n2]`."""
    source = shifts.source(start.positions)  # [copies, P]
    p = source.shape[1]
    if isinstance(k, (Data, Features)):
        moved = jnp.moveaxis(k.x2[:, source], 0, 1).reshape(-1, p, k.x2.shape[-1])
        return Data(k.x1, moved) if isinstance(k, Data) else replace(k, x2=moved)

    def cross(part: Array) -> Array:
        taken = part[jnp.arange(p)[:, None] * p + source.T]  # [P, copies, n1, n2]
        return jnp.moveaxis(taken, 1, 2).reshape(p, part.shape[1], -1)

    ntk = None if k.ntk is None else cross(k.ntk)
    if isinstance(k, Dist):
        return Dist(cross(k.cross), None, None, ntk, k.q1, k.q2[source.T].reshape(p, -1))
    return Cov(cross(k.cross), *_equal_selfs(k, source, p), ntk)


def _equal_selfs(k: Cov, source: Array, p: int) -> tuple[Array, Array]:
    q1, q2 = (part[:: p + 1] for part in (k.self1, k.self2))
    return q1, q2[source.T].reshape(p, -1)
