"""Models of several sizes, trained for a step or two from several seeds, and what is measured of each. (V2)"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from widenet.progress import progress
from widenet.transfer.directions import directions
from widenet.transfer.losses import check_labels, default_loss
from widenet.transfer.training import Trainer, Training

Key = tuple[str, str]  # of a layer, or "", and of a quantity
Read = Callable[[Trainer, Any, Any], Callable[[Any, Any, Any], dict[Key, Any]]]


class Plan(NamedTuple):
    """How long, how often, how fast."""

    rate: float
    steps: int
    seeds: int
    key: Any


def measured(
    trainers: Iterable[tuple[int, Trainer]], training: Training, batch: Any, plan: Plan, read: Read
) -> dict[Key, np.ndarray]:
    """What `read(trainer, params, x)(params0, params, x)` says after every step, `[sizes, seeds, steps]`.

    With them, under the key (path, "direction"), the sizes of the updates of every parameter (V4).
    Raises: ValueError for labels that do not fit the outputs, or a loss that is not finite at initialization.
    """
    rows: list[list[list[dict[Key, float]]]] = []
    for size, each in trainers:
        runs = _runs(size, each, training, batch, plan, read)
        rows.append(list(progress(runs, f"size {size}, seeds", plan.seeds)))
    keys = rows[0][0][0]
    return {
        key: np.array([[[step[key] for step in seed] for seed in size] for size in rows], np.float64) for key in keys
    }


def _runs(size: int, each: Trainer, training: Training, batch: Any, plan: Plan, read: Read) -> Any:
    step, look = jax.jit(each.step), None
    for seed in range(plan.seeds):
        params = start = each.init(jax.random.fold_in(plan.key, seed))
        if look is None:
            _check_start(size, each, training, start, batch)
            look = jax.jit(_with_directions(each, read(each, start, batch[0]), plan.rate))
        state, made = each.start(params, batch), []
        for _ in range(plan.steps):
            params, state, _ = step(params, state, plan.rate, batch)
            made.append(look(start, params, batch[0]))
        yield jax.tree.map(float, made)


def _with_directions(each: Trainer, look: Any, rate: float) -> Callable[[Any, Any, Any], dict[Key, Any]]:
    sizes = directions(each.factors, rate)
    return lambda start, params, x: {**look(start, params, x), **sizes(start, params)}


def _check_start(size: int, each: Trainer, training: Training, params: Any, batch: Any) -> None:
    wrong = [leaf for leaf in jax.tree.leaves(params) if not hasattr(leaf, "dtype")]
    if wrong:
        raise ValueError(
            f"params hold {wrong[0]!r}, which is no array: keep it out of them, as equinox.partition(model, "
            "equinox.is_inexact_array) does."
        )
    outputs = jax.eval_shape(each.apply, params, batch[0])
    if not hasattr(outputs, "shape"):
        raise ValueError("apply(params, x) is to give one array of outputs [n, ...]; wrap it to return that one.")
    check_labels(training.loss or default_loss(batch[1]), outputs.shape, batch[1])
    value = float(each.objective(params, batch))
    if not np.isfinite(value):
        raise ValueError(
            f"the loss of the model of size {size} is {value} before any step: look at it with wn.signal_report, and "
            "at the labels."
        )


def last(values: dict[Key, np.ndarray], names: Sequence[str]) -> dict[Key, np.ndarray]:
    """After the last step, `[sizes, seeds]`, of some quantities."""
    return {key: array[:, :, -1] for key, array in values.items() if key[1] in names}
