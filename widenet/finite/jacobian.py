"""Tangent features of any function of parameters: its gradients, one for each sample and output."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from widenet.finite.expansion import Function, split_floats

HIGHEST = jax.lax.Precision.HIGHEST


@dataclass(frozen=True, eq=False)
class Reader:
    """How tangent kernels of one kind of function are computed, for blocks of samples and outputs.

    features(params, x, outputs): what `contract` needs of the gradients of these outputs at these samples.
    contract(a, b, axes): the kernel of two such blocks; see `inner_products`.
    held(params, x, outputs): all arrays that `features` holds, for their shapes.
    pair_numbers(features): numbers that `contract` holds for a pair of samples and an output, of features of one.
    coupled(shape): does an output depend on the other samples of its batch too (batch norm)?
    """

    features: Callable[[Any, Array, Array], Any]
    contract: Callable[[Any, Any, int], Array]
    held: Callable[[Any, Array, Array], Any]
    pair_numbers: Callable[[Any], int]
    coupled: Callable[[tuple[int, ...]], bool] = lambda _: False


def jacobian_reader(f: Function) -> Reader:
    """The reader of any f(params, x), by reverse mode, whose rows do not depend on each other."""
    features = jax.jit(partial(gradients, f))
    return Reader(features, inner_products, features, lambda _: 1)


def one_hot(outputs: Array, y: Array) -> Array:
    """Cotangents that select these entries of the flat y; zero for an index past its end."""
    return jax.nn.one_hot(outputs, math.prod(y.shape), dtype=y.dtype)


def gradients(f: Function, params: Any, x: Any, outputs: Array) -> list[Array]:
    """Gradients `[r, c, ...]` of these outputs at the rows of x, one array for each leaf of the parameters."""
    leaves, rebuild = split_floats(params)

    def of_row(row: Any) -> list[Array]:
        one = jax.tree.map(lambda part: part[None], row)
        y, pull = jax.vjp(lambda p: f(rebuild(p), one).reshape(-1), leaves)
        return jax.vmap(lambda cotangent: pull(cotangent)[0])(one_hot(outputs, y))

    return jax.vmap(of_row)(x)


def gradients_in_batch(f: Function, params: Any, x: Any, outputs: Array) -> list[Array]:
    """The same, where each row depends on all samples of the batch x."""
    leaves, rebuild = split_floats(params)
    y, pull = jax.vjp(lambda p: f(rebuild(p), x).reshape(x.shape[0], -1), leaves)
    chosen = one_hot(outputs, y[0])

    def of_row(row: Array) -> list[Array]:
        return jax.vmap(lambda cotangent: pull(jnp.outer(row, cotangent))[0])(chosen)

    return jax.vmap(of_row)(jnp.eye(x.shape[0], dtype=y.dtype))


# Products of gradients, by the axes of outputs that are wanted.
PRODUCTS = "rp,sp->rs", "rcp,scp->rsc", "rcp,sop->rsco"


@partial(jax.jit, static_argnums=2)
def inner_products(a: list[Array], b: list[Array], axes: int) -> Array:
    """The tangent kernel of two blocks of gradients, one leaf `[r, c, ...]` for each leaf of the parameters.

    axes: 0 the sum over equal outputs `[r, s]`, 1 equal outputs `[r, s, c]`, 2 all pairs of outputs `[r, s, c, c]`.
    """
    pairs = ((_flat(one, axes), _flat(two, axes)) for one, two in zip(a, b, strict=True))
    products = [jnp.einsum(PRODUCTS[axes], one, two, precision=HIGHEST) for one, two in pairs]
    return sum(products[1:], products[0])


def _flat(leaf: Array, axes: int) -> Array:
    return leaf.reshape(*leaf.shape[: 2 if axes else 1], -1)
