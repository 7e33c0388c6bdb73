"""Which quantity grows or dies, and which factor is likely wrong. (V4)"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from widenet.parametrizations.factors import Factors
from widenet.parametrizations.optimizers import Optimizer
from widenet.transfer.measure import Key
from widenet.transfer.probes import Probe
from widenet.transfer.report import Finding
from widenet.transfer.slopes import Slope

INPUT, HIDDEN, READOUT, FIXED = "input", "hidden", "readout", "fixed"


class Layers(NamedTuple):
    """The layers of a model of one size: numbers of values that they are given and make."""

    seen: Probe
    given: tuple[int, ...]
    made: tuple[int, ...]
    factors: Factors | None


class Context(NamedTuple):
    """What is known beside the findings."""

    kinds: Mapping[str, str]
    slopes: Mapping[Key, Slope]
    layers: Layers
    tolerance: float


def explained(findings: Sequence[Finding], context: Context) -> tuple[str, tuple[str, ...]]:
    """The verdict, and the reasons for it, the likeliest cause first."""
    wrong = [found for found in findings if not found.passed]
    if not wrong:
        return "features, updates and outputs keep their sizes at every width", ()
    reasons: dict[str, None] = {}
    for rule in (_diverges, _initial, _optimizers, _initial_readout, _rates, _features, _rest):
        reasons |= dict.fromkeys(rule(wrong, context))
    unsure = sum(not found.sure for found in wrong)
    more = (f"{unsure} of {len(wrong)} failing slopes are within their error of passing: more seeds would settle it",)
    return _headline(wrong, context), (*reasons, *(more if unsure else ()))


def power(value: float) -> str:
    """As n^-0.38."""
    return f"n^{value:.2f}"


def _headline(wrong: Sequence[Finding], context: Context) -> str:
    if any(found.slope.value == np.inf for found in wrong):
        return "training diverges at the larger widths"
    first = ("x", "W0 x")
    if any(found.quantity in first for found in wrong):
        return "the initialization depends on width"
    if any(True for _ in _optimizers(wrong, context)):
        return "the optimizer's own directions depend on width"
    grows = [found for found in wrong if found.slope.value > 0]
    moved = [found for found in wrong if found.quantity == "dx"]
    if grows:
        most = max(grows, key=lambda found: found.slope.value)
        return f"unstable: {most.quantity} of {most.layer} grows as {power(most.slope.value)}"
    if moved:
        least = min(moved, key=lambda found: found.slope.value)
        return f"lazy: features move as {power(least.slope.value)}"
    least = min(wrong, key=lambda found: found.slope.value)
    return f"{least.quantity} of {least.layer} dies out as {power(least.slope.value)}"


def _diverges(wrong: Sequence[Finding], context: Context) -> Iterator[str]:
    names = [found.layer for found in wrong if found.slope.value == np.inf]
    if names:
        yield f"values that are not finite at {', '.join(dict.fromkeys(names))}: the learning rate grows too large"


def _initial(wrong: Sequence[Finding], context: Context) -> Iterator[str]:
    """Initial weights of other sizes than what they are given asks for."""
    for found in wrong:
        if found.quantity != "W0 x" or not np.isfinite(found.slope.value):
            continue
        given = context.slopes[found.layer, "x"].value if context.kinds[found.layer] != INPUT else 0.0
        excess = found.slope.value - given
        if abs(excess) > context.tolerance:
            yield f"initial weights of {found.layer} are {power(abs(excess))} too {_size(excess)}"


def _optimizers(wrong: Sequence[Finding], context: Context) -> Iterator[str]:
    """Directions that are not what the optimizer states, where the update is off in the same direction."""
    for found in wrong:
        if found.quantity != "dW x":
            continue
        path, optimizer = _owner(found.layer, context)
        off = context.slopes.get((path, "direction"))
        if optimizer is None or off is None or not abs(off.value) > context.tolerance:
            continue
        if off.value * found.slope.value <= 0:
            continue
        if optimizer.entrywise:
            cause = "an epsilon that does not go as gradients do" if off.value < 0 else "a scale of its own"
        else:
            cause = "a scale of its own that is not stated (Muon's), or an epsilon that does not go as gradients do"
        yield f"the direction that {optimizer} makes for {path} goes as {power(off.value)}: {cause}"


def _initial_readout(wrong: Sequence[Finding], context: Context) -> Iterator[str]:
    """Initial readouts that amplify the change of features."""
    for found in wrong:
        if found.quantity != "W0 dx" or context.kinds[found.layer] != READOUT or not np.isfinite(found.slope.value):
            continue
        excess = found.slope.value - context.slopes[found.layer, "dx"].value
        if excess > context.tolerance:
            yield (
                f"the initial readout {found.layer} makes changes of features {power(excess)} too large: its standard "
                "deviation should go as 1/n, or be zero"
            )


def _rates(wrong: Sequence[Finding], context: Context) -> Iterator[str]:
    """Learning rates, where the direction is as stated."""
    blamed = {re.sub(r".* for (\S+) goes as.*", r"\1", text) for text in _optimizers(wrong, context)}
    for found in wrong:
        if found.quantity != "dW x" or not np.isfinite(found.slope.value):
            continue
        path, optimizer = _owner(found.layer, context)
        if path in blamed:
            continue
        what = "the learning rate" if optimizer is None or optimizer.degree > 0 else "the learning rate (or epsilon)"
        if optimizer is not None and optimizer.degree < 0:
            what = "the learning rate (or damping)"
        size = found.slope.value
        yield f"updates of {found.layer} go as {power(size)}: {what} is {power(abs(size))} too {_size(size)}"


def _features(wrong: Sequence[Finding], context: Context) -> Iterator[str]:
    moved = {found.layer: found.slope.value for found in wrong if found.quantity == "dx"}
    shrink = {layer: value for layer, value in moved.items() if value < 0}
    if shrink:
        layer = min(shrink, key=lambda name: shrink[name])
        lazy = all(found.slope.value < 0 for found in wrong) and not any(_optimizers(wrong, context))
        kept = "lazy, which expect='kernel' accepts: " if lazy else ""
        yield f"{kept}what {layer} is given moves as {power(shrink[layer])}"
    for layer, value in moved.items():
        if 0 < value < np.inf:
            yield f"features that {layer} is given change by {power(value)}"


def _rest(wrong: Sequence[Finding], context: Context) -> Iterator[str]:
    for found in wrong:
        value, name = found.slope.value, f"{found.quantity} of {found.layer}"
        if np.isnan(value):
            yield f"{name} is zero: nothing moves there; with a zero readout take steps=2"
        elif value == -np.inf:
            yield f"{name} is zero at some widths"
        elif found.quantity in ("f", "df", "value", "change"):
            yield f"{name} goes as {power(value)}"


def _owner(layer: str, context: Context) -> tuple[str, Optimizer | None]:
    """The path of a layer's weight among the factors, and its optimizer."""
    seen, factors = context.layers.seen, context.layers.factors
    path = seen.paths[seen.layers.index(layer)]
    if factors is None:
        return path, None
    if path not in factors.optimizers:
        path = re.sub(r"/\d+(?=/)", "", path)  # copies of a repeated block have one stack of weights
    return path, factors.optimizers.get(path)


def _size(value: float) -> str:
    return "large" if value > 0 else "small"
