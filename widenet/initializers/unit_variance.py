"""Layer-sequential unit variance in one pass over the data. (I14)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.initializers.reading import Apply, Reading, is_floating
from widenet.initializers.report import Report, Tuned


def lsuv(apply: Apply, params: Any, batch: Any, *, target: float = 1.0) -> Tuned:
    """Scale each weight until what its layer makes of `batch`, before the bias, has standard deviation `target`. (I14)

    Constant factors behind a product belong to the layer.  A product is linear in its weight, so the factor
    target / std is exact, and as every weight is set before data go on, one pass over the data sets all of them; no
    tolerance or iterations.  A weight that is used several times is set at its first use.  Start from `orthogonal()`
    weights, as the paper does.  The standard deviation is over the batch, positions and channels.
    Raises: ValueError for data whose samples are all equal, a layer whose output is constant or not finite, or a
    function in which no weight is seen to meet data.
    Source: mishkin2016, alg. 1.
    """
    check_varied(batch)
    reading = Reading.of(apply, params, batch)
    leaves, seen = reading.leaves, reading.seen(batch)
    before, _ = _deviations(reading, leaves.arrays, batch, None)
    found, factors = _deviations(reading, leaves.arrays, batch, target)
    for leaf in seen:
        if not 0 < found[leaf] < np.inf:
            raise ValueError(
                f"lsuv: the layer of {leaves.names[leaf]} has standard deviation {found[leaf]:g} on this batch, so no "
                "factor makes it the target: give data that vary, and weights that are finite and not zero."
            )
    arrays = scaled(leaves.arrays, factors)
    after, _ = _deviations(reading, arrays, batch, None)
    names = tuple(leaves.names[leaf] for leaf in seen)
    begin, end, times = (np.array([float(table[leaf]) for leaf in seen]) for table in (before, after, factors))
    scales = dict(zip(names, times.tolist(), strict=True))
    report = Report("standard deviation", names, begin, end, scales, untouched=reading.untouched(seen))
    return Tuned(leaves.filled(arrays), report)


def _deviations(
    reading: Reading, arrays: Sequence[Any], batch: Any, target: float | None
) -> tuple[dict[int, Any], dict[int, Any]]:
    """Standard deviations at the first use of each weight, and the factors that make them `target` as data go on."""

    @jax.jit
    def of(arrays: Sequence[Any], batch: Any) -> tuple[dict[int, Array], dict[int, Array]]:
        found: dict[int, Array] = {}
        factors: dict[int, Array] = {}

        def at_layer(leaf: int, out: Array) -> Array:
            if leaf not in found:
                found[leaf] = jnp.std(out.astype(jnp.promote_types(out.dtype, jnp.float32)))
                factors[leaf] = jnp.ones_like(found[leaf]) if target is None else target / found[leaf]
            return (out * factors[leaf]).astype(out.dtype)

        reading.run(arrays, batch, at_layer=at_layer)
        return found, factors

    return of(arrays, batch)


def scaled(arrays: Sequence[Any], factors: dict[int, Any]) -> list[Any]:
    """The arrays, times a factor where there is one, in their precision."""
    return [(a * factors[i]).astype(a.dtype) if i in factors else a for i, a in enumerate(arrays)]


def check_varied(batch: Any) -> None:
    """Raise a ValueError if all samples are equal."""
    rows = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(batch) if is_floating(leaf) or _counts(leaf)]
    if rows and all(np.ptp(row, axis=0).max(initial=0) == 0 for row in rows if row.ndim):
        raise ValueError(
            "the batch has no variance: all of its samples are equal. Give at least two different samples, of the kind "
            "that the network will see."
        )


def _counts(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.integer)
