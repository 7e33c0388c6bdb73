"""Leaves of a pytree of parameters: their names, what is given for each of them, and which of them are matrices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from widenet.initializers.fans import JAX, Axes, Fans, fans
from widenet.optimizers.library import optax
from widenet.parametrizations.optimizers import Scale
from widenet.parametrizations.trees import path_of

PerLeaf = Any  # one value for all leaves, a pytree like the parameters, or a function of the name of a leaf


def map_named(f: Callable[..., Any], tree: Any, *more: Any) -> Any:
    """The tree of f(name, leaf, ...)."""
    return jax.tree_util.tree_map_with_path(lambda path, *leaves: f(path_of(path), *leaves), tree, *more)


def per_leaf(given: PerLeaf, what: str) -> Callable[[str], Any]:
    """A function of a leaf's name: what is given for it.

    Raises: ValueError, when called, for a leaf for which a pytree has nothing; `what` is the name of the argument.
    """
    if callable(given):
        return given
    values = {path_of(path): value for path, value in jax.tree_util.tree_flatten_with_path(given)[0]}
    if set(values) == {""}:
        return lambda _: values[""]

    def of(name: str) -> Any:
        if name not in values:
            raise ValueError(
                f"{what} has no value for the leaf {name!r}, but for {', '.join(map(repr, values)) or 'no leaf'}: give "
                "one number, a pytree with the structure of the parameters, or a function of the leaf's name."
            )
        return values[name]

    return of


def fans_of(axes: PerLeaf = None) -> Callable[[str, Any], Fans | None]:
    """A function of a leaf and its name: how it is made of matrices, or None if it is not.

    `axes` is what `Axes` are for every leaf: None for the last two axes of whatever has two or more, the ones
    before them being the window of a convolution; or Axes; or a pytree of Axes, or a function from the name of a leaf
    to Axes, which have None for what is no matrix.
    """
    if axes is None or isinstance(axes, Axes):
        everywhere = JAX if axes is None else axes
        return lambda _, leaf: fans(leaf.shape, everywhere) if leaf.ndim >= 2 else None
    if callable(axes):
        at = axes
    else:
        at = {path_of(path): value for path, value in jax.tree_util.tree_flatten_with_path(axes)[0]}.get

    def of(name: str, leaf: Any) -> Fans | None:
        found = at(name)
        if found is not None and not isinstance(found, Axes):
            raise TypeError(f"axes has {found!r} for the leaf {name!r}: give Axes.of(in_axis, out_axis), or None.")
        return None if found is None else fans(leaf.shape, found)

    return of


def shape_factors(params: Any, rule: Scale, axes: PerLeaf = None) -> Any:
    """The pytree of rule(fan_in, fan_out) of the matrices in `params`; what is no matrix has fan-in 1. (O2)

    Shapes: floats in the structure of `params`, whose leaves may be anything with a shape.
    """
    of = fans_of(axes)

    def factor(name: str, leaf: Any) -> float:
        found = of(name, leaf)
        return float(rule(1, leaf.size) if found is None else rule(found.fan_in, found.n_out))

    return map_named(factor, params)


class MatrixState(NamedTuple):
    """Updates that were made, and what is kept of every leaf."""

    steps: Array
    leaves: Any


def by_matrix(
    init: Callable[[Array], Any], update: Callable[[str, Array, Any, Array], tuple[Array, Any]], axes: PerLeaf = None
) -> Any:
    """The transformation that has every leaf as matrices `[copies, fan_in, fan_out]` of float32 or more.

    init(matrices) is the state of a leaf; update(name, matrices, state, count) the update and the next state, where
    count is 0 at first.
    """
    of = fans_of(axes)

    def matrices(name: str, leaf: Any) -> Array:
        return working(of(name, leaf).matrices(leaf))  # type: ignore[union-attr]

    def start(params: Any) -> MatrixState:
        return MatrixState(jnp.zeros((), jnp.int32), map_named(lambda name, leaf: init(matrices(name, leaf)), params))

    def step(updates: Any, state: MatrixState, params: Any = None) -> tuple[Any, MatrixState]:
        paths: Any
        tree: Any
        paths, tree = jax.tree_util.tree_flatten_with_path(updates)
        made, kept = [], []
        for (path, leaf), own in zip(paths, tree.flatten_up_to(state.leaves), strict=True):
            out, own = update(path_of(path), matrices(path_of(path), leaf), own, state.steps)
            made.append(of(path_of(path), leaf).weight(out).astype(leaf.dtype))  # type: ignore[union-attr]
            kept.append(own)
        return tree.unflatten(made), MatrixState(state.steps + 1, tree.unflatten(kept))

    return optax().GradientTransformation(start, step)


def routed(core: Any, axes: PerLeaf, rest: Any) -> Any:
    """The transformation `core` of what is a matrix, and `rest` of all else."""
    of = fans_of(axes)

    def labels(params: Any) -> Any:
        return map_named(lambda name, leaf: "rest" if of(name, leaf) is None else "matrix", params)

    return optax().partition({"matrix": core, "rest": rest}, labels)


def working(x: Array) -> Array:
    """`x` in float32, or in its own precision if that is more."""
    return jnp.asarray(x, jnp.promote_types(x.dtype, jnp.float32))


def average(old: Array, new: Array, beta: float) -> Array:
    """The exponential moving average that starts from zero; the sum where beta = 1."""
    return old + new if beta == 1 else beta * old + (1 - beta) * new


def unbiased(average: Array, beta: float, count: Array) -> Array:
    """An `average` of `count` + 1 terms, divided by what their weights add up to; a sum as it is."""
    return average if beta == 1 else average / (1 - beta ** (count + 1).astype(average.dtype))


def divided(x: Array, by: Array) -> Array:
    """x / by, and 0 where `by` is 0, as only 0 is divided by 0 here."""
    return jnp.where(by > 0, x / jnp.where(by > 0, by, 1), 0)
