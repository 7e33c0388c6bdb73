"""What is wrong with a network at initialization, and how it is known. (S3)"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from widenet.diagnostics.statistics import Signals

TOO_MUCH = 1e3  # a factor over the whole depth: beyond what learning rates and normalization usually make up for
COLLAPSED = 1e-3  # 1 - c: samples that a readout can no longer tell apart
LOST = 0.01  # the share of the initial 1 - c that is left then
MOST = 0.75  # of the units or values: relu is zero for half of them


class Finding(NamedTuple):
    """One verdict, and the numbers that it stands on."""

    verdict: str  # "exploding", "vanishing", "collapsing correlations", "dead units", "saturated" or "fine"
    reason: str


def findings(names: tuple[str, ...], measured: Signals) -> tuple[Finding, ...]:
    """What is wrong, the worst first; one finding "fine" if nothing is.

    The readout is left out if there are hidden layers enough to see a trend, for its width and scale differ.
    """
    hidden = slice(None) if len(names) < 3 else slice(-1)
    q, c, back = measured.q[hidden], measured.c[hidden], measured.jacobian[hidden]
    broken = np.flatnonzero(~np.isfinite(measured.q) | ~np.isfinite(measured.jacobian))
    if len(broken):
        return (Finding("exploding", f"values or gradients are not finite in {names[broken[0]]}."),)
    found = [*_trend("the variance q", "forwards", q), *_trend("the squared gradient J", "backwards", back[::-1])]
    found += [*_share("dead units", measured.dead, names, "of the units that {} is given are the same for all samples")]
    found += [*_collapse(c)]
    found += [
        *_share("saturated", measured.saturated, names, "of the values that {} is given are at an end of their range")
    ]
    order = ("exploding", "vanishing")
    found.sort(key=lambda finding: order.index(finding.verdict) if finding.verdict in order else len(order))
    return tuple(found) or (Finding("fine", _fine(q, c, back)),)


def _rate(values: np.ndarray) -> float:
    return float((values[-1] / values[0]) ** (1 / max(len(values) - 1, 1)))


def _trend(what: str, way: str, values: np.ndarray) -> list[Finding]:
    if not (values > 0).all():
        return [Finding("vanishing", f"{what} is exactly 0 in {np.sum(values == 0)} of {len(values)} layers.")]
    total = values[-1] / values[0]
    if 1 / TOO_MUCH <= total <= TOO_MUCH:
        return []
    text = f"{what} is multiplied by {_rate(values):.3g} a layer {way}, {total:.2g} over {len(values)} layers."
    return [Finding("exploding" if total > 1 else "vanishing", text)]


def _share(verdict: str, values: np.ndarray, names: tuple[str, ...], text: str) -> list[Finding]:
    if np.isnan(values).all() or np.nanmax(values) <= MOST:
        return []
    worst = int(np.nanargmax(values))
    return [Finding(verdict, f"{values[worst]:.0%} {text.format(names[worst])}.")]


def _collapse(c: np.ndarray) -> list[Finding]:
    apart = 1 - c
    if not (apart[-1] < COLLAPSED and apart[-1] < LOST * apart[0]):
        return []
    text = f"1 - c, the mean cosine distance of samples, falls from {apart[0]:.2g} to {max(apart[-1], 0):.2g} over "
    return [Finding("collapsing correlations", f"{text}{len(c)} layers: the last ones hardly see which input it was.")]


def _fine(q: np.ndarray, c: np.ndarray, back: np.ndarray) -> str:
    text = f"over {len(q)} layers q is multiplied by {q[-1] / q[0]:.3g}, squared gradients by {back[0] / back[-1]:.3g}"
    return f"{text}, and samples have mean cosine {c[-1]:.3g} at the end."
