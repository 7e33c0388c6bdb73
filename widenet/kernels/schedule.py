"""The plan of the recursion over pairs of variables: which covariances, at which positions, in which order.

A plan holds no numbers.  It is made from the last covariance backwards, so that only what something
asks for is computed, and carrying it out forgets each covariance after its last use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import jax
from jax import Array

from widenet.kernels.covariance import Form, restrict
from widenet.kernels.independence import dependent, has_centred_factor
from widenet.kernels.layout import Layout, equal, every
from widenet.kernels.seams import Shifts
from widenet.program.ops import (
    Attend,
    Concat,
    Conv,
    Dropout,
    Embed,
    Flatten,
    Heads,
    Input,
    LinComb,
    Linear,
    Mix,
    Nonlin,
    Normalize,
    Product,
    SampleMix,
    Table,
)
from widenet.program.samples import Samples
from widenet.program.trace import Program
from widenet.program.var import Var, is_gaussian

FRESH = (Linear, Embed, Table, Heads)  # made by a weight, hence centred and independent of all that is older

LINEAR = (Linear, Conv, LinComb, Mix, Flatten, Concat)  # a covariance without variances is enough for their rules


class Mode(NamedTuple):
    """What a reading wants of every covariance."""

    ntk: bool  # carry the neural tangent kernel along
    distance: bool  # carry a variable with itself in distance form
    points: int = 4096  # of quasi-Monte Carlo, where there is no closed form
    scramble: int = 0  # which random shift of these points
    variances: bool = True  # of the output, beside its covariances between samples


class Pair(NamedTuple):
    """The covariance of `u` at x1 with `v` at x2; the mean of `u` if v is None."""

    u: Var
    v: Var | None


class Places(NamedTuple):
    """Pairs of positions that a covariance is formed for."""

    between: Layout  # samples
    within: Layout  # a sample: of the distance form alone, where equal positions mean nothing

    def union(self, other: Places) -> Places:
        """The pairs of both."""
        return Places(*(mine.union(theirs) for mine, theirs in zip(self, other, strict=True)))

    def covering(self, equal_ones: Layout) -> Places:
        """As many pairs between samples as within one, and the equal ones."""
        return self._replace(between=self.between.union(self.within).union(equal_ones))


class Need(NamedTuple):
    """What a step takes: a covariance, at the pairs of positions that follow from those that the step makes."""

    pair: Pair
    layout: Callable[[Layout], Layout]
    places: Callable[[Places], Places] | None = None  # if `layout` does not hold for both kinds of pairs

    def wanted(self, at: Places) -> Places:
        """Where the covariance is wanted, for a result there."""
        return self.places(at) if self.places else Places(*map(self.layout, at))


class Context(NamedTuple):
    """What a step may know when it is taken."""

    at: Places  # of what it makes
    samples: tuple[Samples | None, Samples | None] = (None, None)  # masks and graphs of x1 and x2
    own: Array | None = None  # `[n1, n2]`: is row i of x1 row j of x2, the same sample?
    shifts: Shifts | None = None  # how far positions of each sample of x2 are shifted, around the image

    @property
    def layout(self) -> Layout:
        """Of what it makes, between samples."""
        return self.at.between


class Step(NamedTuple):
    """One covariance: the rule that makes it from others, `compute(context, *covariances)`."""

    needs: tuple[Need, ...]
    compute: Callable[..., Any]
    takes_data: bool = False  # does it know what to do with the data themselves?
    integrates: int = 0  # over so many Gaussian variables, by quasi-Monte Carlo
    covers: bool = False  # does it make what is within a sample at the same pairs as all else?
    copies: int = 0  # of x2, shifted around, for which the body is carried out
    body: Callable[[Places], Plan] | None = None  # of a block with a plan of its own, by what it makes


class Stage(NamedTuple):
    """A step of a plan, what it makes, and at which positions it and its arguments are."""

    pair: Pair
    step: Step
    at: Places
    wants: tuple[Places, ...]

    @property
    def layout(self) -> Layout:
        """Where it is made between samples."""
        return self.at.between


class Plan(NamedTuple):
    """Stages in an order in which they can be taken; the last one is the goal."""

    stages: tuple[Stage, ...]
    places: Mapping[Pair, Places]

    @property
    def at(self) -> Places:
        """Where the goal is made."""
        return self.stages[-1].at


def positions(var: Var) -> int:
    """The number of positions of `var`."""
    return math.prod(var.positions)


def like(u: Var, v: Var) -> Need:
    """The covariance of two variables at the positions of the result."""
    return Need(Pair(u, v), lambda layout: layout)


def own(u: Var) -> Need:
    """A variable with itself at equal positions: its variances."""
    return Need(Pair(u, u), lambda _: equal(positions(u)))


def only_between(need: Need) -> Need:
    """The same without what is within a sample."""
    nothing = equal(positions(need.pair.u))
    return need._replace(places=lambda at: Places(need.wanted(at).between, nothing))


def alike(need: Need) -> Need:
    """The same with as much within a sample as between samples."""
    return need._replace(places=lambda at: Places(*(need.wanted(at).between,) * 2))


def wide(u: Var, v: Var) -> Need:
    """The covariance of two variables at all pairs of positions."""
    return Need(Pair(u, v), lambda _: every(positions(u), positions(v)))


def mean_of(u: Var) -> Need:
    """The mean of a variable."""
    return Need(Pair(u, None), lambda _: equal(positions(u)))


def _is_given(*_: Any) -> Any:
    raise AssertionError("a given covariance is not computed")


GIVEN = Step((), _is_given)


class Planner:
    """Makes the plan for one program; `rule(planner, u, v)` gives the step of one pair."""

    def __init__(self, program: Program, mode: Mode, rule: Callable[[Planner, Var, Var | None], Step]) -> None:
        self.program, self.mode, self.rule = program, mode, rule
        self._zero: dict[tuple[Var, Var], bool] = {}

    def index(self, var: Var) -> int:
        """Age: a product of some variables is as old as they are; what is outside of the program is older than all."""
        if var not in self.program.index and isinstance(var.op, Product):
            return max(map(self.index, var.args))
        return self.program.index.get(var, -1)

    @cached_property
    def tail(self) -> frozenset[Var]:
        """The variables that reach the output through linear layers alone: nobody asks for their variances."""
        if self.mode.variances:
            return frozenset()
        tail = {var for var in self.program.variables if isinstance(var.op, LINEAR)}
        for var in reversed(self.program.variables):
            if var not in tail:
                tail -= set(var.args)
        return frozenset(tail)

    @cached_property
    def _first_use(self) -> Mapping[Any, int]:
        return {weight: self.index(uses[0]) for weight, uses in self.program.weights.items()}

    def is_zero(self, u: Var, v: Var) -> bool:
        """Is the covariance of u and v zero whatever the data, because they are independent and one is centred?"""
        if (u, v) not in self._zero:
            self._zero[u, v] = self._zero[v, u] = self._find_zero(u, v)
        return self._zero[u, v]

    def _find_zero(self, u: Var, v: Var) -> bool:
        if u is v:
            return False
        old, young = sorted((u, v), key=self.index)
        if isinstance(young.op, FRESH) and self._first_use[young.op.weight] > self.index(old):
            return True  # a weight younger than the other variable is independent of it, with mean zero (T5)
        for one, other in ((young, old), (old, young)):
            if isinstance(one.op, (LinComb, Mix, SampleMix, Dropout, Flatten, Concat)):
                return all(self.is_zero(arg, other) for arg in one.args)
            if isinstance(one.op, (Attend, Normalize)):  # linear in the first argument
                return self.is_zero(one.args[0], other)
        if isinstance(u.op, FRESH) and isinstance(v.op, FRESH):
            if u.op.weight is not v.op.weight:
                return True
            if not isinstance(u.op, Linear) or not isinstance(v.op, Linear):
                return False
            tied_bias = u.op.has_bias and v.op.has_bias
            return not tied_bias and self.is_zero(u.args[0], v.args[0])
        for one, other in ((u, v), (v, u)):
            if isinstance(one.op, Nonlin) and isinstance(other.op, (*FRESH, Input)):
                inner = one.args[0]
                return self.is_zero(inner, other) if is_gaussian(inner) else not dependent(self, inner, other)
        return Product in (type(u.op), type(v.op)) and has_centred_factor(self, u, v)

    def plan(self, u: Var, at: Places, given: Var | None = None, last: Step | None = None) -> Plan:
        """The stages that the covariance of u with itself at these pairs of positions needs, oldest first.

        given: a variable whose covariance with itself need not be made.  last: a step for u other than its rule's.
        """
        goal = Pair(u, u)
        known = {} if given is None else {Pair(given, given): GIVEN}
        steps = self._reach(goal, known if last is None else known | {goal: last})
        places = {goal: at}
        stages = []
        for pair, step in reversed(steps.items()):
            if step.covers:
                places[pair] = places[pair].covering(equal(positions(pair.u)))
            wants = tuple(need.wanted(places[pair]) for need in step.needs)
            for need, want in zip(step.needs, wants, strict=True):
                places[need.pair] = places[need.pair].union(want) if need.pair in places else want
            stages.append(Stage(pair, step, places[pair], wants))
        return Plan(tuple(reversed(stages)), places)

    def _reach(self, goal: Pair, known: Mapping[Pair, Step]) -> dict[Pair, Step]:
        """The steps of all pairs that the goal needs, each after what it needs."""
        done: dict[Pair, Step] = {}
        made = dict(known)
        stack = [goal]
        while stack:
            pair = stack[-1]
            if pair not in made:
                made[pair] = self.rule(self, *pair)
            todo = [need.pair for need in made[pair].needs if need.pair not in done]
            stack.extend(todo)
            if not todo:
                done.setdefault(stack.pop(), made[pair])
        return done


def carry_out(plan: Plan, given: Mapping[Pair, Form], context: Context) -> Form:
    """Take the stages of `plan`, starting from the `given` covariances; forget each after its last use.

    context: of the data; each step is told its own layout.
    """
    last = {need.pair: i for i, stage in enumerate(plan.stages) for need in stage.step.needs}
    values = dict(given)
    for i, (pair, step, at, wants) in enumerate(plan.stages):
        if pair not in values:
            arguments = (
                restrict(values[need.pair], plan.places[need.pair], want)
                for need, want in zip(step.needs, wants, strict=True)
            )
            values[pair] = step.compute(context._replace(at=at), *arguments)
            if isinstance(pair.u.op, Nonlin):  # computed once, not once for each step that reads it
                values[pair] = jax.lax.optimization_barrier(values[pair])
        for need in step.needs:
            if last[need.pair] == i:
                values.pop(need.pair, None)
    return values[plan.stages[-1].pair]
