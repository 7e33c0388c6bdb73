"""Random networks without their weights: what a layer makes is drawn, given what it is given (F11).

Given z, the outputs h of a layer at all samples and positions are Gaussian, independent between channels, with
covariance K = sigma_w^2 z z^T / fan_in + sigma_b^2.  So h = L g with L L^T = K has the law that weights give it, and
costs as many normals as it has numbers.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from widenet.finite.forward import Scope, evaluate, forward, in_dtype, per_copy
from widenet.finite.forward_positions import patches
from widenet.finite.parameters import copy_keys, draw_normals, entry_shapes, names, uses_by_owner
from widenet.program.ops import Conv, Linear, Op, Repeat
from widenet.program.trace import Program
from widenet.program.var import Var

HIGHEST = jax.lax.Precision.HIGHEST
# Multiplications that one normal costs, and the Cholesky factor of a small matrix for each entry and row: 8 ns, and
# 20 us at 64 rows, where a product makes 100 in a ns.
NORMAL, FACTOR = 400, 4
# Rounding of K and of its factor, in units of eps (fan_in + rows): so much is added to the diagonal of correlations,
# 1e-12 in float64, as two equal rows leave no positive pivot.
ROUNDING = 4


def is_cheaper(program: Program, width: int, n: int) -> bool:
    """Is what any layer makes of n samples cheaper to draw than its weights?"""
    return any(
        is_cheaper(uses[0].op.body, width, n) if isinstance(uses[0].op, Repeat) else _is_cheaper(uses, width, n)
        for uses in uses_by_owner(program).values()
    )


def _is_cheaper(uses: list[Var], width: int, n: int) -> bool:
    """Is it cheaper to draw what a layer makes of n samples than its weight?  A tied weight is one matrix for all."""
    var, op = uses[0], uses[0].op
    if len(uses) > 1 or type(op) not in (Linear, Conv) or (isinstance(op, Conv) and op.groups > 1):
        return False
    rows, fan_out = n * math.prod(var.positions), var.channels.count(width)
    fan_in = var.args[0].channels.count(width) * (op.window.taps if isinstance(op, Conv) else 1)
    weights = fan_in * fan_out * (NORMAL + rows)
    drawn = rows * fan_out * (NORMAL + rows) + rows**2 * (fan_in + FACTOR * rows)
    return drawn < weights


def numbers(program: Program, width: int, x: Any) -> int:
    """How many a network holds."""
    return sum(x.shape[0] * math.prod(var.positions) * var.channels.count(width) for var in program.variables)


def output(program: Program, width: int, x: Any, key: Any, key_masks: Any) -> Array:
    """The output of a random network."""
    return evaluate(program, _parameters(program, key, width, x), x, key_masks, partial(_rule, width))


def _parameters(program: Program, key: Any, width: int, x: Any) -> dict[str, Any]:
    """For every entry of the parameters, normals, or the key with which what it makes is drawn."""
    called = names(program)
    keys = copy_keys(key, len(called))
    return {
        called[owner]: _entry(uses, own, width, x)
        for (owner, uses), own in zip(uses_by_owner(program).items(), keys, strict=True)
    }


def _entry(uses: list[Var], key: Any, width: int, x: Any) -> Any:
    op = uses[0].op
    if isinstance(op, Repeat):
        return jax.vmap(lambda own: _parameters(op.body, own, width, x))(copy_keys(key, op.times))
    if _is_cheaper(uses, width, x.shape[0]):
        return {"key": key}
    return draw_normals(entry_shapes(op, uses, width), key, x.dtype)


def _rule(width: int, op: Op, var: Var, scope: Scope, *xs: Array) -> Array:
    if isinstance(op, Repeat):
        return _repeated(width, op, var, scope, xs[0])
    if isinstance(op, Linear) and "key" in (entry := scope.entry(op.weight, var)):
        return _drawn(op, var, entry["key"], xs[0], var.channels.count(width))
    return forward(op, var, scope, *xs)


def _repeated(width: int, op: Repeat, var: Var, scope: Scope, x: Array) -> Array:
    def copy(h: Array, own: Any) -> tuple[Array, None]:
        return evaluate(op.body, own[0], h, own[1], partial(_rule, width), scope.samples), None

    return jax.lax.scan(copy, x, per_copy(op, var, scope), length=op.times)[0]


def _drawn(op: Linear, var: Var, key: Any, z: Array, fan_out: int) -> Array:
    given = patches(z, op.window, var) if isinstance(op, Conv) else z
    rows = given.reshape(z.shape[0] * math.prod(var.positions), -1)
    root = root_of_covariance(rows, op.sigma_w, op.sigma_b).astype(z.dtype)
    g = jax.random.normal(key, (len(rows), fan_out), z.dtype)
    return jnp.matmul(root, g, precision=HIGHEST).reshape(z.shape[0], *var.positions, fan_out)


def root_of_covariance(z: Array, sigma_w: Any, sigma_b: Any) -> Array:
    """L with L L^T = sigma_w^2 z z^T / d + sigma_b^2, of any rank: z `[rows, d]` may have equal rows, or zeros."""
    z = z.astype(jnp.result_type(float))
    k = in_dtype(sigma_w, z) ** 2 / z.shape[1] * jnp.matmul(z, z.T, precision=HIGHEST) + in_dtype(sigma_b, z) ** 2
    scale = jnp.sqrt(jnp.diagonal(k))
    safe = jnp.where(scale > 0, scale, 1)
    own = 1 + ROUNDING * sum(z.shape) * jnp.finfo(z.dtype).eps
    correlations = jnp.where(jnp.eye(len(z), dtype=bool), own, k / safe[:, None] / safe)
    return scale[:, None] * jax.lax.linalg.cholesky(correlations, symmetrize_input=False)
