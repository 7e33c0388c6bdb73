"""Does a model keep the sizes of its activations, updates and outputs as it grows wider? (V2, V3)"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypedDict, Unpack

import jax
import jax.numpy as jnp
from jax import Array

from widenet.finite.empirical import precision_of
from widenet.finite.parameters import as_key
from widenet.parametrizations.factors import Factors
from widenet.parametrizations.optimizers import Optimizer
from widenet.parametrizations.parametrization import Parametrization
from widenet.parametrizations.trees import shapes_of
from widenet.transfer.arguments import check_batch, check_count, check_rate, check_sizes
from widenet.transfer.cores import Core
from widenet.transfer.judge import check_expected, fitted_from, judged
from widenet.transfer.losses import Loss
from widenet.transfer.measure import Key, Plan, measured
from widenet.transfer.model import Model, as_model, models_of
from widenet.transfer.probes import Changes, Probe, probe, rms
from widenet.transfer.reasons import Layers
from widenet.transfer.report import CheckReport
from widenet.transfer.training import Trainer, Training, trainer

TOLERANCE = 0.2  # of slopes: between laziness, -1/2 or so, and what finite widths bend them by, 0.1
ROUNDING = 50  # times eps: what is left of a difference that is zero
RATE = 0.01  # small enough for a step or two of anything

Models = Callable[..., Any]


class Options(TypedDict, total=False):
    """The fields of `Training`, as keyword arguments."""

    parametrization: Parametrization
    optimizer: Any
    core: Callable[[Factors], Core] | None
    loss: Loss | None
    infer: dict[str, Any]
    zero_readout: bool


def coordinate_check(
    model: Any,
    widths: Sequence[int],
    batch: Any,
    *,
    learning_rate: float = RATE,
    steps: int | None = None,
    seeds: int = 3,
    key: Any = 0,
    drop: int | None = None,
    tolerance: float = TOLERANCE,
    expect: str = "features",
    **training: Unpack[Options],
) -> CheckReport:
    """Train models of several widths for a step or two, and fit how every size goes as a power of width. (V2, V3)

    model: model(width) gives a pair (init, apply) of init(key) and apply(params, x), a flax module, any object with
    `init` and `apply`, or an architecture of widenet; an architecture may stand for itself.  If what it gives has an
    `optimizer` too, a transformation of optax or a function of the learning rate, it is checked as it is; else it is
    trained as `training` says: see `Training`.
    widths: three or more; the first is the base of the parametrization.  batch: (x, y).
    learning_rate: that of the base model.  steps: by default 2, or 1 for one's own optimizer and those like Adam,
    whose first two steps may cancel.  drop: how many of the smallest widths lines are not fitted to; by default a
    third, if three are left.  tolerance: of slopes.  expect: "features", or "kernel" where they may stand still as in
    the NTK limit.
    A layer is where a leaf of the parameters with two axes or more multiplies data; values that `apply` names with
    `jax.ad_checkpoint.checkpoint_name`, such as attention logits, are measured too.
    Numpy data are computed in float64, jax arrays in their own precision.
    Raises: ValueError, before anything is trained, for what cannot be fitted or trained: see the messages.
    Source: yang2022, appendix D.1 (coordinate check).

    >>> import numpy as np, widenet as wn
    >>> net = wn.serial(wn.dense(), wn.tanh, wn.dense(), wn.tanh, wn.dense(width=2))
    >>> x, y = np.random.default_rng(0).normal(size=(5, 4)), np.ones((5, 2))
    >>> report = wn.coordinate_check(net, (32, 64, 128), (x, y))
    >>> report.passed, report.exit_code
    (True, 0)
    """
    widths = check_sizes(widths, "widths")
    check_expected(expect, tolerance)
    fitted_from(widths, drop)
    how = Training(**training)
    plan = Plan(check_rate(learning_rate), steps_of(steps, how.optimizer), check_count(seeds, "seeds"), as_key(key))
    batch = check_batch(batch)
    with precision_of(batch[0]):
        layers: list[Layers] = []

        def read(each: Trainer, params: Any, x: Any) -> Callable[[Any, Any, Any], dict[Key, Array]]:
            seen = probe(seen_apply(each), each.model.unroll(params), x)
            layers.append(_layers(seen, each, params, x))
            return lambda start, params, x: _sizes(seen, each, start, params, x)

        values = measured(trainers_of(model, widths, how, batch), how, batch, plan, read)
    return judged(widths, values, layers, how, drop=drop, tolerance=tolerance, expect=expect)


def steps_of(steps: int | None, optimizer: Any) -> int:
    """As given; by default 2, or 1 if an optimizer's direction does not depend on the size of gradients."""
    if steps is not None:
        return check_count(steps, "steps")
    every = optimizer.values() if isinstance(optimizer, Mapping) else (optimizer,)
    return 2 if all(isinstance(each, Optimizer) and each.degree for each in every) else 1


def trainers_of(model: Any, widths: Sequence[int], how: Training, batch: Any) -> Iterator[tuple[int, Trainer]]:
    """The model of every width, with its optimizer; parametrized relative to the first."""
    factory = models_of(model, batch[0])
    made = [as_model(factory(width), batch[0], width) for width in widths]
    _check_grows(made, widths)
    for width, each in zip(widths, made, strict=True):
        yield width, trainer(how, each, made[0], made[1] if each is made[0] else each, batch)


def _check_grows(made: Sequence[Model], widths: Sequence[int]) -> None:
    shapes = [shapes_of(lambda each=each: each.init(jax.random.key(0))) for each in made[:2]]
    if shapes[0] == shapes[1]:
        raise ValueError(
            f"the models of widths {widths[0]} and {widths[1]} have the same shapes: model(width) must use its width."
        )


def _sizes(seen: Probe, each: Trainer, start: Any, params: Any, x: Any) -> dict[Key, Array]:
    unroll = each.model.unroll
    found = seen.changes(unroll(start), unroll(params), x)
    made = {
        (layer, quantity): rms(arrays[i])
        for quantity, arrays in of_layers(found).items()
        for i, layer in enumerate(seen.layers)
    }
    for i, layer in enumerate(seen.layers):
        after = rms(found.w0_x0[i] + found.dw_x[i] + found.w0_dx[i])
        rounding = ROUNDING * jnp.finfo(after.dtype).eps * after
        made[layer, "W0 dx"] = jnp.where(made[layer, "W0 dx"] > rounding, made[layer, "W0 dx"], 0)
    for i, name in enumerate(seen.names):
        made |= {(name, "value"): rms(found.named[i]), (name, "change"): rms(found.d_named[i])}
    return made | {("output", "f"): rms(found.f), ("output", "df"): rms(found.df)}


def of_layers(found: Changes) -> dict[str, list[Array]]:
    """What is measured of every layer, in the order of the table."""
    return {"x": found.x0, "W0 x": found.w0_x0, "dW x": found.dw_x, "W0 dx": found.w0_dx, "dx": found.dx}


def seen_apply(each: Trainer) -> Any:
    """The function that layers are looked for in."""
    return each.model.unrolled or each.apply


def _layers(seen: Probe, each: Trainer, params: Any, x: Any) -> Layers:
    start = each.model.unroll(params)
    shapes = jax.eval_shape(seen.changes, start, start, x)
    given, made = ([array.size for array in arrays] for arrays in (shapes.x0, shapes.w0_x0))
    return Layers(seen, tuple(given), tuple(made), each.factors)
