"""Haiku calls initializers with a shape and a dtype only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jax import Array


def for_haiku(initializer: Callable[..., Array]) -> Callable[[Sequence[int], Any], Array]:
    """`initializer` as dm-haiku's `w_init`, with the key that haiku has next."""

    def init(shape: Sequence[int], dtype: Any) -> Array:
        import haiku

        return initializer(haiku.next_rng_key(), shape, dtype)

    return init
