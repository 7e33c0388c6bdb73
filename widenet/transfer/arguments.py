"""Mistakes in what is asked for, found before anything is computed."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import jax
import numpy as np

FEWEST = 3  # sizes: a line through two points has no error


def check_sizes(sizes: Sequence[int], name: str, fewest: int = FEWEST) -> list[int]:
    """The sizes as whole numbers.

    Raises: ValueError unless there are enough of them, positive and increasing.
    """
    try:
        found = [operator.index(size) for size in sizes]
    except TypeError:
        raise ValueError(f"{name} are whole numbers, such as (64, 128, 256); got {sizes!r}.") from None
    if len(found) < fewest:
        raise ValueError(f"a slope needs {fewest} {name} or more, such as 64, 128, 256; got {found}.")
    if found[0] < 1 or any(b <= a for a, b in pairwise(found)):
        raise ValueError(f"{name} must be positive and increase: the smallest one is the base model; got {found}.")
    return found


def check_rate(rate: float, name: str = "learning_rate") -> float:
    """Raises: ValueError unless the rate is positive and finite."""
    if not isinstance(rate, (int, float, np.number)) or not 0 < rate < np.inf:
        raise ValueError(f"{name} is that of the smallest model, a number above 0; got {rate!r}.")
    return float(rate)


def check_count(count: int, name: str, least: int = 1) -> int:
    """Raises: ValueError unless it is a whole number, `least` or more."""
    if not isinstance(count, (int, np.integer)) or count < least:
        raise ValueError(f"{name} is a whole number, {least} or more; got {count!r}.")
    return int(count)


def check_batch(batch: Any, name: str = "batch") -> tuple[Any, Any]:
    """The data and the labels.

    Raises: TypeError unless it is a pair; ValueError for NaN, infinities, or another number of labels.
    """
    if not isinstance(batch, (tuple, list)) or len(batch) != 2:
        raise TypeError(f"{name} is a pair (x, y) of data and labels; got {type(batch).__name__}.")
    x, y = batch
    for part, label in ((x, "x"), (y, "y")):
        for leaf in jax.tree.leaves(part):
            if np.issubdtype(np.asarray(leaf).dtype, np.floating) and not np.isfinite(np.asarray(leaf)).all():
                raise ValueError(f"{label} of {name} has NaN or infinite values: drop or impute them.")
    counts = [len(jax.tree.leaves(part)[0]) for part in (x, y)]
    if counts[0] != counts[1]:
        raise ValueError(f"{name} has {counts[0]} samples x but {counts[1]} labels y.")
    return x, y
