"""Weights that are kept orthonormal in training, and errors that keep their size on the way back. (I23), (I24)"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from widenet.initializers.fans import Axes, Axis, fans
from widenet.initializers.reading import Leaves


def orthonormality_penalty(params: Any, *, in_axis: Axis = -2, out_axis: Axis = -1, batch_axis: Axis = ()) -> Array:
    """sum_W |W^T W - I|_F^2 / 2 over all weights, to be added to a loss with a coefficient. (I23)

    params: any pytree; its floating leaves with two axes or more are the weights, each a matrix [window * in, out],
    and one for each copy along `batch_axis`, which is that of stacked layers.
    Where outputs are more than inputs, not all columns can be orthonormal: the least value of such a weight is
    (out - in) / 2, reached by orthonormal rows.
    Raises: ValueError for parameters without a weight, or a weight without these axes.
    Source: xie2017, eq. (7).
    """
    axes = Axes.of(in_axis, out_axis, batch_axis)
    squares = [jnp.sum(square) for square in _squares(params, axes).values()]
    return sum(squares[1:], squares[0]) / 2


def orthonormality(params: Any, *, in_axis: Axis = -2, out_axis: Axis = -1, batch_axis: Axis = ()) -> dict[str, Array]:
    """|W^T W - I|_F of each weight by name, `[copies]`, or a number without `batch_axis`. (I23)

    Raises: as `orthonormality_penalty`.
    """
    axes = Axes.of(in_axis, out_axis, batch_axis)
    found = {name: jnp.sqrt(square) for name, square in _squares(params, axes).items()}
    return found if axes.batch_axis else {name: gaps[0] for name, gaps in found.items()}


def _squares(params: Any, axes: Axes) -> dict[str, Array]:
    leaves = Leaves.of(params)
    if not leaves.weights:
        raise ValueError("params hold no weight, which is a floating array with two axes or more.")
    least = len(axes.in_axis) + len(axes.out_axis) + len(axes.batch_axis)
    weights = (i for i in leaves.weights if jnp.ndim(leaves.arrays[i]) >= least)
    return {leaves.names[i]: _square(leaves.arrays[i], axes) for i in weights}


def _square(weight: Any, axes: Axes) -> Array:
    """|W^T W - I|_F^2 for each copy: of the smaller Gram matrix, plus what the larger one has more."""
    w = fans(weight.shape, axes).matrices(jnp.asarray(weight))
    _, n_in, n_out = w.shape
    gram = jnp.einsum("cio,cip->cop" if n_out <= n_in else "cio,cjo->cij", w, w)
    return jnp.sum((gram - jnp.eye(gram.shape[-1], dtype=w.dtype)) ** 2, (1, 2)) + max(n_out - n_in, 0)


@jax.custom_vjp
def modulated(h: Any, deviation: Any) -> Any:
    """h, through which errors come back with this standard deviation. (I24)

    What is computed then is no gradient of a function: directions are kept, sizes are chosen.  An error of zero stays.
    deviation: a number, positive, for the whole array.
    Source: xie2017, sec. 3.3, where the factor is set from time to time.
    """
    del deviation
    return h


def _forward(h: Any, deviation: Any) -> tuple[Any, Any]:
    return h, deviation


def _backward(deviation: Any, error: Any) -> tuple[Any, Any]:
    size = jnp.std(error)
    factor = jnp.where(size > 0, deviation / jnp.where(size > 0, size, 1), 1)
    return (error * factor).astype(error.dtype), jnp.zeros_like(deviation)


modulated.defvjp(_forward, _backward)
