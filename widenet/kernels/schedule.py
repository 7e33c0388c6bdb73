"""The plan of the recursion over pairs of variables: which covariances, in which order, by which rule.

A plan holds no numbers.  It is made from the last covariance backwards, so that only what something
asks for is computed, and carrying it out forgets each covariance after its last use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from widenet.kernels.covariance import Form, all_positions, equal_positions
from widenet.kernels.independence import has_centred_factor
from widenet.program.ops import Concat, Dropout, Flatten, Input, LinComb, Linear, Mix, Nonlin, Product
from widenet.program.trace import Program
from widenet.program.var import Var


class Mode(NamedTuple):
    """What a reading wants of every covariance."""

    ntk: bool  # carry the neural tangent kernel along
    same: bool  # x2 is x1: entry (i, i) is a sample with itself
    distance: bool  # carry a variable with itself in distance form


class Key(NamedTuple):
    """The covariance of `u` at x1 with `v` at x2, at all pairs of positions (`full`) or at equal ones."""

    u: Var
    v: Var
    full: bool = False


class Step(NamedTuple):
    """One covariance: the rule that makes it from others."""

    needs: tuple[Key, ...]
    compute: Callable[..., Any]
    takes_data: bool = False  # does it know what to do with the data themselves?


class Plan(NamedTuple):
    """Steps in an order in which they can be taken, and the one that is wanted."""

    steps: dict[Key, Step]
    goal: Key


def positions(var: Var) -> int:
    """The number of positions of `var`."""
    return math.prod(var.positions)


def normal(key: Key) -> Key:
    """Where both variables have one position there is only one layout."""
    return key._replace(full=key.full and not positions(key.u) == positions(key.v) == 1)


class Planner:
    """Makes the plan for one program; `rule(planner, key)` gives the step of one key."""

    def __init__(self, program: Program, mode: Mode, rule: Callable[[Planner, Key], Step]) -> None:
        self.program, self.mode, self.rule = program, mode, rule
        self._zero: dict[tuple[Var, Var], bool] = {}

    def index(self, var: Var) -> int:
        """Age: variables made outside of the program are older than all of it."""
        return self.program.index.get(var, -1)

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
        if isinstance(young.op, Linear) and self._first_use[young.op.weight] > self.index(old):
            return True  # a weight younger than the other variable is independent of it, with mean zero (T5)
        for one, other in ((young, old), (old, young)):
            if isinstance(one.op, (LinComb, Mix, Dropout, Flatten, Concat)):
                return all(self.is_zero(arg, other) for arg in one.args)
        if isinstance(u.op, Linear) and isinstance(v.op, Linear):
            tied = u.op.weight is v.op.weight
            tied_bias = tied and u.op.has_bias and v.op.has_bias
            return not tied or (not tied_bias and self.is_zero(u.args[0], v.args[0]))
        for one, other in ((u, v), (v, u)):
            if isinstance(one.op, Nonlin) and isinstance(other.op, (Linear, Input)):
                return self.is_zero(one.args[0], other)
        return Product in (type(u.op), type(v.op)) and has_centred_factor(self, u, v)

    def plan(self, goal: Key) -> Plan:
        """The steps that `goal` needs, oldest first."""
        goal = normal(goal)
        steps = self._reach(goal, {})
        twins = {
            key: Step((full,), equal_positions)
            for key in steps
            if (full := key._replace(full=True)) != key and full in steps
        }
        return Plan(self._reach(goal, twins), goal)

    def _reach(self, goal: Key, known: Mapping[Key, Step]) -> dict[Key, Step]:
        steps: dict[Key, Step] = {}
        made: dict[Key, Step] = dict(known)
        stack = [goal]
        while stack:
            key = stack[-1]
            if key not in made:
                made[key] = self.rule(self, key)
            todo = [need for need in map(normal, made[key].needs) if need not in steps]
            stack.extend(todo)
            if not todo:
                steps.setdefault(stack.pop(), made[key])
        return steps


def carry_out(plan: Plan, given: Mapping[Key, Form]) -> Form:
    """Take the steps of `plan`, starting from the `given` covariances; forget each after its last use."""
    last = {normal(need): i for i, step in enumerate(plan.steps.values()) for need in step.needs}
    values = dict(given)
    for i, (key, step) in enumerate(plan.steps.items()):
        if key not in values:
            values[key] = step.compute(*(_fetch(values, need) for need in step.needs))
        for need in {normal(need) for need in step.needs}:
            if last[need] == i and need != plan.goal:
                del values[need]
    return values[plan.goal]


def _fetch(values: Mapping[Key, Form], key: Key) -> Form:
    stored = values[normal(key)]
    return all_positions(stored) if key.full and not normal(key).full else stored
