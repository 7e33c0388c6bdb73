"""Signals of one candidate at the places where candidates are compared, measured and predicted. (S4)"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.diagnostics.advice_rewrite import Values, rewritten, skips_of, stations
from widenet.diagnostics.report import SignalReport
from widenet.diagnostics.statistics import Layer, Signals, signals
from widenet.diagnostics.theory import predicted_at
from widenet.diagnostics.verdict import findings
from widenet.finite.forward import Scope, evaluate, forward
from widenet.finite.parameters import names as names_of
from widenet.initializers.neighbours import told_apart
from widenet.program.ops import Flatten, Input, LinComb, Linear, Nonlin, Op
from widenet.program.trace import Program, trace
from widenet.program.var import Var
from widenet.spectra.slopes import slope_law

PROBES = 2  # backward passes for J, which hardly differs between directions
SPREAD_PROBES = 24  # directions for the spread


class Changes(NamedTuple):
    """Factors over the hidden layers; one is best. (S4)"""

    q: float  # variance, forwards
    jacobian: float  # squared gradient, backwards
    apart: float  # 1 - c, forwards
    spread: float  # E l^2 / (E l)^2 of the squared singular values l of the Jacobian


class Compared(NamedTuple):
    """A report at the places, and the factors."""

    report: SignalReport
    measured: Changes
    theory: Changes


class Drawn(NamedTuple):
    """A candidate as a network with parameters, and what it is given."""

    values: Values
    params: Mapping[str, Any]
    x: Any
    gaussian: int | None  # Gaussian factors in a weight matrix; None where theory does not know the weights


def comparison(program: Program, key: Any) -> Callable[[Drawn], Compared]:
    """A function that compares signals of an unrolled program, compiled once for all candidates."""
    names = told_apart([_name(program, var) for var in stations(program)])
    measure = jax.jit(partial(_measured, program))

    def compare(drawn: Drawn) -> Compared:
        parts, once, again = jax.device_get(measure(drawn.values, drawn.params, jnp.asarray(drawn.x), key))
        layers = [Layer(name, data, out, j, math.nan) for name, (data, out, j) in zip(names, parts, strict=True)]
        measured = signals(layers, len(drawn.x))
        changes = _changes(measured, _spread(once, again, min(parts[0][1].size, parts[-2][1].size)))
        theory, spread = _predicted(trace(rewritten(program, drawn.values), drawn.x.shape), drawn)
        said = Changes(*[math.nan] * 4) if theory is None else _changes(theory, spread)
        return Compared(SignalReport(names, measured, theory, findings(names, measured)), changes, said)

    return compare


def _name(program: Program, var: Var) -> str:
    return names_of(program)[var.op.weight] if isinstance(var.op, Linear) else "sum"


def _predicted(program: Program, drawn: Drawn) -> tuple[Signals | None, float]:
    if drawn.gaussian is None:
        return None, math.nan
    try:
        found = predicted_at(program, np.asarray(drawn.x), stations(program))
    except NotImplementedError:
        return None, math.nan  # beyond the theory, but measured
    return found, predicted_spread(program, found, drawn.gaussian)


def _changes(found: Signals, spread: float) -> Changes:
    q, c, jacobian = found.q[:-1], found.c[:-1], found.jacobian[:-1]
    with np.errstate(all="ignore"):
        return Changes(float(q[-1] / q[0]), float(jacobian[0] / jacobian[-1]), float((1 - c[-1]) / (1 - c[0])), spread)


def _measured(program: Program, values: Values, params: Mapping[str, Any], x: Array, key: Any) -> Any:
    """Data, outs and J at each place; |J^T v|^2 and |J u|^2, u = J^T v / |J^T v|, from the first hidden to the last."""
    program = trace(rewritten(program, values), x.shape)
    number = {var: i for i, var in enumerate(stations(program))}

    def run(shifts: dict[int, Array]) -> Any:
        data: dict[int, Array] = {}
        outs: dict[int, Array] = {}

        def rule(op: Op, var: Var, scope: Scope, *given: Array) -> Array:
            out = forward(op, var, scope, *given)
            if var not in number:
                return out
            i = number[var]
            bias = forward(op, var, scope, *(jnp.zeros_like(h) for h in given)) if isinstance(op, Linear) else 0
            outs[i] = out - bias + shifts.get(i, 0)
            data[i] = given[0] if isinstance(op, Linear) else outs[i]
            return outs[i] + bias

        output = evaluate(program, params, x, None, rule)
        return (output, outs[len(number) - 2]), (data, outs)

    shapes = jax.eval_shape(lambda: run({})[1][1])
    shifts = {i: jnp.zeros(shape.shape, shape.dtype) for i, shape in shapes.items()}
    (output, last), pull, (data, outs) = jax.vjp(run, shifts, has_aux=True)

    def gradients(key: Any) -> Array:
        back = pull((jax.random.normal(key, output.shape, output.dtype), jnp.zeros_like(last)))[0]
        return jnp.stack([jnp.sum(back[i] ** 2) for i in range(len(number))]) / output.size

    def stretched(key: Any) -> tuple[Array, Array]:
        g = pull((jnp.zeros_like(output), jax.random.normal(key, last.shape, last.dtype)))[0][0]
        u = g / jnp.linalg.norm(g)
        again = jax.jvp(lambda shift: run({0: shift})[0][1], (shifts[0],), (u,))[1]
        return jnp.sum(g**2), jnp.sum(again**2)

    one, two = jax.random.split(key)
    j = jnp.mean(jax.lax.map(gradients, jax.random.split(one, PROBES)), 0)
    once, again = jax.lax.map(stretched, jax.random.split(two, SPREAD_PROBES))
    return [(data[i], outs[i], j[i]) for i in range(len(number))], once, again


def _spread(once: Any, again: Any, rank: int) -> float:
    """rank tr(M^2) / (tr M)^2 of M = J J^T, of which E |J^T v|^2 = tr M for standard normal v. (S4)"""
    once, again = np.asarray(once, np.float64), np.asarray(again, np.float64)
    with np.errstate(all="ignore"):
        return float(rank * np.mean(once * again) / np.mean(once) ** 2)


def predicted_spread(program: Program, found: Signals, gaussian: int) -> float:
    """The spread at infinite width, where it is known; else NaN. (S4)

    A chain of dense layers of equal widths: 1 + sum_l (gaussian + E phi'^4 / (E phi'^2)^2 - 1); blocks that are the
    identity: 1.
    """
    skips = skips_of(program)
    if skips:
        silent = all(_coefficient(skip.total, skip.branch) == 0 or _is_zero(skip.weights[-1]) for skip in skips)
        in_line = all(later.shortcut is skip.total for skip, later in pairwise(skips))
        return 1.0 if silent and in_line else math.nan
    ops = [var.op for var in program.variables if not isinstance(var.op, (Input, Flatten, LinComb))]
    dense, active = ops[::2], ops[1::2]
    plain = all(type(op) is Linear for op in dense) and all(isinstance(op, Nonlin) for op in active)
    wide = all(op.weight.width is None for op in dense[:-1]) if plain else False  # type: ignore[attr-defined]
    if not wide or len(dense) != len(active) + 1 or any(len(var.args) > 1 for var in program.variables):
        return math.nan
    spread = 1.0
    for layer, activation, q in zip(dense[:-2], active[:-1], found.q[:-2], strict=True):
        total = q + float(layer.sigma_b) ** 2  # type: ignore[attr-defined]
        if not (activation.phi.continuous and 0 < total < np.inf):  # type: ignore[attr-defined]
            return math.nan
        spread += gaussian + slope_law(activation.phi, total).relative_variance  # type: ignore[attr-defined]
    return spread


def _coefficient(total: Var, branch: Var) -> float:
    assert isinstance(total.op, LinComb)
    return float(total.op.coeffs[total.args.index(branch)])


def _is_zero(var: Var) -> bool:
    assert isinstance(var.op, Linear)
    return float(var.op.sigma_w) == 0 and not var.op.has_bias
