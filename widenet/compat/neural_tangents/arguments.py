"""Keyword arguments of a call for two batches, taken apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from widenet import checks


def split_kwargs(kwargs: Mapping[str, Any], x1: Any, x2: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those for x1 and those for x2: a pair is one for each, anything else is for both.

    A key `rng` is the same for both batches if they are the same, so that both see one draw of the random network's
    masks, and another one for x2 if not.
    """
    pairs = {
        name: _keys(value, x1, x2) if name == "rng" and x2 is not None else _both(value)
        for name, value in kwargs.items()
    }
    return {k: one for k, (one, _) in pairs.items()}, {k: two for k, (_, two) in pairs.items()}


def _both(value: Any) -> tuple[Any, Any]:
    return (value[0], value[1]) if isinstance(value, tuple) and len(value) == 2 else (value, value)


def _keys(key: Any, x1: Any, x2: Any) -> tuple[Any, Any]:
    if key is None:
        return None, None
    if isinstance(key, tuple):
        return key[0], key[1]
    return key, key if same_data(x1, x2) else jax.random.fold_in(key, 1)


def same_data(x1: Any, x2: Any) -> bool:
    """Are both batches known to be equal?"""
    if x2 is None or all(part is None for part in jax.tree.leaves(x2, is_leaf=lambda p: p is None)):
        return True
    ones, twos = jax.tree.leaves(x1), jax.tree.leaves(x2)
    if len(ones) != len(twos):
        return False
    for a, b in zip(ones, twos, strict=True):
        if a is b:
            continue
        if checks.is_traced(a) or checks.is_traced(b) or jnp.shape(a) != jnp.shape(b) or not bool(jnp.all(a == b)):
            return False
    return True
