"""Tensors filled in place from initializers of jax."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from widenet import initializers
from widenet.initializers.fans import JAX, Axes
from widenet.initializers.initializer import Initializer, as_key
from widenet.precision import float64
from widenet.torch.activations import activation

GROUPED = Axes(batch_axis=(0,))


def fill_(
    tensor: Any,
    initializer: Any,
    *,
    groups: int = 1,
    transposed: bool = False,
    generator: Any = None,
    key: Any = None,
) -> Any:
    """Fill a weight `[out, in / groups, *window]` from `initializer` and return it.

    With a `key` the numbers are initializer(key, [*window, in, out]) moved to torch's layout, so that networks in both
    frameworks start equal; without, the key is drawn from torch's `generator`.  Each group is a matrix of its own, and
    its fan is that of the group.  `transposed`: a transposed convolution, `[in, out / groups, *window]`.
    Raises: ValueError for groups that do not divide the tensor, and as the initializer.
    """
    import torch

    key = key_from(generator) if key is None else as_key(key)
    double = tensor.dtype == torch.float64
    with torch.no_grad(), float64() if double else nullcontext(), jax.ensure_compile_time_eval():
        numbers = _numbers(tensor, initializer, key, groups, transposed, jnp.float64 if double else jnp.float32)
        return tensor.copy_(torch.from_numpy(np.array(numbers)))


def _numbers(tensor: Any, initializer: Any, key: Any, groups: int, transposed: bool, dtype: Any) -> np.ndarray:
    shape = tuple(tensor.shape)
    if not isinstance(initializer, Initializer):
        return np.asarray(initializer(key, shape, dtype))
    if len(shape) < 2:
        raise ValueError(
            f"the tensor has shape {shape}, but a weight is [out, in, *window]: fill vectors with torch.nn.init."
        )
    if initializer.axes != JAX:
        raise ValueError("torch's axes are fixed: give an initializer without in_axis, out_axis and batch_axis.")
    if shape[0] % groups:
        raise ValueError(f"the tensor has {shape[0]} rows, which {groups} groups do not divide.")
    ours, theirs = (shape[0] // groups, shape[1]) if transposed else (shape[1], shape[0] // groups)
    window = shape[2:]
    if groups == 1:
        drawn = np.asarray(initializer(key, (*window, ours, theirs), dtype))[None]
    else:
        drawn = np.asarray(replace(initializer, axes=GROUPED)(key, (groups, *window, ours, theirs), dtype))
    rows, columns = (-2, -1) if transposed else (-1, -2)
    return np.moveaxis(drawn, (rows, columns), (1, 2)).reshape(shape)


def key_from(generator: Any) -> Any:
    """A key drawn from torch's generator."""
    import torch

    device = "cpu" if generator is None else generator.device
    first, second = torch.randint(2**31 - 1, (2,), generator=generator, device=device).tolist()
    return jax.random.fold_in(jax.random.key(first), second)


def _twin(factory: Callable[..., Initializer]) -> Callable[..., Any]:
    def twin(tensor: Any, *args: Any, groups: int = 1, generator: Any = None, key: Any = None, **options: Any) -> Any:
        args = tuple(activation(arg) if _is_module(arg) else arg for arg in args)
        return fill_(tensor, factory(*args, **options), groups=groups, generator=generator, key=key)

    twin.__name__ = twin.__qualname__ = f"{factory.__name__}_"
    twin.__doc__ = (
        f"Fill `tensor` `[out, in / groups, *window]` in place and return it; then as `widenet.initializers."
        f"{factory.__name__}`, with an activation of torch.nn or of widenet for a gain.  `groups`, `generator`, `key`: "
        "as in `fill_`."
    )
    return twin


def _is_module(arg: Any) -> bool:
    return hasattr(arg, "forward") and hasattr(arg, "named_parameters")


normal_ = _twin(initializers.normal)
truncated_normal_ = _twin(initializers.truncated_normal)
uniform_ = _twin(initializers.uniform)
orthogonal_ = _twin(initializers.orthogonal)
delta_orthogonal_ = _twin(initializers.delta_orthogonal)
low_rank_ = _twin(initializers.low_rank)
block_sparse_ = _twin(initializers.block_sparse)
permuted_ = _twin(initializers.permuted)
cayley_ = _twin(initializers.cayley)
