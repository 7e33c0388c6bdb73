"""Kernels of many samples, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from operator import itemgetter, methodcaller
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from widenet.compat.neural_tangents.kernel import Kernel
from widenet.compat.neural_tangents.stax.node import is_branch, leaves, map_tree


def batch(
    kernel_fn: Callable[..., Any], batch_size: int = 0, device_count: int = -1, store_on_device: bool = True
) -> Callable[..., Any]:
    """`kernel_fn` computed for blocks of `batch_size` samples of x1 and of x2, and put together.

    Any numbers of samples: the last block is what is left.  batch_size=0 does nothing.  All blocks run on jax's default
    device, whatever device_count.  store_on_device=False collects the result in main memory.  Pairs of arrays among the
    keyword arguments (`pattern=(p1, p2)`) are cut like x1 and x2.  Analytic kernels need no `batch`: they are computed
    in tiles that fit the cache.
    """

    @wraps(kernel_fn)
    def batched(x1_or_kernel: Any, x2: Any = None, *args: Any, **kwargs: Any) -> Any:
        if not batch_size:
            return kernel_fn(x1_or_kernel, x2, *args, **kwargs)
        blocks = _of_kernel if any(isinstance(x, Kernel) for x in leaves(x1_or_kernel)) else _of_data
        rows = [
            [_kept(kernel_fn(*block, *args, **options), store_on_device) for block, options in row]
            for row in blocks(x1_or_kernel, x2, kwargs, batch_size)
        ]
        return joined(rows)

    return batched


Blocks = Iterator[list[tuple[tuple[Any, Any], dict[str, Any]]]]


def _of_data(x1: Any, x2: Any, kwargs: Mapping[str, Any], size: int) -> Blocks:
    alone = all(part is None for part in leaves(x2))
    right = x1 if alone else x2
    n1, n2 = (leaves(x)[0].shape[0] for x in (x1, right))
    for at1 in _slices(n1, size):
        rows = map_tree(itemgetter(at1), x1)
        row = []
        for at2 in _slices(n2, size):
            columns = None if alone and at1 == at2 else map_tree(itemgetter(at2), right)
            row.append(((rows, columns), _cut(kwargs, at1, at2, (n1, n2))))
        yield row


def _of_kernel(kernel: Any, x2: Any, kwargs: Mapping[str, Any], size: int) -> Blocks:
    if x2 is not None:
        raise ValueError("kernel_fn(kernel) takes no x2: a Kernel knows both batches.")
    n1, n2 = leaves(kernel)[0].nngp.shape[:2]
    for at1 in _slices(n1, size):
        yield [
            ((map_tree(methodcaller("slice", at1, at2), kernel), None), _cut(kwargs, at1, at2, (n1, n2)))
            for at2 in _slices(n2, size)
        ]


def _slices(n: int, size: int) -> list[slice]:
    return [slice(i, min(i + size, n)) for i in range(0, n, size)]


def _cut(kwargs: Mapping[str, Any], at1: slice, at2: slice, sizes: tuple[int, int]) -> dict[str, Any]:
    """Keyword arguments of one block."""
    cut = {}
    for name, value in kwargs.items():
        pair = isinstance(value, tuple) and len(value) == 2 and name != "rng"
        fits = pair and [getattr(v, "shape", ())[:1] for v in value] == [(n,) for n in sizes]
        cut[name] = (value[0][at1], value[1][at2]) if fits else value
    return cut


def _kept(block: Any, on_device: bool) -> Any:
    return block if on_device else jax.tree.map(np.asarray, block)


def joined(rows: list[list[Any]]) -> Any:
    """Blocks of kernels as one: arrays, containers of arrays, or `Kernel`s."""
    first = rows[0][0]
    if isinstance(first, Kernel):
        return _joined_kernel(rows, first)
    if first is None:
        return None
    if hasattr(first, "_fields"):
        return type(first)(*(joined([[block[i] for block in row] for row in rows]) for i in range(len(first))))
    if is_branch(first):
        return type(first)(joined([[block[i] for block in row] for row in rows]) for i in range(len(first)))
    if jnp.ndim(first) < 2:
        return first if jnp.ndim(first) == 0 else _stack([row[0] for row in rows], 0)
    return _stack([_stack(row, 1) for row in rows], 0)


def _stack(parts: list[Any], axis: int) -> Any:
    join = np.concatenate if isinstance(parts[0], np.ndarray) else jnp.concatenate
    return parts[0] if len(parts) == 1 else join(parts, axis)


def _joined_kernel(rows: list[list[Kernel]], first: Kernel) -> Kernel:
    if not first.diagonal_batch:
        raise NotImplementedError(
            "batch puts no cov1 of all pairs of samples together: leave out diagonal_batch=False."
        )
    alone = first.cov2 is None  # the first block is a diagonal one
    nngp, ntk = (joined([[getattr(block, name) for block in row] for row in rows]) for name in ("nngp", "ntk"))
    n1, n2 = nngp.shape[:2]
    masks = [row[0].mask1 for row in rows], [block.mask2 for block in rows[0]]
    return first.replace(
        nngp=nngp,
        ntk=ntk,
        cov1=_stack([row[0].cov1 for row in rows], 0),
        cov2=None if alone else _stack([block.cov2 for block in rows[0]], 0),
        x1_is_x2=jnp.all(jnp.asarray([rows[i][i].x1_is_x2 for i in range(min(len(rows), len(rows[0])))])),
        shape1=_of_size(first.shape1, first.batch_axis, n1),
        shape2=_of_size(first.shape2, first.batch_axis, n2),
        mask1=None if first.mask1 is None else _stack(masks[0], 0),
        mask2=None if alone or first.mask2 is None else _stack(masks[1], 0),
    )


def _of_size(shape: tuple[int, ...] | None, axis: int, size: int) -> tuple[int, ...] | None:
    return None if shape is None else (*shape[:axis], size, *shape[axis + 1 :])
