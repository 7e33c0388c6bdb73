"""The best learning rate of every size: does that of the small model suit the large ones? (V8)"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet import memory
from widenet.finite.empirical import precision_of
from widenet.finite.parameters import as_key
from widenet.parametrizations.leaf import Role
from widenet.progress import progress
from widenet.transfer.arguments import check_batch, check_count, check_sizes
from widenet.transfer.coordinate import Options, trainers_of
from widenet.transfer.cores import completed
from widenet.transfer.depth import trainers_of_depths
from widenet.transfer.losses import check_labels, default_loss
from widenet.transfer.sweep_result import Sweep
from widenet.transfer.training import Trainer, Training

COPIES = 6  # of the parameters that a run holds: themselves, gradients, updates, the optimizer's state
SHARE = 0.25  # of the memory budget


def lr_sweep(
    model: Any,
    widths: Sequence[int] | int,
    data: Any,
    learning_rates: Sequence[float],
    *,
    depths: Sequence[int] | None = None,
    branches: str | None = None,
    steps: int = 100,
    seeds: int = 3,
    batch_size: int | None = None,
    test: Any = None,
    key: Any = 0,
    chunk: int | None = None,
    **training: Unpack[Options],
) -> Sweep:
    """Train models of several widths, or depths, with many learning rates from several seeds. (V8)

    One compilation a size: runs are mapped over learning rates and seeds, `chunk` at a time, by default as many as a
    quarter of the memory budget holds.
    model, training: as in `coordinate_check`; the optimizer of a model that brings its own must be a function of
    the learning rate.  widths: two or more.  learning_rates: those of the smallest model, increasing.
    depths: two or more numbers of blocks, for a model(width, depth) at one width; `branches` as in `depth_check`.
    data: (x, y).  batch_size: samples of a step, drawn with replacement; None for all.
    The loss that is compared is that of all `data`, or of `test`, after the last step; infinite if training diverged.
    Raises: ValueError, before anything is trained, for sizes or learning rates that do not increase.
    """
    axis, sizes = _axis(widths, depths)
    rates = check_rates(learning_rates)
    how, data = Training(**training), check_batch(data, "data")
    for name, count in {"steps": steps, "seeds": seeds, "batch_size": 1 if batch_size is None else batch_size}.items():
        check_count(count, name)
    with precision_of(data[0]):
        each: Iterator[tuple[int, Trainer]]
        if depths is None:
            each = (_widening(sized, how) for sized in trainers_of(model, sizes, how, data))
        else:
            each = trainers_of_depths(model, sizes, int(widths), how, data, branches, 1)  # type: ignore[arg-type]
        losses, starts = swept(
            progress(each, f"{axis}s", len(sizes)), how, data, test or data, rates,
            (steps, seeds, batch_size), as_key(key), chunk,
        )  # fmt: skip
    return Sweep(axis, tuple(sizes), rates, losses, starts)


def _axis(widths: Sequence[int] | int, depths: Sequence[int] | None) -> tuple[str, list[int]]:
    """What changes, and its values.

    Raises: ValueError unless it is either the width or the depth.
    """
    if depths is None:
        if isinstance(widths, int):
            raise ValueError("one width has no drift: give two widths or more, or depths=.")
        return "width", check_sizes(widths, "widths", 2)
    if not isinstance(widths, int):
        raise ValueError(
            f"over depths the width is one number, such as 64; got {widths!r}.  Sweep widths by themselves."
        )
    return "depth", check_sizes(depths, "depths", 2)


def _widening(sized: tuple[int, Trainer], how: Training) -> tuple[int, Trainer]:
    """Raises: ValueError for models that differ in depth alone, if the optimizer treats matrices as such."""
    found = sized[1].factors
    flat = found is not None and set(found.specs.roles().values()) == {Role.SCALAR}
    if flat and completed(how.optimizer) is not how.optimizer:
        raise ValueError("models of these sizes differ in no width: over depths give model(width, depth) and depths=.")
    return sized


def check_rates(learning_rates: Sequence[float]) -> np.ndarray:
    """Raises: ValueError unless there are three or more, positive and increasing."""
    rates = np.asarray(learning_rates, np.float64)
    if (
        rates.ndim != 1
        or len(rates) < 3
        or not (np.isfinite(rates).all() and rates[0] > 0 and (np.diff(rates) > 0).all())
    ):
        raise ValueError(
            f"learning_rates are three or more positive numbers that increase, such as 2.0 ** np.arange(-8, 2); got "
            f"{learning_rates!r}."
        )
    return rates


def swept(
    trainers: Any, how: Training, data: Any, test: Any, rates: np.ndarray, lengths: tuple[int, int, int | None],
    key: Any, chunk: int | None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Losses `[sizes, rates, seeds]` after training, and before it `[sizes, seeds]`."""
    losses, starts = [], []
    for _, each in trainers:
        keys = [jax.random.fold_in(key, seed) for seed in range(lengths[1])]
        params = [each.init(k) for k in keys]
        outputs = jax.eval_shape(each.apply, params[0], data[0])
        check_labels(how.loss or default_loss(data[1]), outputs.shape, data[1])
        starts.append([float(each.objective(p, test)) for p in params])
        if not np.isfinite(starts[-1]).all():
            raise ValueError("the loss is not finite before any step: look at the model with wn.signal_report.")
        losses.append(_losses(each, params, keys, data, test, rates, lengths, chunk))
    return np.array(losses), np.array(starts)


def _losses(
    each: Trainer, params: list[Any], keys: list[Any], data: Any, test: Any, rates: np.ndarray,
    lengths: tuple[int, int, int | None], chunk: int | None,
) -> np.ndarray:  # fmt: skip
    steps, seeds, size = lengths
    stacked, orders = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params), jnp.stack(keys)
    runs = [(i, seed) for i in range(len(rates)) for seed in range(seeds)]
    chunk = min(chunk or _chunk(params[0]), len(runs))

    def run(rate: Array, seed: Array) -> Array:
        start = jax.tree.map(lambda leaf: leaf[seed], stacked)

        def one(carry: Any, step_key: Any) -> tuple[Any, None]:
            now, state = carry
            now, state, _ = each.step(now, state, rate, _drawn(data, size, step_key))
            return (now, state), None

        order = jax.random.split(jax.random.fold_in(orders[seed], 1), steps)
        (end, _), _ = jax.lax.scan(one, (start, each.start(start, _drawn(data, size, order[0]))), order)
        return each.objective(end, test)

    together = jax.jit(jax.vmap(run))
    found: list[Array] = []
    for begin in progress(range(0, len(runs), chunk), f"{len(rates)} rates times {seeds} seeds, {chunk} at a time"):
        part = runs[begin : begin + chunk]
        part += part[-1:] * (chunk - len(part))  # one shape, one compilation
        at, seed = np.array(part).T
        found.append(together(jnp.asarray(rates[at], _float(params[0])), jnp.asarray(seed)))
    losses = np.concatenate([np.asarray(part, np.float64) for part in found])[: len(runs)]
    return np.where(np.isfinite(losses), losses, np.inf).reshape(len(rates), seeds)


def _float(params: Any) -> Any:
    return jnp.result_type(*jax.tree.leaves(params))


def _drawn(data: Any, size: int | None, key: Any) -> Any:
    """A batch of the data."""
    if size is None:
        return data
    count = len(jax.tree.leaves(data)[0])
    rows = jax.random.randint(key, (size,), 0, count)
    return jax.tree.map(lambda array: jnp.asarray(array)[rows], data)


def _chunk(params: Any) -> int:
    """How many runs a quarter of the memory budget holds."""
    size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(params))
    return max(1, int(SHARE * memory.budget() / (COPIES * size)))
