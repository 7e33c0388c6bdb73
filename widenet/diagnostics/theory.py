"""What theory says of each layer of an architecture: kernels forwards, squared gradients backwards. (S2)"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from widenet.activations import derivative
from widenet.activations.dual import second_moment
from widenet.diagnostics.statistics import Signals
from widenet.kernels.covariance import Cov, Data, Dist, between, restrict
from widenet.kernels.distance import rule
from widenet.kernels.kernel import check_samples_apart
from widenet.kernels.layout import equal
from widenet.kernels.schedule import Context, Mode, Pair, Places, Planner, positions
from widenet.precision import float64
from widenet.program.ops import DepthwiseConv, Flatten, LinComb, Linear, LocalConv, Nonlin, Repeat
from widenet.program.trace import Net, Program, trace
from widenet.program.var import Var

MODE = Mode(ntk=False, distance=False)


def predicted(net: Net, x: Any) -> Signals:
    """q, c, J and the gradient norm of each layer of `net` at infinite width; the rest is NaN. (S2)

    J and the gradient are NaN below operations that the backward recursion does not know: attention, normalization,
    products, tied weights, and sums of a variable with a function of itself.
    Raises: NotImplementedError as `kernel`, such as for batch norm.
    """
    program = unrolled(trace(net, x.shape))
    return predicted_at(program, x, [var for var in program.variables if isinstance(var.op, Linear)])


def predicted_at(program: Program, x: Any, places: list[Var]) -> Signals:
    """The same at these variables of an unrolled program; the gradient norm only where a weight makes them. (S2)"""
    check_samples_apart(program)
    with float64():
        kernels = _kernels(program, jnp.asarray(x, jnp.float64))
        with np.errstate(over="ignore"):  # of networks that explode
            back = _backward(program, kernels)
    columns = []
    for var in places:
        weighted = isinstance(var.op, Linear)
        bias = float(var.op.sigma_b) ** 2 if weighted and var.op.has_bias else 0.0  # type: ignore[attr-defined]
        cross = kernels[var] - bias
        own = np.diagonal(cross, axis1=1, axis2=2)
        j = back.get(var, np.full(own.shape[-1], np.nan))
        gradient = np.sqrt(np.mean(j * own.mean(0))) if weighted and not var.positions else np.nan
        columns.append((own.mean(), _cosine(cross.mean(0)), np.mean(j), gradient, *(np.nan,) * 4))
    return Signals(*np.array(columns, np.float64).T)


def unrolled(program: Program) -> Program:
    """The program with every `Repeat` written out."""
    while any(isinstance(var.op, Repeat) for var in program.variables):
        new: dict[Var, Var] = {}
        for var in program.variables:
            args = tuple(new[arg] for arg in var.args)
            new[var] = _copies(var, args[0]) if isinstance(var.op, Repeat) else _with(var, args)
        program = Program(program.input, new[program.output])
    return program


def _copies(var: Var, x: Var) -> Var:
    assert isinstance(var.op, Repeat)
    for _ in range(var.op.times):
        x = var.op.block(x)
    return x


def _with(var: Var, args: tuple[Var, ...]) -> Var:
    return Var(var.op, args, var.positions, var.channels) if args else var


def _kernels(program: Program, x: Any) -> dict[Var, np.ndarray]:
    """The covariance `[P, n, n]` of each variable with itself over samples, at equal positions."""
    at = equal(positions(program.output))
    plan = Planner(program, MODE, rule).plan(program.output, Places(at, at))
    data = x.reshape(x.shape[0], -1, x.shape[-1])
    values: dict[Pair, Any] = {Pair(program.input, program.input): Data(data, data)}
    own = jnp.eye(len(x), dtype=bool)
    made: dict[Var, np.ndarray] = {}
    for pair, step, places, wants in plan.stages:
        if pair not in values:
            needs = zip(step.needs, wants, strict=True)
            given = (restrict(values[need.pair], plan.places[need.pair], want) for need, want in needs)
            values[pair] = step.compute(Context(places, own=own), *given)
        here = equal(positions(pair.u))
        form = restrict(values[pair], places, (here, here)) if pair.u is pair.v else None
        if isinstance(form, (Cov, Dist)):
            made[pair.u] = np.asarray(between(form, here).cross, np.float64)
    return made


def _cosine(k: np.ndarray) -> float:
    lengths = np.sqrt(np.diag(k))
    n = len(k)
    with np.errstate(all="ignore"):
        return float((np.sum(k / np.outer(lengths, lengths)) - n) / (n * (n - 1)))


def _backward(program: Program, kernels: dict[Var, np.ndarray]) -> dict[Var, np.ndarray]:
    """J `[n]` of each variable for which it is known: squared derivatives of the output, per output. (S2)"""
    n = next(iter(kernels.values())).shape[-1]
    users: dict[Var, list[Var]] = {var: [] for var in program.variables}
    for var in program.variables:
        for arg in var.args:
            users[arg].append(var)
    back: dict[Var, np.ndarray] = {program.output: np.ones(n)}
    meets: dict[Var, set[Var]] = {program.output: {program.output}}  # layers reached without passing through a weight
    for var in reversed(program.variables):
        if var is program.output:
            continue
        reached = [{user} if isinstance(user.op, Linear) else meets.get(user, {user}) for user in users[var]]
        meets[var] = set().union(*reached)
        if len(meets[var]) < sum(map(len, reached)):
            continue  # two ways meet without a fresh weight in between: cross terms
        parts = [_pulled(user, var, back.get(user), kernels, program) for user in users[var]]
        known = [part for part in parts if part is not None]
        if len(known) == len(parts):
            back[var] = np.sum(known, axis=0)
    return back


def _pulled(
    user: Var, var: Var, j: np.ndarray | None, kernels: dict[Var, np.ndarray], program: Program
) -> np.ndarray | None:
    """What one use of a variable adds to its J; None where that is not known."""
    op = user.op
    if j is None:
        return None
    if isinstance(op, Linear) and not isinstance(op, (LocalConv, DepthwiseConv)):
        plain = type(op) is Linear and len(program.weights[op.weight]) == 1
        return float(op.sigma_w) ** 2 * j if plain else None
    if isinstance(op, Nonlin) and len(user.args) == 1 and not var.positions:
        q = jnp.asarray(np.diagonal(kernels[var][0]))
        return j * np.asarray(second_moment(derivative(op.phi), q), np.float64)
    if isinstance(op, LinComb):
        return j * float(op.coeffs[user.args.index(var)]) ** 2 if user.args.count(var) == 1 else None
    if isinstance(op, Flatten) and not var.positions:
        return j
    return None
