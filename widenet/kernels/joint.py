"""Expectations of functions of several correlated Gaussian variables, by randomized quasi-Monte Carlo (G2).

A gate, a cell of an LSTM or a product of dependent branches is one function f of a few Gaussian leaves g_1, ..., g_m.
So K = E f(g) f'(g') and Theta = sum_kl E[df/dg_k df'/dg'_l] Theta(g_k, g'_l), with the same points for all pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from scipy.special import ndtri
from scipy.stats import qmc

from widenet.kernels.covariance import Cov, Dist, Mean, as_cov
from widenet.kernels.layout import Layout, equal
from widenet.kernels.rules import in_dtype
from widenet.kernels.schedule import Context, Need, Pair, Planner, Step, like, positions
from widenet.program.ops import LinComb, Nonlin, Op, Product
from widenet.program.var import Var, describe, is_gaussian

CHUNK = 64  # points that are held at a time
TINY = 32  # a pivot below so many ulps of the variance is rounding: the variable is a combination of earlier ones


@lru_cache(maxsize=32)
def normal_points(dimensions: int, points: int, scramble: int) -> np.ndarray:
    """`[points, dimensions]` quasi-random standard normals: a scrambled Sobol sequence."""
    sobol = qmc.Sobol(dimensions, scramble=True, rng=np.random.default_rng([scramble, dimensions]))
    return ndtri(np.clip(sobol.random(points), 1e-16, 1 - 1e-16))


class Instruction(NamedTuple):
    """One primitive: a coefficient or an activation, made of `params[start:stop]`, and where its arguments are."""

    kind: type[Op]
    tree: Any
    start: int
    stop: int
    args: tuple[int, ...]


class Function(NamedTuple):
    """An elementwise function of several variables as straight-line code: equal code is compiled once."""

    code: tuple[Instruction, ...]  # the value of the last one is that of the function
    params: tuple[Any, ...]  # numbers that they take

    def __call__(self, *values: Array) -> Array:
        """The function of these values of its leaves."""
        known = list(values)
        for instruction in self.code:
            known.append(_do(instruction, self.params, known))
        return known[-1]


def _do(instruction: Instruction, params: Sequence[Any], known: Sequence[Array]) -> Array:
    what = jax.tree.unflatten(instruction.tree, params[instruction.start : instruction.stop])
    args = [known[i] for i in instruction.args]
    if instruction.kind is Product:
        return args[0] * args[1]
    dtype = args[0].dtype
    if instruction.kind is Nonlin:
        return in_dtype(what, dtype)(args[0]).astype(dtype)
    terms = [jnp.asarray(c, dtype) * x for c, x in zip(what, args, strict=True)]
    return sum(terms[1:], terms[0])


def function_of(var: Var, leaves: Sequence[Var]) -> Function:
    """`var` as a function of the values of its Gaussian leaves, coordinate by coordinate."""
    at = {leaf: i for i, leaf in enumerate(leaves)}
    code: list[Instruction] = []
    params: list[Any] = []

    def visit(x: Var) -> int:
        if x not in at:
            args = tuple(map(visit, x.args))
            what = x.op.phi if isinstance(x.op, Nonlin) else getattr(x.op, "coeffs", ())
            numbers, tree = jax.tree.flatten(what)
            code.append(Instruction(type(x.op), tree, len(params), len(params) + len(numbers), args))
            params.extend(numbers)
            at[x] = len(leaves) + len(code) - 1
        return at[x]

    if visit(var) < len(leaves):  # a leaf itself
        code.append(Instruction(LinComb, jax.tree.structure((1.0,)), 0, 1, (at[var],)))
        params.append(1.0)
    return Function(tuple(code), tuple(params))


def leaves_of(var: Var) -> tuple[Var, ...]:
    """The Gaussian variables that `var` is an elementwise function of.

    Raises: NotImplementedError if it is not elementwise in Gaussian variables.
    """
    if is_gaussian(var):
        return (var,)
    if not isinstance(var.op, (Nonlin, LinComb, Product)):
        raise NotImplementedError(
            f"{describe(var)} is no elementwise function of Gaussian variables, so its product with a dependent one "
            "cannot be integrated: put a dense layer after it, or use monte_carlo."
        )
    return tuple(dict.fromkeys(leaf for arg in var.args for leaf in leaves_of(arg)))


def joint_step(planner: Planner, u: Var, v: Var) -> Step:
    """The covariance of two elementwise functions of dependent Gaussian variables."""
    left, right = leaves_of(u), leaves_of(v)
    f, g = function_of(u, left), function_of(v, right)
    blocks = [
        _Block(planner, left, left, own_positions=True),
        _Block(planner, right, right, own_positions=True),
        _Block(planner, left, right, own_positions=False),
    ]

    def compute(context: Context, *covs: Cov | Dist) -> Cov:
        rest, made = list(covs), []
        shape = covs[0].cross.shape[1:], covs[0].cross.dtype
        for block in blocks:
            taken, rest = rest[: len(block.needs)], rest[len(block.needs) :]
            made.append(block.matrices(taken, block.at or context.layout, *shape))
        points = _points(len(left) + len(right), planner, shape[1])
        return _integrate(f.code, g.code, (f.params, g.params), made, points, context.layout)

    needs = tuple(need for block in blocks for need in block.needs)
    return Step(needs, compute, integrates=len(left) + len(right))


class _Block:
    """The covariances of some leaves with others, to be gathered into matrices."""

    def __init__(self, planner: Planner, left: Sequence[Var], right: Sequence[Var], *, own_positions: bool) -> None:
        self.sizes, self.ntk = (len(left), len(right)), planner.mode.ntk and not own_positions
        self.at = equal(positions(left[0])) if own_positions else None
        pairs = {(i, j): (a, b) for i, a in enumerate(left) for j, b in enumerate(right)}
        if own_positions:
            pairs = {(i, j): pair for (i, j), pair in pairs.items() if i >= j}
        self.pairs = {at: pair for at, pair in pairs.items() if not planner.is_zero(*pair)}

    @property
    def needs(self) -> list[Need]:
        """The covariances that are not zero."""
        if self.at is None:
            return [like(a, b) for a, b in self.pairs.values()]
        return [Need(Pair(a, b), lambda _: self.at) for a, b in self.pairs.values()]

    def matrices(self, covs: Sequence[Any], layout: Layout, samples: Any, dtype: Any) -> Cov:
        """The same as matrices `[..., m, m']`: cross, self1, self2, ntk."""
        found = {at: as_cov(k, layout) for at, k in zip(self.pairs, covs, strict=True)}
        n1, n2 = samples
        shapes = ((len(layout), n1, n2), (len(layout), n1), (len(layout), n2), (len(layout), n1, n2))

        def entry(i: int, j: int, part: int) -> Array:
            if self.at is not None:
                i, j = max(i, j), min(i, j)
            return found[i, j][part] if (i, j) in found else jnp.zeros(shapes[part], dtype)

        def matrix(part: int) -> Array | None:
            if part == 3 and not self.ntk:
                return None
            rows = [jnp.stack([entry(i, j, part) for j in range(self.sizes[1])], -1) for i in range(self.sizes[0])]
            return jnp.stack(rows, -2)

        return Cov(*(matrix(part) for part in range(4)))


def _points(dimensions: int, planner: Planner, dtype: Any) -> Array:
    """`[chunks, CHUNK, dimensions]` standard normals."""
    points = normal_points(dimensions, planner.mode.points, planner.mode.scramble)
    return jnp.asarray(points, dtype).reshape(-1, CHUNK, dimensions)


@partial(jax.jit, static_argnames=("code_f", "code_g", "layout"))
def _integrate(code_f: Any, code_g: Any, params: Any, made: Sequence[Cov], points: Array, layout: Layout) -> Cov:
    """K at the three blocks of a covariance, and Theta between samples."""
    f, g = Function(code_f, params[0]), Function(code_g, params[1])
    a, b, c = made
    left1, left2 = (layout.at_left(m) for m in a[1:3])
    right1, right2 = (layout.at_right(m) for m in b[1:3])
    cross, ntk = _expectation(f, g, left1[:, :, None], right2[:, None], c.cross, c.ntk, points)
    self1, _ = _expectation(f, g, left1, right1, c.self1, None, points)
    self2, _ = _expectation(f, g, left2, right2, c.self2, None, points)
    return Cov(cross, self1, self2, ntk)


def _expectation(
    f: Function, g: Function, a: Array, b: Array, c: Array, theta: Array | None, points: Array
) -> tuple[Array, Array | None]:
    """E f(x) g(y), x ~ N(0, a), y ~ N(0, b), E x y^T = c, and sum_kl E[df_k dg_l] theta_kl; batched in front."""
    m = a.shape[-1]
    batch = c.shape[:-2]
    a, b = (jnp.broadcast_to(part, (*batch, *part.shape[-2:])) for part in (a, b))
    root = semidefinite_root(jnp.block([[a, c], [jnp.swapaxes(c, -1, -2), b]]))
    zero = jnp.zeros(batch, a.dtype)

    def add(total: tuple[Array, Array], z: Array) -> tuple[tuple[Array, Array], None]:
        values = jnp.einsum("...kl,sl->k...s", root, z)
        x, y = list(values[:m]), list(values[m:])
        if theta is None:
            return (total[0] + (f(*x) * g(*y)).sum(-1), total[1]), None
        fx, gradient_f = jax.vjp(f.__call__, *x)
        gy, gradient_g = jax.vjp(g.__call__, *y)
        one, two = jnp.stack(gradient_f(jnp.ones_like(fx)), -1), jnp.stack(gradient_g(jnp.ones_like(gy)), -1)
        slope = jnp.einsum("...sk,...kl,...sl->...", one, theta, two)
        return (total[0] + (fx * gy).sum(-1), total[1] + slope), None

    (value, slope), _ = jax.lax.scan(add, (zero, zero), points)
    count = points.shape[0] * points.shape[1]
    return value / count, None if theta is None else slope / count


def semidefinite_root(matrix: Array) -> Array:
    """Lower triangular L with L L^T = matrix, also where it is singular: rounding is not taken for a pivot."""
    size = matrix.shape[-1]
    floor = TINY * jnp.finfo(matrix.dtype).eps * jnp.einsum("...ii->...i", matrix)
    rows = jnp.arange(size)

    def column(j: Array, root: Array) -> Array:
        mine = jnp.take(root, j, axis=-2)
        rest = jnp.take(matrix, j, axis=-1) - jnp.einsum("...kl,...l->...k", root, mine)
        pivot = jnp.take(rest, j, axis=-1)
        kept = pivot > jnp.take(floor, j, axis=-1)
        scale = jnp.where(kept, 1 / jnp.sqrt(jnp.where(kept, pivot, 1.0)), 0.0)
        new = jnp.where(rows >= j, rest * scale[..., None], 0.0)
        return root + new[..., None] * (rows == j)

    return jax.lax.fori_loop(0, size, column, jnp.zeros_like(matrix))


def mean_by_integration(planner: Planner, u: Var) -> Step:
    """The mean of an elementwise function of several Gaussian variables."""
    leaves = leaves_of(u)
    f, block = function_of(u, leaves), _Block(planner, leaves, leaves, own_positions=True)

    def compute(context: Context, *covs: Cov | Dist) -> Mean:
        dtype = covs[0].cross.dtype
        made = block.matrices(covs, context.layout, covs[0].cross.shape[1:], dtype)
        points = _points(len(leaves), planner, dtype)
        return Mean(*(_mean(f.code, f.params, part, points) for part in (made.self1, made.self2)))

    return Step(tuple(block.needs), compute, integrates=len(leaves))


@partial(jax.jit, static_argnames="code")
def _mean(code: Any, params: Any, a: Array, points: Array) -> Array:
    f, root = Function(code, params), semidefinite_root(a)

    def add(total: Array, z: Array) -> tuple[Array, None]:
        return total + f(*jnp.einsum("...kl,sl->k...s", root, z)).sum(-1), None

    total = jax.lax.scan(add, jnp.zeros(a.shape[:-2], a.dtype), points)[0]
    return total / (points.shape[0] * points.shape[1])
