"""What tuning returns: the new parameters, and what it did to each weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


@dataclass(frozen=True)
class Report:
    """A quantity of each weight before and after, and the factor that the weight was multiplied by."""

    quantity: str
    names: tuple[str, ...]
    before: np.ndarray
    after: np.ndarray
    scale: np.ndarray
    untouched: tuple[str, ...] = ()  # weights that no layer was seen to use
    history: np.ndarray | None = None  # the objective, step by step

    def __str__(self) -> str:
        """A table."""
        width = max(map(len, ("weight", *self.names)))
        lines = [f"{'weight':{width}}  {'times':>10}  {self.quantity}: before -> after"]
        for name, scale, before, after in zip(self.names, self.scale, self.before, self.after, strict=True):
            lines.append(f"{name:{width}}  {scale:10.4g}  {before:.4g} -> {after:.4g}")
        if self.untouched:
            lines.append(f"as they were, for no layer was seen to use them: {', '.join(self.untouched)}")
        return "\n".join(lines)


class Tuned(NamedTuple):
    """New parameters, of the same structure, and the report."""

    params: Any
    report: Report
