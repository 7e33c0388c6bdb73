"""Kernels of one finite network."""

from __future__ import annotations

import enum
import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from widenet.compat.neural_tangents.arguments import split_kwargs
from widenet.compat.neural_tangents.kernel import Get, answer, wanted

ApplyFn = Callable[..., Any]
Axes = int | Sequence[int]
HIGHEST = jax.lax.Precision.HIGHEST


class NtkImplementation(enum.IntEnum):
    """How a tangent kernel is computed; the numbers are the same.

    NTK_VECTOR_PRODUCTS never holds two Jacobians.  The other ones hold them: widenet's own way of using their
    structure, in blocks, is `widenet.empirical_ntk`.
    """

    AUTO = 0
    JACOBIAN_CONTRACTION = 1
    NTK_VECTOR_PRODUCTS = 2
    STRUCTURED_DERIVATIVES = 3


def empirical_nngp_fn(f: ApplyFn, trace_axes: Axes = (-1,), diagonal_axes: Axes = ()) -> Callable[..., Any]:
    """Outer products of outputs: `nngp_fn(x1, x2, params, **kwargs)`.

    The kernel has the axes of f(x1) and f(x2) side by side, `[n1, n2, k, k]` of outputs `[n, k]`; trace_axes are
    averaged over and absent, diagonal_axes are there once.  f may give a tree of outputs: a kernel for each.
    """

    def nngp_fn(x1: Any, x2: Any, params: Any, **kwargs: Any) -> Any:
        kwargs1, kwargs2 = split_kwargs(kwargs, x1, x2)
        y1 = f(params, x1, **kwargs1)
        y2 = y1 if _is_none(x2) else f(params, x2, **kwargs2)
        return jax.tree.map(lambda a, b: contracted(a, b, a.ndim, trace_axes, diagonal_axes), y1, y2)

    return nngp_fn


def empirical_ntk_fn(
    f: ApplyFn,
    trace_axes: Axes = (-1,),
    diagonal_axes: Axes = (),
    vmap_axes: Any = None,
    implementation: NtkImplementation | int = NtkImplementation.JACOBIAN_CONTRACTION,
    _j_rules: bool = True,
    _s_rules: bool = True,
    _fwd: bool | None = None,
) -> Callable[..., Any]:
    """The tangent kernel of a function: `ntk_fn(x1, x2, params, **kwargs)`; axes as in `empirical_nngp_fn`.

    vmap_axes: an axis of x and f(x) over whose slices f works one by one, or (for x, for f(x), for kwargs); saves the
    zeros in the Jacobian.  implementation: NTK_VECTOR_PRODUCTS, or any other for Jacobians.  The last three arguments
    are accepted and ignored.
    """
    products = NtkImplementation(implementation) == NtkImplementation.NTK_VECTOR_PRODUCTS

    def ntk_fn(x1: Any, x2: Any, params: Any, **kwargs: Any) -> Any:
        kwargs1, kwargs2 = split_kwargs(kwargs, x1, x2)
        if products and vmap_axes is None:
            return _by_products(f, x1, x2, params, kwargs1, kwargs2, trace_axes, diagonal_axes)
        y, j1 = jacobian(f, x1, params, vmap_axes, kwargs1)
        j2 = j1 if _is_none(x2) else jacobian(f, x2, params, vmap_axes, kwargs2)[1]
        return jax.tree.map(lambda out, a, b: _summed(out.ndim, a, b, trace_axes, diagonal_axes), y, j1, j2)

    return ntk_fn


def empirical_kernel_fn(
    f: ApplyFn,
    trace_axes: Axes = (-1,),
    diagonal_axes: Axes = (),
    vmap_axes: Any = None,
    implementation: NtkImplementation | int = NtkImplementation.JACOBIAN_CONTRACTION,
    _j_rules: bool = True,
    _s_rules: bool = True,
    _fwd: bool | None = None,
) -> Callable[..., Any]:
    """Both kernels: `kernel_fn(x1, x2, get, params, **kwargs)`, get a name, a tuple of names, or None for both."""
    makers = {
        "nngp": empirical_nngp_fn(f, trace_axes, diagonal_axes),
        "ntk": empirical_ntk_fn(f, trace_axes, diagonal_axes, vmap_axes, implementation),
    }

    def kernel_fn(x1: Any, x2: Any, get: Get, params: Any, **kwargs: Any) -> Any:
        names = wanted(get) or ("nngp", "ntk")
        if set(names) - set(makers):
            raise KeyError(f"get 'nngp', 'ntk' or both; got {get!r}.")
        made = {name: makers[name](x1, x2, params, **kwargs) for name in names}
        trees = jax.tree.map(lambda *parts: dict(zip(names, parts, strict=True)), *made.values())
        asked = get if get is not None else names
        return jax.tree.map(
            lambda part: answer("EmpiricalKernel", asked, part),
            trees,
            is_leaf=lambda t: isinstance(t, dict) and names[0] in t,
        )

    return kernel_fn


def empirical_ntk_vp_fn(f: ApplyFn, x1: Any, x2: Any, params: Any, **kwargs: Any) -> Callable[[Any], Any]:
    """The tangent kernel times a vector: `ntk_vp(v)`, v shaped as f(params, x2), the result as f(params, x1)."""
    kwargs1, kwargs2 = split_kwargs(kwargs, x1, x2)
    second = (x1, kwargs1) if _is_none(x2) else (x2, kwargs2)

    def ntk_vp_fn(cotangents: Any) -> Any:
        _, pull = jax.vjp(lambda p: f(p, second[0], **second[1]), params)
        return jax.jvp(lambda p: f(p, x1, **kwargs1), (params,), pull(cotangents))[1]

    return ntk_vp_fn


def _is_none(x: Any) -> bool:
    return all(part is None for part in jax.tree.leaves(x, is_leaf=lambda p: p is None))


def jacobian(f: ApplyFn, x: Any, params: Any, vmap_axes: Any, kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The shapes of the outputs and, in place of each output, the list of its derivatives in every parameter."""
    y = jax.eval_shape(lambda p, a, k: f(p, a, **k), params, x, kwargs)
    in_axis, out_axis, option_axes = vmap_axes if isinstance(vmap_axes, tuple) else (vmap_axes, vmap_axes, {})
    named = {k: option_axes if isinstance(option_axes, int) else option_axes.get(k) for k in kwargs}
    option_places = {k: _places(axis, kwargs[k]) for k, axis in named.items() if axis is not None}
    if in_axis is None and not option_places:
        return y, _as_lists(jax.jacrev(lambda p: f(p, x, **kwargs))(params), y)
    x_places = None if in_axis is None else _places(in_axis, x)
    y_places = _places(out_axis, y)
    fixed = {k: v for k, v in kwargs.items() if k not in option_places}

    def of_slice(row: Any, options: Any) -> Any:
        def one(p: Any) -> Any:
            given = row if x_places is None else _expanded(row, x_places)
            made = f(p, given, **_expanded(options, option_places), **fixed)
            return jax.tree.map(jnp.squeeze, made, y_places)

        return _as_lists(jax.jacrev(one)(params), y)

    mapped = {k: kwargs[k] for k in option_places}
    stacks = jax.vmap(of_slice, (x_places, option_places))(x, mapped)
    back = jax.tree.map(lambda _, axis, parts: [jnp.moveaxis(part, 0, axis) for part in parts], y, y_places, stacks)
    return y, back


def _as_lists(jac: Any, y: Any) -> Any:
    """The derivatives of each output as a list."""
    return jax.tree.map(lambda _, part: jax.tree.leaves(part), y, jac)


def _places(axis: Any, tree: Any) -> Any:
    """An axis, not negative, for every array."""
    if isinstance(axis, int):
        return jax.tree.map(lambda part: axis % len(part.shape), tree)
    return jax.tree.map(lambda one, part: one % len(part.shape), axis, tree)


def _expanded(tree: Any, axes: Any) -> Any:
    return jax.tree.map(jnp.expand_dims, tree, axes)


def _summed(rank: int, j1: Any, j2: Any, trace_axes: Axes, diagonal_axes: Axes) -> jax.Array:
    """The sum over parameters of the products of derivatives."""
    return functools.reduce(
        operator.add, (contracted(a, b, rank, trace_axes, diagonal_axes) for a, b in zip(j1, j2, strict=True))
    )


def _by_products(
    f: ApplyFn,
    x1: Any,
    x2: Any,
    params: Any,
    kwargs1: dict[str, Any],
    kwargs2: dict[str, Any],
    trace_axes: Axes,
    diagonal_axes: Axes,
) -> Any:
    """The whole kernel by products with unit vectors, then its traces and diagonals."""
    y1 = jax.eval_shape(lambda p: f(p, x1, **kwargs1), params)
    second, options = (x1, kwargs1) if _is_none(x2) else (x2, kwargs2)
    y2 = jax.eval_shape(lambda p: f(p, second, **options), params)

    def of_output(path: int, one: Any, two: Any) -> jax.Array:
        def mine(x: Any, kwargs: Any, p: Any) -> Any:
            return jax.tree.leaves(f(p, x, **kwargs))[path]

        _, pull = jax.vjp(lambda p: mine(second, options, p), params)

        def column(unit: jax.Array) -> jax.Array:
            return jax.jvp(lambda p: mine(x1, kwargs1, p), (params,), pull(unit.reshape(two.shape)))[1]

        columns = jax.vmap(column, out_axes=-1)(jnp.eye(math.prod(two.shape), dtype=two.dtype))
        return reduced(columns.reshape(*one.shape, *two.shape), one.ndim, trace_axes, diagonal_axes)

    pairs = zip(jax.tree.leaves(y1), jax.tree.leaves(y2), strict=True)
    return jax.tree.unflatten(jax.tree.structure(y1), [of_output(i, one, two) for i, (one, two) in enumerate(pairs)])


def _axes(axes: Axes, rank: int) -> list[int]:
    return [axis % rank for axis in ((axes,) if isinstance(axes, int) else tuple(axes))]


def _labels(
    one: tuple[int, ...], two: tuple[int, ...], trace_axes: Axes, diagonal_axes: Axes
) -> tuple[list[int], list[int], list[int]]:
    """einsum labels of outputs of these shapes for x1, for x2, and of the kernel.

    Raises: ValueError where axes that are paired have different sizes.
    """
    rank = len(one)
    traced, diagonal = _axes(trace_axes, rank), _axes(diagonal_axes, rank)
    if any(one[i] != two[i] for i in traced + diagonal):
        raise ValueError(
            f"trace_axes={trace_axes} and diagonal_axes={diagonal_axes} need equal sizes, but outputs have the shapes "
            f"{one} and {two}: give trace_axes=() for outputs [n]."
        )
    left = list(range(rank))
    right = [i if i in traced or i in diagonal else rank + i for i in left]
    out = [label for i in left if i not in traced for label in dict.fromkeys((left[i], right[i]))]
    return left, right, out


def contracted(a: jax.Array, b: jax.Array, rank: int, trace_axes: Axes, diagonal_axes: Axes) -> jax.Array:
    """Inner products over all axes behind the first `rank`, which are those of the outputs; traces are means."""
    left, right, out = _labels(a.shape[:rank], b.shape[:rank], trace_axes, diagonal_axes)
    rest = list(range(2 * rank, 2 * rank + a.ndim - rank))
    size = math.prod(a.shape[i] for i in _axes(trace_axes, rank))
    return jnp.einsum(a, left + rest, b, right + rest, out, precision=HIGHEST) / size


def reduced(kernel: jax.Array, rank: int, trace_axes: Axes, diagonal_axes: Axes) -> jax.Array:
    """A kernel `[*out1, *out2]` with its traces and diagonals taken."""
    left, right, out = _labels(kernel.shape[:rank], kernel.shape[rank:], trace_axes, diagonal_axes)
    size = math.prod(kernel.shape[i] for i in _axes(trace_axes, rank))
    return jnp.einsum(kernel, left + right, out) / size
