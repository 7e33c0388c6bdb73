"""Does a model keep the sizes of its stream, updates and outputs as it grows deeper? (V5)"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.finite.empirical import precision_of
from widenet.finite.parameters import as_key
from widenet.parametrizations.parametrization import depth_mup
from widenet.transfer.arguments import check_batch, check_count, check_rate, check_sizes
from widenet.transfer.coordinate import RATE, TOLERANCE, Options, seen_apply, steps_of
from widenet.transfer.judge import check_expected, fitted_from
from widenet.transfer.linearization import Blocks, blocks_of, distance_of, masks
from widenet.transfer.measure import Key, Plan, measured
from widenet.transfer.model import as_model, models_of
from widenet.transfer.probes import Probe, probe, rms
from widenet.transfer.report import CheckReport, Finding
from widenet.transfer.slopes import slope
from widenet.transfer.training import Trainer, Training, factors_of, trainer

LINEARIZED = 8  # blocks of each model, evenly spaced, whose nonlinearity is measured
INITIAL = ("x", "W0 x")  # of which all else is a consequence
LINEAR = 1000  # times eps: distances below are rounding
KINDS = {"first layer": "", "blocks": "mean", "stream": "end", "readout": "", "output": ""}


def depth_check(
    model: Any,
    depths: Sequence[int],
    batch: Any,
    *,
    branches: str | None = None,
    width: int = 64,
    block_depth: int = 1,
    learning_rate: float = RATE,
    steps: int | None = None,
    seeds: int = 3,
    key: Any = 0,
    drop: int | None = None,
    tolerance: float = TOLERANCE,
    **training: Unpack[Options],
) -> CheckReport:
    r"""Train models of several depths for a step or two, and fit how sizes go as a power of depth. (V5)

    model: model(width, depth), otherwise as in `coordinate_check`; it scales its branches itself, as with
    `widenet.parametrizations.branch_scale`.  depths: three or more, numbers of blocks; the first is the base.
    branches: a pattern of the paths of parameters in residual branches, whose group is the number of the block, such
    as r"blocks/(\d+)/"; without a group they are stacked along their first axis.  An architecture needs none.
    block_depth: weight matrices in a branch; with two or more, blocks that become linear fail.
    training: the parametrization is Depth-muP if none is given.
    Measured are the stream, which the readout is given, the outputs, the first layer and the readout; the mean square
    over all layers in branches; and how nonlinear what a block makes is in its own parameters, for up to eight of them.
    Layers in a scan are not seen.
    Raises: ValueError, before anything is trained, for what cannot be fitted or trained: see the messages.
    Source: yang2023, section 7; dey2025.
    """
    depths = check_sizes(depths, "depths")
    check_expected("features", tolerance)
    drop = fitted_from(depths, drop)
    options: Any = {"parametrization": depth_mup, **training}
    how = Training(**options)
    plan = Plan(check_rate(learning_rate), steps_of(steps, how.optimizer), check_count(seeds, "seeds"), as_key(key))
    batch = check_batch(batch)
    with precision_of(batch[0]):
        trainers = trainers_of_depths(
            model, depths, width, how, batch, branches, check_count(block_depth, "block_depth")
        )
        values = measured(trainers, how, batch, plan, lambda each, params, x: _reader(each, params, x, branches))
    return _judged(depths, {key: v for key, v in values.items() if key[1] != "direction"}, drop, tolerance, block_depth)


def trainers_of_depths(
    model: Any, depths: Sequence[int], width: int, how: Training, batch: Any, branches: str | None, block_depth: int
) -> Iterator[tuple[int, Trainer]]:
    """The model of every depth at one width, with its optimizer; branches are scaled relative to the first depth."""
    factory = models_of(model, batch[0])
    try:
        inspect.signature(factory).bind(width, depths[0])
    except TypeError as error:
        raise ValueError(f"over depths a model is a function of two numbers, model(width, depth): {error}.") from error
    base_depth = 1
    for depth in depths:
        each, wide = (as_model(factory(n, depth), batch[0], n) for n in (width, 2 * width))
        options: dict[str, Any] = {**how.infer}
        if each.net is not None and depth == depths[0]:
            base_depth = round(factors_of(how, each, each, wide, batch).specs.depth)
        elif each.net is None and each.optimizer is None:
            if branches is None:
                raise ValueError(
                    "branches is missing: give the pattern of paths of parameters in residual branches, such as "
                    "r'blocks/(\\d+)/'."
                )
            ratio = {"depth": depth, "base_depth": depths[0], "block_depth": block_depth}
            options = {**ratio, "branches": branches, **options}
        yield depth, trainer(replace(how, infer=options), each, each, wide, batch, base_depth)


def _reader(each: Trainer, params: Any, x: Any, branches: str | None) -> Callable[[Any, Any, Any], dict[Key, Array]]:
    unroll = each.model.unroll
    seen = probe(seen_apply(each), unroll(params), x)
    inside = _inside(each, branches)
    at = [i for i, path in enumerate(seen.paths) if inside(path)]
    blocks = _blocks(each, params, branches)
    spaced = [list(blocks)[i] for i in np.unique(np.linspace(0, len(blocks) - 1, LINEARIZED).astype(int))]
    stacked = jax.tree.map(_stacked, *(masks(params, blocks[name]) for name in spaced))
    order, ends = jnp.arange(len(spaced)), _ends(seen, blocks, spaced)

    def distance(start: Any, params: Any, x: Any, at: Array, where: Any) -> Array:
        def output(params: Any, x: Any) -> Array:
            made = seen.made(unroll(params), x)
            return jnp.stack([made[i] for i in ends])[at]

        return distance_of(output, start, params, x, where)

    def read(start: Any, params: Any, x: Any) -> dict[Key, Array]:
        found = seen.changes(unroll(start), unroll(params), x)
        made: dict[Key, Array] = {("first layer", "dW x"): rms(found.dw_x[0])}
        parts = {"x": found.x0, "W0 x": found.w0_x0, "dW x": found.dw_x}
        if at:
            made |= {("blocks", name): _mean([arrays[i] for i in at]) for name, arrays in parts.items()}
        made["stream", "x"], made["stream", "dx"] = rms(found.x0[-1]), rms(found.dx[-1])
        made |= {("readout", "dW x"): rms(found.dw_x[-1]), ("readout", "W0 dx"): rms(found.w0_dx[-1])}
        if ends:
            far = rms(jax.lax.map(lambda at: distance(start, params, x, *at), (order, stacked)))
            made["blocks", "nonlinear"] = jnp.where(far > LINEAR * jnp.finfo(far.dtype).eps, far, 0)
        return made | {("output", "f"): rms(found.f), ("output", "df"): rms(found.df)}

    return read


def _ends(seen: Probe, blocks: Blocks, spaced: Sequence[str]) -> list[int]:
    """The last layer of each block; none if a block is hidden in a scan."""
    last = {}
    for i, path in enumerate(seen.paths):
        for name, leaves in blocks.items():
            if any(path == leaf if row is None else path == _unrolled(leaf, row) for leaf, row in leaves.items()):
                last[name] = i
    return [last[name] for name in spaced] if set(spaced) <= set(last) else []


def _unrolled(path: str, row: int) -> str:
    """The path of one copy of a repeated block of an architecture."""
    first, _, rest = path.partition("/")
    return f"{first}/{row}/{rest}"


def _stacked(*leaves: Array) -> Array:
    shape = np.broadcast_shapes(*(leaf.shape for leaf in leaves))
    return jnp.stack([jnp.broadcast_to(leaf, shape) for leaf in leaves])


def _mean(arrays: Sequence[Array]) -> Array:
    """The root of the mean square over layers."""
    return rms(jnp.stack([rms(array) for array in arrays]))


def _inside(each: Trainer, branches: str | None) -> Callable[[str], bool]:
    """Is a path, perhaps of an unrolled stack, in a branch?"""
    if branches is not None:
        return lambda path: re.search(branches, path) is not None
    of_net = {leaf.path for leaf in each.factors.specs if leaf.branch} if each.factors else set()
    return lambda path: path in of_net or re.sub(r"/\d+(?=/)", "", path) in of_net


def _blocks(each: Trainer, params: Any, branches: str | None) -> Blocks:
    if branches is None and each.factors is not None:
        paths = [re.escape(leaf.path) for leaf in each.factors.specs if leaf.branch]
        if not paths:
            raise ValueError("the architecture has no residual branches: nothing grows with depth but the network.")
        branches = f"^({'|'.join(paths)})$".replace("(", "(?:", 1)
    return blocks_of(params, branches or "$^")


def _judged(
    depths: Sequence[int], values: Mapping[Key, np.ndarray], drop: int, tolerance: float, block_depth: int
) -> CheckReport:
    findings = tuple(
        _finding(key, depths[drop:], array[drop:, :, -1], tolerance, block_depth) for key, array in values.items()
    )
    wrong = sorted((found for found in findings if not found.passed), key=lambda found: found.quantity not in INITIAL)
    kinds = {name: word for name, word in KINDS.items() if any(layer == name for layer, _ in values)}
    texts = [_reason(found) for found in wrong]
    verdict = texts[0] if texts else "stream, updates and outputs keep their sizes at every depth"
    return CheckReport(
        "depth", tuple(depths), tuple(depths[drop:]), values, findings, kinds, verdict, tuple(texts[1:]), (), tolerance
    )  # fmt: skip


def _finding(key: Key, depths: Sequence[int], values: np.ndarray, tolerance: float, block_depth: int) -> Finding:
    found = slope(np.array(depths), values)
    low, high = _bounds(key, tolerance, block_depth)
    if np.isnan(found.value):
        return Finding(*key, found, key[1] not in ("dW x", "df"), True)
    passed = low <= found.value <= high
    sure = (low <= found.low and found.high <= high) if passed else (found.high < low or found.low > high)
    return Finding(*key, found, bool(passed), bool(sure))


def _bounds(key: Key, tolerance: float, block_depth: int) -> tuple[float, float]:
    """Of slopes that pass.  What one of many branches adds may be small; so may outputs be at initialization."""
    layer, quantity = key
    if quantity == "nonlinear":
        return (-np.inf if block_depth == 1 else -tolerance), np.inf
    may_shrink = quantity == "f" or (layer == "blocks" and quantity in ("W0 x", "dW x"))
    return (-np.inf if may_shrink else -tolerance), tolerance


def _reason(found: Finding) -> str:
    value, what = found.slope.value, f"{found.quantity} of {found.layer}"
    if np.isnan(value):
        return f"{what} is zero"
    what = f"{what} goes as L^{value:.2f}"
    if found.quantity == "nonlinear" and value < 0:
        return f"{what}: blocks become linear in their own weights; scale branches by 1/L (depth_linear)"
    if found.quantity in INITIAL:
        return f"{what} at initialization: branches need a factor L^-1/2 or less"
    if value > 0:
        return f"{what}: branches learn too fast, alpha + gamma is below 1"
    return f"{what}: branches are scaled and slowed too much, alpha + gamma is above 1"
