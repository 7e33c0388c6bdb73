"""What one layer does to a batch, as numbers. (S1)"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

NEAR_END = 0.01  # of the range of values: closer to its ends, and not zero, is saturated


class Layer(NamedTuple):
    """One use of a weight: what it is given, what it makes, and the gradients there."""

    name: str
    data: np.ndarray  # what the weight is multiplied with
    out: np.ndarray  # the preactivations, before the bias
    jacobian: float  # squared derivatives of the outputs in `out`, per output
    gradient: float  # root of the squared derivatives in the weight, per output


class Signals(NamedTuple):
    """Quantities `[layers]` (S1); NaN where one is not defined or not known."""

    q: np.ndarray  # mean square of preactivations, before the bias
    c: np.ndarray  # mean cosine between samples
    jacobian: np.ndarray  # J from the preactivations to the output
    gradient: np.ndarray  # norm of the gradient in the weight
    zero: np.ndarray  # share of zeros in what the layer is given
    dead: np.ndarray  # share of units of it that are the same for all samples
    saturated: np.ndarray  # share of values of it at an end of their range
    gap: np.ndarray  # isometry gap of the samples


def signals(layers: list[Layer], samples: int) -> Signals:
    """The quantities of all layers; the first one is given the data themselves, which have no dead units."""
    columns = []
    for i, layer in enumerate(layers):
        given, made = rows(layer.data, samples), rows(layer.out, samples)
        activity = (np.nan,) * 3 if i == 0 or given is None else _activity(given)
        c, gap = (np.nan, np.nan) if made is None else (cosine(made), isometry_gap(made))
        with np.errstate(over="ignore"):  # infinite is what the verdict looks for
            q = np.mean(np.square(layer.out, dtype=np.float64))
        columns.append((q, c, layer.jacobian, layer.gradient, *activity, gap))
    return Signals(*np.array(columns, np.float64).T)


def rows(array: Any, samples: int) -> np.ndarray | None:
    """One row a sample, of an array one of whose axes is that of samples, perhaps merged with positions."""
    array = np.asarray(array, np.float64)
    axes = [axis for axis, size in enumerate(array.shape) if size == samples]
    if axes:
        return np.moveaxis(array, axes[0], 0).reshape(samples, -1)
    return array.reshape(samples, -1) if array.shape[0] % samples == 0 else None


def cosine(x: np.ndarray) -> float:
    """The mean cosine of the angles between different rows; NaN for rows that are zero or not finite."""
    with np.errstate(all="ignore"):
        units = x / np.linalg.norm(x, axis=1, keepdims=True)
        n = len(x)
        return float((np.sum(units.sum(0) ** 2) - n) / (n * (n - 1)))


def isometry_gap(x: Any) -> float:
    """log(tr G / n) - log(det G) / n of G = x x^T for n rows `[n, d]`: 0 for orthogonal rows of one length. (S1)

    Infinite for dependent rows, NaN for more rows than columns, which always are.
    Source: meterez2024.

    >>> isometry_gap(3 * np.eye(4))
    0.0
    """
    x = np.asarray(x, np.float64)
    if x.ndim != 2:
        raise ValueError(f"isometry_gap takes one row a sample, [n, d]; got shape {x.shape}: flatten the rest.")
    n, d = x.shape
    if n > d or not np.isfinite(x).all() or not x.any():
        return float("nan")
    x = x / np.abs(x).max()
    values = np.linalg.svd(x, compute_uv=False)
    if values[-1] <= np.finfo(np.float64).eps * d * values[0]:
        return float("inf")
    return float(np.log(np.mean(values**2)) - np.mean(np.log(values**2)))


def _activity(x: np.ndarray) -> tuple[float, float, float]:
    """Shares of zeros, of constant columns, and of values at an end of their range."""
    if not np.isfinite(x).all():
        return np.nan, np.nan, np.nan
    low, high = x.min(), x.max()
    near = NEAR_END * (high - low)
    at_end = (x != 0) & ((x <= low + near) | (x >= high - near))
    return float(np.mean(x == 0)), float(np.mean(np.ptp(x, axis=0) == 0)), float(np.mean(at_end))
