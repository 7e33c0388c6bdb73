"""What tuning returns: the new parameters, and what it did to each weight."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Report:
    """A quantity before and after, by name, and the factors that weights were multiplied by."""

    quantity: str
    names: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray
    scales: Mapping[str, float]
    untouched: tuple[str, ...] = ()  # weights that no layer was seen to use
    history: np.ndarray | None = None  # the objective, step by step

    def __str__(self) -> str:
        """A table."""
        width = max(map(len, ("weight", *self.names, *self.scales)))
        lines = [f"{'':{width}}  {self.quantity}: before -> after"]
        for name, before, after in zip(self.names, self.before, self.after, strict=True):
            lines.append(f"{name:{width}}  {before:.4g} -> {after:.4g}")
        lines.append(f"{'weight':{width}}  times")
        lines += [f"{name:{width}}  {scale:.4g}" for name, scale in self.scales.items()]
        if self.untouched:
            lines.append(f"as they were, for no layer was seen to use them: {', '.join(self.untouched)}")
        return "\n".join(lines)


class Tuned(NamedTuple):
    """New parameters, of the same structure, and the report."""

    params: Any
    report: Report
