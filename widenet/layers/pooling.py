"""Pooling over windows, and resizing."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from widenet.layers.layer import layer
from widenet.layers.positions import mix
from widenet.precision import float64
from widenet.program.var import Var
from widenet.program.window import Window, make_window, per_axis

METHODS = ("nearest", "linear", "cubic", "lanczos3", "lanczos5")


@layer
def average_pool(
    x: Var, window: Any, *, stride: Any = None, padding: Any = "VALID", normalize_edges: bool = False
) -> Var:
    """The mean over windows of positions (C4).

    window, stride: a number, or one for each axis; stride=None is the window.  padding: as for `conv`.
    normalize_edges: divide by the number of positions that are not padding, instead of by the size of the window.
    Raises: ValueError for a window larger than the padded positions.
    """
    geometry = _geometry("average_pool", x, window, stride, padding)
    return mix(
        x, _matrices(geometry, x, mean=True, edges=normalize_edges), geometry.output(x.positions), "average_pool"
    )


@layer
def sum_pool(x: Var, window: Any, *, stride: Any = None, padding: Any = "VALID") -> Var:
    """The sum over windows of positions (C4); arguments as for `average_pool`."""
    geometry = _geometry("sum_pool", x, window, stride, padding)
    return mix(x, _matrices(geometry, x, mean=False, edges=False), geometry.output(x.positions), "sum_pool")


@layer
def resize(x: Var, shape: Any, method: str = "linear", *, antialias: bool = True) -> Var:
    """The positions interpolated to another shape: the linear map of `jax.image.resize`, axis by axis (C4).

    shape: a number for all axes, or one for each.  method: "nearest", "linear", "cubic", "lanczos3" or "lanczos5".
    """
    if method not in METHODS:
        raise ValueError(f"resize after {x}: unknown method {method!r}; choose from {', '.join(METHODS)}.")
    sizes = per_axis(f"resize after {x}", "shape", shape, len(x.positions))
    matrices = tuple(_resizing(old, new, method, antialias) for old, new in zip(x.positions, sizes, strict=True))
    return mix(x, matrices, sizes, "resize")


def _resizing(old: int, new: int, method: str, antialias: bool) -> np.ndarray:
    with float64(), jax.ensure_compile_time_eval():
        return np.asarray(jax.image.resize(np.eye(old), (new, old), method, antialias), float)


def _geometry(what: str, x: Var, window: Any, stride: Any, padding: Any) -> Window:
    if not x.positions:
        raise ValueError(f"{what} after {x}: there are no positions to pool; leave it out.")
    return make_window(
        f"{what} after {x}", x.positions, window, stride=window if stride is None else stride, padding=padding
    )


def _matrices(window: Window, x: Var, mean: bool, edges: bool) -> tuple[np.ndarray, ...]:
    matrices = []
    for axis, size in enumerate(x.positions):
        taps = window.axis_taps(axis, size)
        matrix = np.zeros((len(taps), size))
        rows, _ = np.nonzero(taps >= 0)
        np.add.at(matrix, (rows, taps[taps >= 0]), 1.0)
        count = matrix.sum(1, keepdims=True) if edges else taps.shape[1]
        matrices.append(matrix / count if mean else matrix)
    return tuple(matrices)
