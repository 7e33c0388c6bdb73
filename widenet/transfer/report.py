"""What a check found: a table, a verdict with its reason, a picture, an exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from widenet.transfer.measure import Key
from widenet.transfer.slopes import Slope

COLUMNS = ("x", "W0 x", "dW x", "W0 dx", "dx", "nonlinear", "value", "change", "f", "df")


class Finding(NamedTuple):
    """How one size goes with the size of the model."""

    layer: str
    quantity: str
    slope: Slope
    passed: bool
    sure: bool  # does the whole interval pass, or fail?


@dataclass(frozen=True)
class CheckReport:
    """Slopes of log2 sizes over log2 width, or depth, and what they mean.

    sizes: widths or depths.  fitted: those that lines go through.  values: `[sizes, seeds, steps]`, by layer and
    quantity.  findings: all slopes after the last step.  verdict: in a word or two; reasons: why, the likeliest first.
    """

    axis: str
    sizes: tuple[int, ...]
    fitted: tuple[int, ...]
    values: Mapping[Key, np.ndarray]
    findings: tuple[Finding, ...]
    kinds: Mapping[str, str]
    verdict: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    tolerance: float

    @property
    def passed(self) -> bool:
        """Is every slope as it should be?"""
        return all(found.passed for found in self.findings)

    @property
    def exit_code(self) -> int:
        """0 if the check passed, else 1."""
        return 0 if self.passed else 1

    def slope(self, layer: str, quantity: str) -> Slope:
        """One slope; `KeyError` names what there is."""
        for found in self.findings:
            if (found.layer, found.quantity) == (layer, quantity):
                return found.slope
        known = ", ".join(f"{found.layer}: {found.quantity}" for found in self.findings)
        raise KeyError(f"no slope of {quantity!r} in {layer!r}; there are {known}")

    def rows(self) -> list[tuple[str, ...]]:
        """The table as text: a header, and one row a layer; * marks what fails."""
        columns = [c for c in COLUMNS if any(found.quantity == c for found in self.findings)]
        cells = {(found.layer, found.quantity): _cell(found) for found in self.findings}
        body = [
            (layer, self.kinds[layer], *(cells.get((layer, column), "") for column in columns)) for layer in self.kinds
        ]
        return [("layer", "", *columns), *body]

    def __str__(self) -> str:
        """The table and the verdict."""
        cells = self.rows()
        sizes = [max(map(len, column)) for column in zip(*cells, strict=True)]
        head = f"powers of {self.axis}, fitted to {', '.join(map(str, self.fitted))}; * is not within {self.tolerance}"
        lines = ["  ".join(map(str.ljust, row, sizes)).rstrip() for row in cells]
        lines = [head, "", *lines, "", f"{'pass' if self.passed else 'FAIL'}: {self.verdict}"]
        return "\n".join([*lines, *(f"  {text}" for text in self.reasons), *(f"note: {text}" for text in self.notes)])

    def plot(self, path: str | Path) -> Path:
        """Write the picture to `path` (.png, .pdf or .svg)."""
        from widenet.transfer.draw import draw_check, picture_path

        path = picture_path(path)
        draw_check(self).savefig(path, dpi=130)
        return path


def _cell(found: Finding) -> str:
    mark = "" if found.passed else "*"
    value, low, high = found.slope
    if np.isnan(value):
        return f"zero{mark}"
    if np.isinf(value):
        return f"{'not finite' if value > 0 else 'to zero'}{mark}"
    half = "" if np.isnan(low) else f" ±{(high - low) / 2:.2f}"
    return f"{value:+.2f}{half}{mark}"
