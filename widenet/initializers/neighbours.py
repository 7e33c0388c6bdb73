"""Averaged partial Jacobians of neighbouring layers, and scales that make them 1. (I15)"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.initializers.initializer import as_key
from widenet.initializers.reading import Apply, Reading
from widenet.initializers.report import Report, Tuned
from widenet.initializers.unit_variance import check_varied, scaled
from widenet.progress import progress

NEAR = 1e-3  # of log J: below what one random probe resolves
RATE = 0.1  # in a chain d(log J) = 2 d(log scale), so that a rate of 1/8 would be one Newton step
LONGEST = 0.3  # step in log scale: far from criticality log J is not linear, and a free step can leave it for good


def apjn(
    apply: Apply, params: Any, batch: Any, key: Any = 0, *, blocks: Sequence[str] = (), probes: int = 1
) -> dict[str, float]:
    """E |dh_(l+1)/dh_l|^2 / n_(l+1) of neighbours h_l, by name of h_(l+1).

    The h_l are the products of weights with data, before the bias; for a network with skips, the values that `apply`
    names `blocks` with `jax.ad_checkpoint.checkpoint_name`.  `probes`: random directions for each sample.
    Raises: ValueError if fewer than two layers, or blocks, are seen.
    Source: doshi2023.
    """
    chain = Chain.of(Reading.of(apply, params, batch), batch, blocks)
    arrays = chain.reading.leaves.arrays
    logs = chain.log_jacobians(arrays, jnp.zeros(len(arrays)), batch, as_key(key), probes)
    return dict(zip(chain.labels[1:], np.exp(np.asarray(logs, np.float64)).tolist(), strict=True))


def apjn_tune(
    apply: Apply, params: Any, batch: Any, key: Any = 0, *, blocks: Sequence[str] = (), steps: int = 200
) -> Tuned:
    """Scale the weights until the averaged partial Jacobian of neighbours is 1, so that gradients are kept.

    Gradient descent on sum_l (log J_l)^2 over the logarithms of the scales, with the same random directions at every
    step.  Weights that act before the first of the values stay as they are.  Stops once every |log J_l| is below 1e-3;
    the report says what was reached.  `blocks` as in `apjn`.
    Raises: as `apjn`; ValueError for data whose samples are all equal, or a J that is 0 or not finite.
    Source: he2022.
    """
    check_varied(batch)
    reading = Reading.of(apply, params, batch)
    chain, seen = Chain.of(reading, batch, blocks), reading.seen(batch)

    arrays = reading.leaves.arrays

    @jax.jit
    def slopes(arrays: Sequence[Any], scales: Array, batch: Any) -> tuple[Array, Array]:
        logs, pull = jax.vjp(lambda scales: chain.log_jacobians(arrays, scales, batch, as_key(key), 1), scales)
        return logs, jnp.clip(pull(2 * logs)[0], -LONGEST / RATE, LONGEST / RATE) * chain.free

    scales, rate = jnp.zeros(len(arrays)), RATE
    logs, slope = slopes(arrays, scales, batch)
    path = [np.asarray(logs, np.float64)]
    chain.check(path[0])
    for _ in progress(range(steps), "apjn_tune"):
        if np.abs(path[-1]).max() < NEAR:
            break
        logs, tried = slopes(arrays, scales - rate * slope, batch)
        if np.sum(logs**2) < np.sum(path[-1] ** 2):
            path.append(np.asarray(logs, np.float64))
            scales, slope, rate = scales - rate * slope, tried, min(RATE, 2 * rate)
        else:
            rate /= 2
    factors = {leaf: float(np.exp(scales[leaf])) for leaf in seen}
    report = Report(
        "averaged partial Jacobian",
        chain.labels[1:],
        np.exp(path[0]),
        np.exp(path[-1]),
        {reading.leaves.names[leaf]: factor for leaf, factor in factors.items()},
        untouched=reading.untouched(seen),
        history=np.array([np.sum(logs**2) for logs in path]),
    )
    return Tuned(reading.leaves.filled(scaled(arrays, factors)), report)


@dataclass(frozen=True)
class Chain:
    """The values whose neighbours are compared: products of weights with data, or the blocks that apply names."""

    reading: Reading
    blocks: tuple[str, ...]
    labels: tuple[str, ...]
    first: frozenset[int]  # weights that act before the first value, or are it

    @classmethod
    def of(cls, reading: Reading, batch: Any, blocks: Sequence[str]) -> Chain:
        """The values that are met, in order.

        Raises: ValueError if there are fewer than two.
        """
        seen: list[str] = []
        first: set[int] = set()
        blocks = (blocks,) if isinstance(blocks, str) else tuple(blocks)
        names = reading.leaves.names

        def at_layer(leaf: int, out: Array) -> Array:
            first.update([] if seen else [leaf])
            seen.extend([] if blocks else [names[leaf]])
            return out

        def at_name(name: str, value: Array) -> Array:
            seen.extend([name] if name in blocks else [])
            return value

        run = partial(reading.run, at_layer=at_layer, at_name=at_name)
        jax.eval_shape(run, reading.leaves.arrays, batch)
        if len(seen) < 2:
            remedy = f"name at least two values in apply as {blocks}" if blocks else "give blocks=, or a deeper network"
            raise ValueError(f"apjn compares neighbouring layers, but {len(seen)} of them was seen: {remedy}.")
        return cls(reading, blocks, told_apart(seen), frozenset(first))

    @property
    def free(self) -> np.ndarray:
        """1 for each array that may be scaled, else 0."""
        return np.array([float(i not in self.first) for i in range(len(self.reading.leaves.arrays))])

    def log_jacobians(self, arrays: Sequence[Any], scales: Array, batch: Any, key: Array, probes: int) -> Array:
        """log J of each value but the first, from the one before it.

        All others are held fixed, so that one backward pass with random directions everywhere gives every J.
        """
        values = self._values(arrays, scales, batch, None)
        _, pull = jax.vjp(lambda values: self._values(arrays, scales, batch, values), values)

        def squares(key: Array) -> Array:
            keys = jax.random.split(key, len(values))
            directions = [jax.random.normal(k, v.shape, v.dtype) for k, v in zip(keys, values, strict=True)]
            (pulled,) = pull([jnp.zeros_like(values[0]), *directions[1:]])
            return jnp.stack([jnp.sum(g**2) / v.size for g, v in zip(pulled[:-1], values[1:], strict=True)])

        return jnp.log(jnp.mean(jax.vmap(squares)(jax.random.split(key, probes)), 0))

    def _values(self, arrays: Sequence[Any], scales: Array, batch: Any, given: list[Array] | None) -> list[Array]:
        """The values with weights times exp(scales), each as a function of those that are `given` instead of it."""
        met: list[Array] = []

        def meet(value: Array) -> Array:
            met.append(value)
            return value if given is None else given[len(met) - 1]

        def at_layer(leaf: int, out: Array) -> Array:
            out = out * jnp.exp(scales[leaf]).astype(out.dtype)
            return out if self.blocks else meet(out)

        def at_name(name: str, value: Array) -> Array:
            return meet(value) if name in self.blocks else value

        self.reading.run(arrays, batch, at_layer=at_layer, at_name=at_name)
        return met

    def check(self, logs: np.ndarray) -> None:
        """Raise a ValueError for a Jacobian that is 0 or not finite."""
        bad = [label for label, log in zip(self.labels[1:], logs, strict=True) if not np.isfinite(log)]
        if bad:
            raise ValueError(
                f"the Jacobian from the value before {bad[0]} is 0 or not finite on this batch: give weights that are "
                "finite and not zero, and data that vary."
            )


def told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """Names with a number behind those that return."""
    counts: Counter[str] = Counter()
    made = []
    for name in names:
        counts[name] += 1
        made.append(name if counts[name] == 1 else f"{name} #{counts[name]}")
    return tuple(made)
