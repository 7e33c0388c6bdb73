"""One array of parameters, and which of its axes grow with width."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

WORDS = ("in", "out", "tap", "stack")


class Role(StrEnum):
    """What an array is to the theory, by which fans go to infinity."""

    INPUT = "input"  # matrices with infinite fan-out only: input layers, embeddings
    HIDDEN = "hidden"  # both
    OUTPUT = "output"  # infinite fan-in only: readouts
    VECTOR = "vector"  # one axis, infinite: biases, gains
    SCALAR = "scalar"  # nothing infinite: temperatures, the bias of the readout


@dataclass(frozen=True)
class Leaf:
    """One array: its shape in the model and in the base model, and what its axes are.

    axes: "in", "out", "tap" (of a window, finite) or "stack" (layers in a row, scanned over), one an axis.
    infinite: does the axis grow with width?  branch: is it inside of a residual branch?  tied: is it embedding and
    readout at once?
    """

    path: str
    shape: tuple[int, ...]
    base: tuple[int, ...]
    axes: tuple[str, ...]
    infinite: tuple[bool, ...]
    branch: bool = False
    tied: bool = False

    @property
    def role(self) -> Role:
        """Of fans that are infinite."""
        fan_in, fan_out = (self._grows(word) for word in ("in", "out"))
        if fan_in:
            return Role.HIDDEN if fan_out else Role.OUTPUT
        if not fan_out:
            return Role.SCALAR
        return Role.INPUT if "in" in self.axes else Role.VECTOR

    @property
    def is_matrix(self) -> bool:
        """Has it a fan-in, so that it decays?  Biases and gains have none, stacked or not."""
        return "in" in self.axes

    @property
    def fan_in(self) -> float:
        """Ratio of the infinite part of the fan-in to that of the base model."""
        return self._ratio("in")

    @property
    def fan_out(self) -> float:
        """Ratio of the infinite part of the fan-out."""
        return self._ratio("out")

    def fans(self, *, of_base: bool = False) -> tuple[int, int]:
        """Fan-in, with the window, and fan-out, in numbers."""
        sizes = list(zip(self.axes, self.base if of_base else self.shape, strict=True))
        fan_in = math.prod(size for word, size in sizes if word in ("in", "tap"))
        return fan_in, math.prod(size for word, size in sizes if word == "out")

    def _grows(self, word: str) -> bool:
        return any(grows for axis, grows in zip(self.axes, self.infinite, strict=True) if axis == word)

    def _ratio(self, word: str) -> float:
        parts = zip(self.axes, self.infinite, self.shape, self.base, strict=True)
        return math.prod(now / then for axis, grows, now, then in parts if grows and axis == word)
