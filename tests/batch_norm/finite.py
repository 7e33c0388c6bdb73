"""Finite networks with batch normalization in plain jax: what the limit is compared with."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from widenet.program.ops import BatchNorm, Conv, Flatten, Input, LinComb, Linear, Mix, Nonlin
from widenet.program.trace import trace
from widenet.program.var import Var


def after(phi, bn):
    """phi of a batch-normalized variable."""
    return Var(Nonlin(phi), (bn,), bn.positions, bn.channels)


def draw(program, key, width):
    """Standard normal parameters of every weight."""
    params = {}
    for i, (weight, uses) in enumerate(program.weights.items()):
        taps = uses[0].op.window.taps if isinstance(uses[0].op, Conv) else 1
        shape = (taps, uses[0].args[0].channels.count(width), uses[0].channels.count(width))
        key_w, key_b = jax.random.split(jax.random.fold_in(key, i))
        params[weight] = jax.random.normal(key_w, shape), jax.random.normal(key_b, shape[2:])
    return list(params.values())


def values_of(program, params, x):
    """All variables of the network on the batch x."""
    params, values = dict(zip(program.weights, params, strict=True)), {program.input: x}
    for var in program.variables:
        if not isinstance(var.op, Input):
            values[var] = forward(var, params, *(values[arg] for arg in var.args))
    return values


def forward(var, params, *xs):
    op, x = var.op, xs[0]
    if isinstance(op, Linear):
        w, b = params[op.weight]
        parts = taps(var, x)
        return (
            op.sigma_w * sum(p @ m for p, m in zip(parts, w, strict=True)) / np.sqrt(w.shape[0] * w.shape[1])
            + op.sigma_b * b
        )
    if isinstance(op, BatchNorm):
        axes = tuple(range(x.ndim - 1))
        centred = x - x.mean(axes)
        return centred / jnp.sqrt((centred**2).mean(axes) + op.eps)
    if isinstance(op, Nonlin):
        return op.phi(x)
    if isinstance(op, LinComb):
        return sum(c * part for c, part in zip(op.coeffs, xs, strict=True))
    if isinstance(op, Flatten):
        return x.reshape(len(x), -1)
    assert isinstance(op, Mix)
    (matrix,) = op.matrices
    return jnp.einsum("op,npc->noc", matrix, x.reshape(len(x), -1, x.shape[-1])).reshape(len(x), *var.positions, -1)


def taps(var, x):
    if not isinstance(var.op, Conv):
        return [x]
    table = var.op.window.table(var.args[0].positions)
    rows = x.reshape(len(x), -1, x.shape[-1])
    parts = [jnp.where(column[:, None] >= 0, rows[:, column], 0) for column in table.T]
    return [part.reshape(len(x), *var.positions, -1) for part in parts]


@partial(jax.jit, static_argnames=("net", "width"))
def kernels(net, width, key, x):
    """NNGP and NTK of one random network that ends in a dense layer.

    The NNGP is averaged over the last weights exactly, the NTK over the outputs, of which there are few.
    """
    program = trace(net, x.shape)
    params = draw(program, key, width)
    last = program.output
    y, pull, before = jax.vjp(
        lambda p: (lambda v: (v[last], v[last.args[0]]))(values_of(program, p, x)), params, has_aux=True
    )
    n, k = y.shape
    grads = jax.vmap(lambda cotangent: pull(cotangent)[0])(jnp.eye(n * k).reshape(n * k, n, k))
    flat = jnp.concatenate([leaf.reshape(n * k, -1) for leaf in jax.tree.leaves(grads)], axis=1).reshape(n, k, -1)
    nngp = last.op.sigma_w**2 * before @ before.T / before.shape[1] + last.op.sigma_b**2
    return nngp, jnp.einsum("iop,jop->ij", flat, flat) / k


@partial(jax.jit, static_argnames=("net", "width"))
def nngp(net, width, key, x):
    """The NNGP alone."""
    program = trace(net, x.shape)
    last = program.output
    before = values_of(program, draw(program, key, width), x)[last.args[0]]
    return (last.op.sigma_w**2 * before @ before.T / before.shape[1] + last.op.sigma_b**2,)


def monte_carlo(net, width, count, x, key, of=kernels):
    """Means over `count` networks and their standard errors: NNGP, NTK."""
    stacks = jax.lax.map(lambda k: of(net, width, k, x), jax.random.split(key, count), batch_size=20)
    return [(np.mean(s, 0), np.std(s, 0, ddof=1) / np.sqrt(count)) for s in map(np.asarray, stacks)]


def monte_carlo_nngp(net, width, count, x, key):
    """Mean and standard error of the NNGP alone."""
    return monte_carlo(net, width, count, x, key, nngp)[0]
