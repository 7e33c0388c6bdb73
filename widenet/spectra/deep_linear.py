"""How the singular modes of a deep linear network are learned: exact curves of gradient flow. (J7)"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from scipy.special import hyp2f1

HALVINGS = 80  # of an interval of log-odds: to rounding
SPAN = 80.0  # of log-odds, beyond which a mode is learned to rounding
SAME = 1e-12  # relative: a mode that starts so close to its target is there


def learning_time(target: Any, start: Any, end: Any, *, matrices: int) -> np.ndarray:
    """The time in which a singular mode of a product of `matrices` goes from `start` to `end` on its way to `target`.

    t = int_start^end du / (N u^(2 - 2/N) (s - u));   N = 1: log((s - u0)/(s - u)),
    N = 2: (1/2s) log(u (s - u0)/(u0 (s - u)))                                   (J7)

    Gradient flow dW_l/dt = -dC/dW_l of C = |T - W_N ... W_1|^2 / 2, whose T has the singular value s = `target`, from
    layers that have the same strength u^(1/N) in this mode.  Steps of descent of rate eta take eta of time each.
    Shapes: numbers or arrays that broadcast.
    Raises: ValueError unless target, start and end are positive and finite, and `end` is on the way: from `start`
    towards `target`, and not there; for less than one matrix.
    Source: saxe2014 (the equation and N = 2); the integral for other N: widenet.

    >>> import widenet as wn
    >>> float(wn.learning_time(1.0, 0.01, 0.5, matrices=2).round(4))
    2.2976
    """
    s, u0, u = (_positive(name, value) for name, value in (("target", target), ("start", start), ("end", end)))
    s, u0, u = np.broadcast_arrays(s, u0, u)
    count = _count(matrices)
    if (((u - u0) * (s - u0) < 0) | ((s - u) * (s - u0) <= 0)).any():
        raise ValueError(
            "a mode goes from `start` towards `target` and never reaches it: give an `end` between them, such as 99 % "
            "of the way."
        )
    return s ** (2 / count - 2) * (_clock(u / s, count) - _clock(u0 / s, count))


def mode_curve(target: Any, start: Any, times: Any, *, matrices: int) -> np.ndarray:
    """The strength of a singular mode of a product of `matrices` at `times`, in gradient flow from `start`.

    du/dt = N u^(2 - 2/N) (s - u),   N = 2: u = s/(1 + (s/u0 - 1) exp(-2 s t))    (J7)

    The inverse of `learning_time`, with its assumptions; a `start` above the target falls to it.
    Shapes: numbers or arrays that broadcast.
    Accuracy: 1e-9 of the target.
    Raises: ValueError as `learning_time`, and for a time that is negative.
    Source: saxe2014; N other than 2: widenet.

    >>> import numpy as np, widenet as wn
    >>> wn.mode_curve(2.0, 0.1, np.array([0.0, 0.5, 1.0, 2.0]), matrices=4).round(4)
    array([0.1   , 0.5131, 1.9387, 2.    ])
    """
    s, u0, t = np.broadcast_arrays(_positive("target", target), _positive("start", start), np.asarray(times, float))
    count = _count(matrices)
    if not (t >= 0).all():
        raise ValueError("times are counted from the start of learning, and none is negative.")
    z0 = u0 / s
    there = np.abs(z0 - 1) < SAME
    z0 = np.where(there, 0.5, z0)
    below = np.log(z0 / np.abs(1 - z0))  # the log-odds of z, or of z / (z - 1) above the target
    wanted = _clock(z0, count) + t * s ** (2 - 2 / count)
    low, high = below, np.full_like(below, SPAN) + np.maximum(below, 0)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        early = _clock(_mode_of(middle, z0 > 1), count) < wanted
        low, high = np.where(early, middle, low), np.where(early, high, middle)
    return s * np.where(there, 1.0, _mode_of(high, z0 > 1))


class DecoupledWeights(NamedTuple):
    """Weights under which every singular mode of the teacher is learned on its own."""

    matrices: tuple[np.ndarray, ...]  # `[fan_in, fan_out]` each, x @ matrix being the layer
    target: np.ndarray  # singular values of the teacher, largest first


def decoupled_weights(teacher: Any, widths: Sequence[int], start: Any, key: int = 0) -> DecoupledWeights:
    """W_l = R_(l+1) D R_l^T: layers of equal strengths `start`^(1/N) in the singular modes of the teacher. (J7)

    For the teacher T = U S V^T, R_1 = V, R_(N+1) = U and the others random with orthonormal columns, so
    W_N ... W_1 = U start V^T, and gradient flow keeps this form with `mode_curve(S, start, t)`.

    teacher: `[outputs, inputs]`.  widths: of the N - 1 hidden layers.  start: a number, or one for each of the
    min(outputs, inputs) modes.
    Raises: ValueError for a teacher that is no matrix, or a layer that is narrower than there are modes.
    Source: saxe2014.
    """
    teacher = np.asarray(teacher, float)
    if teacher.ndim != 2:
        raise ValueError(f"the teacher is a matrix [outputs, inputs]; got shape {teacher.shape}.")
    modes = min(teacher.shape)
    if narrow := [width for width in widths if width < modes]:
        raise ValueError(f"the teacher has {modes} modes, which do not fit a layer of {narrow[0]}: take wider layers.")
    u, s, vt = np.linalg.svd(teacher, full_matrices=False)
    rng = np.random.default_rng(key)
    bases = [vt.T, *(np.linalg.qr(rng.normal(size=(width, modes)))[0] for width in widths), u]
    strength = np.broadcast_to(_positive("start", start), (modes,)) ** (1 / (len(bases) - 1))
    return DecoupledWeights(tuple((before * strength) @ after.T for before, after in pairwise(bases)), s)


def _clock(z: np.ndarray, count: int) -> np.ndarray:
    """An antiderivative of 1 / (N z^(2 - 2/N) (1 - z)) on (0, 1), and one on (1, inf); infinite at 1."""
    below, above = np.where(z < 1, z, 0.5), np.where(z > 1, 1 / z, 0.5)
    b = 2 / count
    rising = below**b * hyp2f1(1, b, 1 + b, below) / 2
    rising += np.log(below) / 2 if count == 2 else below ** (b - 1) / (2 - count)
    if count == 1:
        falling = -np.log((1 - above) / above)
    else:
        falling = above ** (2 - b) * hyp2f1(1, 2 - b, 3 - b, above) / (2 * count - 2)
    return np.where(z < 1, rising, np.where(z > 1, falling, np.inf))


def _mode_of(odds: np.ndarray, falling: np.ndarray) -> np.ndarray:
    """z of its log-odds: e^odds / (e^odds + 1), or e^odds / (e^odds - 1) above one."""
    small = np.exp(-np.abs(odds))
    rising = np.where(odds > 0, 1, small) / (1 + small)
    return np.where(falling, -1 / np.expm1(-np.where(falling, odds, 1.0)), rising)


def _positive(name: str, value: Any) -> np.ndarray:
    array = np.asarray(value, float)
    if not ((array > 0) & np.isfinite(array)).all():
        raise ValueError(f"{name} is the strength of a mode, positive and finite; got {value!r}.")
    return array


def _count(matrices: Any) -> int:
    count = operator.index(matrices)
    if count < 1:
        raise ValueError(f"matrices is the number of weight matrices, one or more; got {count}.")
    return count
