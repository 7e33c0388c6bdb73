"""From sizes to slopes, from slopes to a verdict and its cause in words. (V3, V4)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from widenet.parametrizations.classify import check
from widenet.parametrizations.factors import Factors
from widenet.parametrizations.optimizers import Optimizer
from widenet.transfer.measure import Key
from widenet.transfer.probes import Probe
from widenet.transfer.reasons import FIXED, HIDDEN, INPUT, READOUT, Context, Layers, explained
from widenet.transfer.report import CheckReport, Finding
from widenet.transfer.slopes import Slope, slope
from widenet.transfer.training import Training

EXPECTED = ("features", "kernel")
MAY_SHRINK = {"f", "value"}  # at initialization, as means of many terms without sign
MUST_MOVE = {"dW x", "df"}


def check_expected(expect: str, tolerance: float) -> None:
    """Raises: ValueError for an unknown word, or a tolerance that is not positive."""
    if expect not in EXPECTED:
        raise ValueError(f"expect is one of {', '.join(map(repr, EXPECTED))}; got {expect!r}.")
    if not 0 < tolerance < np.inf:
        raise ValueError(f"tolerance is a bound on slopes, above 0, such as 0.2; got {tolerance!r}.")


def fitted_from(sizes: Sequence[int], drop: int | None) -> int:
    """How many of the smallest sizes are left out of fits.

    Raises: ValueError if less than three would be left.
    """
    if drop is None:
        return min(len(sizes) // 3, len(sizes) - 3)
    if not 0 <= drop <= len(sizes) - 3:
        raise ValueError(f"drop={drop} of {len(sizes)} sizes leaves less than three to fit; give more sizes.")
    return drop


def judged(
    widths: Sequence[int],
    values: Mapping[Key, np.ndarray],
    layers: Sequence[Layers],
    how: Training,
    *,
    drop: int | None,
    tolerance: float,
    expect: str,
) -> CheckReport:
    """The report of a check over widths."""
    drop = fitted_from(widths, drop)
    kinds = _kinds(layers)
    steps = {key: 0 if key[1] == "direction" else -1 for key in values}  # later ones add up several directions
    slopes = {key: slope(np.array(widths[drop:]), array[drop:, :, steps[key]]) for key, array in values.items()}
    shown = {key: array for key, array in values.items() if key[1] != "direction" and not _of_data(key, values)}
    findings = tuple(_finding(key, slopes[key], kinds[key[0]], tolerance, expect) for key in shown)
    verdict, reasons = explained(findings, Context(kinds, slopes, layers[-1], tolerance))
    return CheckReport(
        "width",
        tuple(widths),
        tuple(widths[drop:]),
        shown,
        findings,
        kinds,
        verdict,
        reasons,
        _notes(layers[0].seen, how, layers[0].factors),
        tolerance,
    )


def _kinds(layers: Sequence[Layers]) -> dict[str, str]:
    """What each layer is, by what grows with width; then named values and the output."""
    first, end = layers[0], layers[-1]
    words = {(False, True): INPUT, (True, True): HIDDEN, (True, False): READOUT, (False, False): FIXED}
    grow = zip(first.given, end.given, first.made, end.made, strict=True)
    kinds = {name: words[a < b, c < d] for name, (a, b, c, d) in zip(first.seen.layers, grow, strict=True)}
    return kinds | dict.fromkeys(first.seen.names, "named") | {"output": ""}


def _of_data(key: Key, values: Mapping[Key, np.ndarray]) -> bool:
    """Is it a size of the data, which no training changes?"""
    return key[1] in ("x", "dx", "W0 dx") and not np.any(values[key[0], "dx"])


def _finding(key: Key, found: Slope, kind: str, tolerance: float, expect: str) -> Finding:
    layer, quantity = key
    if np.isnan(found.value):  # zero at every width
        return Finding(layer, quantity, found, quantity not in MUST_MOVE, True)
    may_shrink = quantity in MAY_SHRINK or (quantity == "W0 x" and kind == READOUT)
    if expect == "kernel":
        may_shrink |= quantity in ("dx", "W0 dx", "change") or (quantity == "dW x" and kind != READOUT)
    low = -np.inf if may_shrink else -tolerance
    passed = low <= found.value <= tolerance
    inside, outside = low <= found.low and found.high <= tolerance, found.high < low or found.low > tolerance
    return Finding(layer, quantity, found, passed, bool(inside if passed else outside))


def _notes(seen: Probe, how: Training, factors: Factors | None) -> tuple[str, ...]:
    notes = []
    if seen.untouched:
        notes.append(f"not measured, as they multiply no data or only in scans: {', '.join(seen.untouched)}")
    if seen.tied:
        notes.append(f"weights that make data too, all of whose change is counted in W0 dx: {', '.join(seen.tied)}")
    if factors is not None:
        for optimizer in {str(each): each for each in factors.optimizers.values()}.values():
            notes.append(f"theory of {how.parametrization.name} under {optimizer}: {_theory(how, optimizer)}")
    return tuple(notes)


def _theory(how: Training, optimizer: Optimizer) -> str:
    return str(check(how.parametrization, optimizer)).replace("\n", "; ")
