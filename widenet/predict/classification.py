"""Classes as regression targets."""

from __future__ import annotations

from typing import Any

import numpy as np


def centred_one_hot(labels: Any, classes: int) -> np.ndarray:
    """One-hot targets minus 1 / classes, `[n, classes]`: every row sums to zero.

    labels: integers from 0 to classes - 1, `[n]`.  Raises: ValueError otherwise, naming what was found.
    Source: lee2018, sec. 3.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.array_equal(labels, np.round(labels)):
        raise ValueError(f"labels must be integers [n], but have shape {labels.shape} and dtype {labels.dtype}.")
    if len(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(f"labels must be from 0 to {classes - 1}, but go from {labels.min()} to {labels.max()}.")
    return np.eye(classes)[labels.astype(int)] - 1 / classes


def accuracy(predicted: Any, labels: Any) -> float:
    """The fraction of rows `[n, classes]` whose largest entry is at the label `[n]`."""
    predicted, labels = np.asarray(predicted), np.asarray(labels)
    if len(predicted) != len(labels):
        raise ValueError(f"there are {len(predicted)} predictions and {len(labels)} labels.")
    return float(np.mean(predicted.argmax(axis=1) == labels))
