"""Outputs some of which do not exist."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MaskedArray:
    """What `apply_fn` gives if it is told a `mask_constant`: values, and a mask that is true where there is nothing."""

    masked_value: Any
    mask: Any


def unmask_fn(fn: Callable[..., Any]) -> Callable[..., Any]:
    """`fn` with arrays in place of the `MaskedArray`s that it gives, zero where they are masked."""

    @wraps(fn)
    def without_masks(*args: Any, **options: Any) -> Any:
        return jax.tree.map(_unmasked, fn(*args, **options), is_leaf=lambda node: isinstance(node, MaskedArray))

    return without_masks


def _unmasked(x: Any) -> Any:
    return jnp.where(x.mask, jnp.zeros((), x.masked_value.dtype), x.masked_value) if isinstance(x, MaskedArray) else x
