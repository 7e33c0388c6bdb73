"""Pooling, a few shifts of the second image after the others (C9).

A convolution pairs positions at one distance with positions at that distance, so all layers up to a pooling can be
carried out for a few distances at a time, in the cache: all pairs of their positions are never there at once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.kernels import mixing, seams
from widenet.kernels.covariance import (
    Cov,
    Data,
    Dist,
    Features,
    Form,
    between,
    ends,
    fence,
    half_distance,
    restrict,
    roots,
)
from widenet.kernels.distance_positions import pooled, pooled_within
from widenet.kernels.estimate import AT_ONCE
from widenet.kernels.inputs import covariance_of, distance_of
from widenet.kernels.layout import equal, every
from widenet.kernels.position_rules import batch_sizes
from widenet.kernels.schedule import Context, Need, Pair, Places, Plan, Planner, Step, carry_out, positions
from widenet.kernels.windows import slide_of
from widenet.program.ops import Conv, LinComb, Linear, LocalConv, Mix, Nonlin, Repeat
from widenet.program.var import Var


class Blocks(NamedTuple):
    """A pooling of all positions, or of equal blocks of them without overlap; the same weight for all."""

    sizes: tuple[int, ...]  # of a block, along each axis
    weight: float


def shifted_step(planner: Planner, u: Var, plain: Step) -> Step | None:
    """The step of a pooling after convolutions; None where there is only the `plain` one.

    The plain step is taken for fewer than all pairs of positions of the result.
    """
    x = u.args[0]
    blocks, start = blocks_of(u), _start(x)
    tail = u in planner.tail
    if blocks is None or start is None or not (tail or planner.mode.distance):
        return None
    here = Places(equal(positions(x)), equal(positions(x)))
    body = planner.plan(x, here, given=start)
    if not all(stage.layout.is_equal and _shifts(stage.pair, x, start) for stage in body.stages):
        return None
    everywhere = every(positions(start), positions(start))
    m = mixing.matrices(u.op.matrices)

    def one_by_one(at: Places) -> Plan | None:
        """The plan without shifts, or None."""
        return None if at.between.is_all else planner.plan(u, at, start, plain)

    def alone(at: Places) -> Plan:
        """The plan of x within samples."""
        needed = mixing.pairs_needed(m, m)(at.within.union(equal(positions(u))))
        return planner.plan(x, Places(here.between, needed.union(here.within)), start)

    def needed(at: Places) -> Places:
        plan = one_by_one(at)
        if plan is None and tail:
            return Places(everywhere, equal(positions(start)))
        found = (plan or alone(at)).places.get(Pair(start, start))
        return found or here if plan else Places(everywhere, found.within if found else here.within)

    def compute(context: Context, k: Form) -> Form:
        given = Pair(start, start)
        if (plan := one_by_one(context.at)) is not None:
            return carry_out(plan, {given: k}, context)
        sums = _Sums(planner, body, given, x, blocks, context)
        if tail:
            return jax.tree.map(lambda part: blocks.weight**2 * part, sums.of(k, distance=False))
        plan = alone(context.at)
        of_x = carry_out(plan, {given: restrict(k, needed(context.at), plan.places[given])}, context)
        if isinstance(of_x, Data):
            of_x = distance_of(of_x, plan.at, planner.mode.ntk, context.own)
        total = jax.tree.map(lambda part: blocks.weight**2 * part, sums.of(k, distance=True))
        parts = pooled_within(of_x, m, context.at.within, plan.at.within)
        return pooled(parts, total.cross, total.ntk, context.layout, context.own)

    need = Need(Pair(start, start), lambda _: everywhere, needed)
    return Step((need,), compute, takes_data=True, copies=positions(x), body=lambda at: one_by_one(at) or body)


def blocks_of(u: Var) -> Blocks | None:
    """The blocks of a pooling, if that is what made u."""
    if not isinstance(u.op, Mix):
        return None
    sizes = u.args[0].positions
    if math.prod(sizes) == 1:
        return None
    matrices = [np.asarray(part.toarray() if hasattr(part, "toarray") else part) for part in u.op.matrices]
    weights = [part.max() for part in matrices]
    if len(matrices) == 1 and len(matrices[0]) == 1:
        return Blocks(sizes, float(weights[0])) if (matrices[0] == weights[0]).all() else None
    if len(matrices) != len(sizes):
        return None
    of = tuple(part.shape[1] // len(part) for part in matrices)
    plain = all(
        part.shape == (len(part), len(part) * size)
        and (part == w * np.kron(np.eye(len(part)), np.ones((1, size)))).all()
        for part, size, w in zip(matrices, of, weights, strict=True)
    )
    return Blocks(of, float(np.prod(weights))) if plain and max(of) > 1 else None


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
    return found.pop() if len(found) == 1 and any(map(_convolves, seen)) else None


def _convolves(var: Var) -> bool:
    """Does it mix positions?  Where nothing does, all pairs of them at once are as good."""
    return isinstance(var.op, Conv) or (isinstance(var.op, Repeat) and any(map(_convolves, var.op.body.variables)))


def _shifts(pair: Pair, x: Var, start: Var) -> bool:
    """Is the covariance at shifted positions made of covariances at shifted positions?"""
    u, v = pair
    if u is not v or len(u.positions) != len(x.positions):
        return False
    if u is not start and isinstance(u.op, Repeat):
        return all(_shifts(Pair(var, var), x, u.op.body.input) for var in u.op.body.variables)
    if u is not start and isinstance(u.op, Conv) and (isinstance(u.op, LocalConv) or not seams.fits(slide_of(u, u))):
        return False
    return all(size % last == 0 for size, last in zip(u.positions, x.positions, strict=True))


class _Sums(NamedTuple):
    """Sums over the pairs of positions of x in each pair of blocks."""

    planner: Planner
    body: Plan
    start: Pair
    x: Var
    blocks: Blocks
    context: Context

    def of(self, k: Form, distance: bool) -> Cov:
        """Sums of covariances, or of half the mean squared distances, and of tangent kernels: `[P Q, n1, n2]`."""
        (n1, n2), dtype = batch_sizes(k)
        sizes, count = self.x.positions, positions(self.x)
        coarse = tuple(size // block for size, block in zip(sizes, self.blocks.sizes, strict=True))
        whole = math.prod(coarse) == 1
        # shifts of whole blocks, and within each those by less than a block; some of the first, or of all, at a time
        outer = _grid(sizes if whole else coarse)
        inner = _grid([1] * len(sizes) if whole else self.blocks.sizes)
        at_once = len(inner) * max(len(stage.layout) for stage in self.body.stages) * n1 * n2
        groups = max(g for g in range(1, len(outer) + 1) if len(outer) % g == 0 and (g == 1 or g * at_once <= AT_ONCE))
        copies = groups * len(inner)

        def add(total: Cov, by: Array) -> tuple[Cov, None]:
            fine = by * (1 if whole else np.asarray(self.blocks.sizes)) + inner[:, None]
            made = self._at(k, fine.reshape(copies, -1).T, distance)
            if whole:
                return jax.tree.map(jnp.add, total, made), None
            made = fence(made)  # slices of what is computed on the way would be slow
            split = (_by_blocks(part, coarse, self.blocks.sizes, groups) for part in made if part is not None)
            parts = iter([_onto(old, by, new) for old, new in zip(jax.tree.leaves(total), split, strict=True)])
            return jax.tree.map(lambda _: next(parts), total), None

        shape = (count, n1, copies * n2) if whole else (*coarse, math.prod(coarse), n1, n2)
        zero = jnp.zeros(shape, dtype)
        start = Cov(zero, None, None, zero if self.planner.mode.ntk else None)
        total = jax.lax.scan(add, start, jnp.asarray(outer.reshape(-1, groups, len(sizes))))[0]
        if whole:
            return jax.tree.map(lambda part: part.sum(0).reshape(n1, -1, n2).sum(1)[None], total)
        at = _plane_of_pairs(coarse)
        return jax.tree.map(lambda part: part.reshape(-1, n1, n2)[at], total)

    def _at(self, k: Form, by: Array, distance: bool) -> Cov:
        """What is added up, for copies of x2 shifted `by`, `[axes, copies]`: `[P, n1, copies n2]`."""
        context, here = self.context, self.body.at.between
        (n1, n2), _ = batch_sizes(k)
        own = None
        if context.own is not None:
            own = (context.own[:, None] & (by == 0).all(0)[:, None]).reshape(n1, -1)
        given = _shifted(k, self.start.u, seams.Shifts(by, self.x.positions))
        shifts = seams.Shifts(jnp.repeat(by, n2, axis=1), self.x.positions)
        made: Any = carry_out(self.body, {self.start: given}, Context(self.body.at, own=own, shifts=shifts))
        if distance:
            if isinstance(made, Data):
                made = distance_of(made, self.body.at, self.planner.mode.ntk, own)
            p1, p2 = ends(here, *roots(made.q1, made.q2))
            return Cov(half_distance(made.cross, p1, p2), None, None, made.ntk)
        return between(covariance_of(made, here, self.planner.mode.ntk, own) if isinstance(made, Data) else made, here)


def _grid(sizes: Sequence[int]) -> np.ndarray:
    """All positions of an image of these sizes, `[P, axes]`."""
    return np.stack([axis.ravel() for axis in np.indices(tuple(sizes))], axis=-1)


def _by_blocks(part: Array, coarse: tuple[int, ...], blocks: tuple[int, ...], groups: int) -> dict[Any, Array]:
    """Sums over blocks of x1 and shifts within a block, `[P, n1, blocks groups n2]`, by how many blocks further x2 is.

    Position a of a block, shifted by i, is in the next block where a + i is as much as its size.
    """
    d, n1 = len(coarse), part.shape[1]
    interleaved = [size for pair in zip(coarse, blocks, strict=True) for size in pair]
    x = part.reshape(*interleaved, n1, *blocks, groups, -1)
    sums: dict[tuple[int, ...], Array] = {(): x}
    for axis in range(d):  # the axes of blocks and of shifts go one after the other, the first ones first
        step: dict[tuple[int, ...], Array] = {}
        for key, value in sums.items():
            inside, shift = axis + 1, 2 * d - axis + 1
            for a in range(blocks[axis]):
                for i in range(blocks[axis]):
                    further = (*key, int(a + i >= blocks[axis]))
                    term = _index(_index(value, i, shift), a, inside)
                    step[further] = step[further] + term if further in step else term
        sums = step
    return {key: value.reshape(math.prod(coarse), n1, groups, -1) for key, value in sums.items()}


def _index(x: Array, i: int, axis: int) -> Array:
    return jax.lax.index_in_dim(x, i, axis, keepdims=False)


def _onto(total: Array, by: Array, parts: dict[Any, Array]) -> Array:
    """Add what belongs to each shift by whole blocks, `[P, n1, groups, n2]`, to `[*shifts, P, n1, n2]`."""
    coarse = np.asarray(total.shape[: by.shape[1]])
    for further, part in parts.items():
        at = (by + np.asarray(further)) % coarse
        total = total.at[tuple(at.T)].add(jnp.moveaxis(part, 2, 0), unique_indices=True)
    return total


def _plane_of_pairs(coarse: tuple[int, ...]) -> np.ndarray:
    """`[P Q]`: where the pair (p, q) is among shifts and positions p, flattened."""
    at = _grid(coarse)
    shift = np.ravel_multi_index(tuple(np.moveaxis((at[None] - at[:, None]) % np.asarray(coarse), -1, 0)), coarse)
    return (shift * len(at) + np.arange(len(at))[:, None]).ravel()


def _shifted(k: Any, start: Var, shifts: seams.Shifts) -> Form:
    """The second samples replaced by shifted copies of them all, `[copies n2]`."""
    source = shifts.source(start.positions)  # [copies, P]
    p = source.shape[1]
    if isinstance(k, (Data, Features)):
        moved = jnp.moveaxis(jnp.asarray(k.x2)[:, source], 0, 1).reshape(-1, p, k.x2.shape[-1])
        return Data(k.x1, moved) if isinstance(k, Data) else replace(k, x2=moved)

    def cross(part: Array) -> Array:
        taken = part[jnp.arange(p)[:, None] * p + source.T]  # [P, copies, n1, n2]
        return jnp.moveaxis(taken, 1, 2).reshape(p, part.shape[1], -1)

    def copied(part: Array) -> Array:
        return part[source.T].reshape(p, -1)

    ntk = None if k.ntk is None else cross(k.ntk)
    if isinstance(k, Dist):
        return Dist(cross(k.cross), None, None, ntk, k.q1, copied(k.q2))
    return Cov(cross(k.cross), k.self1[:: p + 1], copied(k.self2[:: p + 1]), ntk)
