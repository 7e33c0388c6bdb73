"""Windows over positions: which positions a convolution or a pooling layer reads.

Output position p and tap t of one axis read the input position (p stride + t dilation - low) / spread, if that is a
whole number inside the input: the rule of every convolution, strided, dilated, transposed (spread > 1) or circular.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

Pads = tuple[tuple[int, int], ...]
PADDINGS = ("VALID", "SAME", "CIRCULAR")


@dataclass(frozen=True)
class Window:
    """The geometry of a window: one entry for each position axis."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: Pads  # zeros before and after each axis; negative ones crop
    spreads: tuple[int, ...]  # transposed convolutions: distance of the inputs in the output
    wrap: bool = False  # pads repeat the axis instead of adding zeros

    @property
    def taps(self) -> int:
        """The number of positions in the window."""
        return math.prod(self.sizes)

    @property
    def plain(self) -> bool:
        """Is every axis without spreading and cropping, so that shifted slices read it?"""
        return all(s == 1 for s in self.spreads) and all(low >= 0 and high >= 0 for low, high in self.pads)

    def output(self, positions: Sequence[int]) -> tuple[int, ...]:
        """The positions that come out of these positions."""
        return tuple(
            _out_size(*axis)
            for axis in zip(positions, self.sizes, self.strides, self.dilations, self.pads, self.spreads, strict=True)
        )

    def axis_taps(self, axis: int, size: int) -> np.ndarray:
        """`[out, taps]`: the input positions that each output position reads along one axis, -1 for padding."""
        (low, high), spread = self.pads[axis], self.spreads[axis]
        out = _out_size(size, self.sizes[axis], self.strides[axis], self.dilations[axis], (low, high), spread)
        at = np.arange(out)[:, None] * self.strides[axis] + np.arange(self.sizes[axis]) * self.dilations[axis] - low
        at, between = at // spread, at % spread != 0
        if self.wrap:
            return at % size
        return np.where(between | (at < 0) | (at >= size), -1, at)

    def table(self, positions: Sequence[int]) -> np.ndarray:
        """`[out, taps]` over flattened positions: the input positions that are read, -1 for padding."""
        return _table(self, tuple(positions))


@lru_cache(maxsize=64)
def _table(window: Window, positions: tuple[int, ...]) -> np.ndarray:
    flat, outside = np.zeros((1, 1), int), np.zeros((1, 1), bool)
    for axis, size in enumerate(positions):
        at = window.axis_taps(axis, size)
        flat = _outer(flat * size, np.maximum(at, 0), np.add)
        outside = _outer(outside, at < 0, np.logical_or)
    return np.where(outside, -1, flat)


def _outer(a: np.ndarray, b: np.ndarray, combine: Any) -> np.ndarray:
    """combine(a[p, t], b[q, s]) at [p q, t s]."""
    both = combine(a[:, None, :, None], b[None, :, None, :])
    return both.reshape(a.shape[0] * b.shape[0], a.shape[1] * b.shape[1])


def _out_size(size: int, taps: int, stride: int, dilation: int, pad: tuple[int, int], spread: int) -> int:
    reach = (taps - 1) * dilation + 1
    return ((size - 1) * spread + 1 + sum(pad) - reach) // stride + 1


def make_window(
    what: str, positions: Sequence[int], window: Any, *, stride: Any = 1, dilation: Any = 1, padding: Any = "VALID"
) -> Window:
    """The window of a layer over these positions.

    window, stride, dilation: a number for all axes, or one for each.  padding: "VALID", "SAME" (as many zeros as keep
    ceil(size / stride) positions, the odd one last), "CIRCULAR" (the same, wrapped), a number of zeros for all sides,
    or pairs (before, after), one for each axis.
    Raises: ValueError for a window larger than the padded image, for sizes below 1, or as many as there are no axes.
    """
    sizes, strides, dilations = (
        per_axis(what, name, value, len(positions))
        for name, value in (("window", window), ("stride", stride), ("dilation", dilation))
    )
    pads = _pads(what, padding, positions, sizes, strides, dilations)
    made = Window(sizes, strides, dilations, pads, (1,) * len(positions), padding == "CIRCULAR")
    _check_fits(what, made, positions)
    return made


def make_transposed(what: str, positions: Sequence[int], window: Any, *, stride: Any, padding: Any) -> Window:
    """The window of a transposed convolution: the transpose of the map that `make_window` with this stride makes.

    "SAME" gives stride * size positions, "VALID" stride * size + max(window - stride, 0).
    """
    sizes, spreads = (per_axis(what, name, v, len(positions)) for name, v in (("window", window), ("stride", stride)))
    if padding not in ("VALID", "SAME"):
        raise ValueError(f"{what}: a transposed convolution has padding 'VALID' or 'SAME'; got {padding!r}.")
    pads = tuple(_transposed_pads(k, s, padding) for k, s in zip(sizes, spreads, strict=True))
    ones = (1,) * len(positions)
    return Window(sizes, ones, ones, pads, spreads)


def _transposed_pads(taps: int, stride: int, padding: str) -> tuple[int, int]:
    if padding == "SAME":
        total = taps + stride - 2
        low = taps - 1 if stride > taps - 1 else math.ceil(total / 2)
    else:
        total, low = taps + stride - 2 + max(taps - stride, 0), taps - 1
    return low, total - low


def per_axis(what: str, name: str, value: Any, axes: int) -> tuple[int, ...]:
    """A whole number for each axis, of one number or of a sequence."""
    values = (value,) * axes if isinstance(value, (int, np.integer)) else tuple(value)
    if len(values) != axes:
        raise ValueError(f"{what}: {name}={value} has {len(values)} entries, but there are {axes} position axes.")
    if any(int(v) != v or v < 1 for v in values):
        raise ValueError(f"{what}: {name} must be whole numbers >= 1; got {value}.")
    return tuple(map(int, values))


def _pads(what: str, padding: Any, positions: Sequence[int], sizes: Any, strides: Any, dilations: Any) -> Pads:
    axes = len(positions)
    if padding == "VALID":
        return ((0, 0),) * axes
    if padding in ("SAME", "CIRCULAR"):
        reach = [(k - 1) * d + 1 for k, d in zip(sizes, dilations, strict=True)]
        missing = [
            max((math.ceil(n / s) - 1) * s + r - n, 0) for n, s, r in zip(positions, strides, reach, strict=True)
        ]
        return tuple((m // 2, m - m // 2) for m in missing)
    if isinstance(padding, str):
        raise ValueError(f"{what}: unknown padding {padding!r}; choose from {', '.join(PADDINGS)}, a number or pairs.")
    pairs = ((padding, padding),) * axes if isinstance(padding, (int, np.integer)) else tuple(map(tuple, padding))
    if len(pairs) != axes or any(len(pair) != 2 or min(pair) < 0 for pair in pairs):
        raise ValueError(f"{what}: padding={padding} must be one pair (before, after) >= 0 for each of {axes} axes.")
    return tuple((int(low), int(high)) for low, high in pairs)


def _check_fits(what: str, window: Window, positions: Sequence[int]) -> None:
    if any(size < 1 for size in window.output(positions)):
        raise ValueError(
            f"{what}: a window of {window.sizes} (dilation {window.dilations}) is larger than the positions "
            f"{tuple(positions)} with padding {window.pads}: use a smaller window, or padding='SAME'."
        )
