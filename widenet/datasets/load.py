"""Loaders of image data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

VARIABLE = "WIDENET_DATA"


class Split(NamedTuple):
    """Images `[n, h, w]` in [0, 1] (float64) and their integer labels `[n]`, to train and to test on."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    name: str


def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1797 handwritten digits: images `[n, 8, 8]` in [0, 1] and labels `[n]`.

    Raises: ModuleNotFoundError, naming the extra to install, if scikit-learn is missing.
    """
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError:
        raise ModuleNotFoundError('the digits come with scikit-learn: pip install "widenet[demo]"') from None
    data = load_digits()
    return data.images / 16, data.target


def mnist(folder: str | Path | None = None) -> Split:
    """MNIST from `mnist.npz` (x_train, y_train, x_test, y_test) in `folder`, or in the folder that WIDENET_DATA names.

    Raises: FileNotFoundError that says where it looked and how to name the folder.
    """
    named = folder or os.environ.get(VARIABLE)
    if not named:
        raise FileNotFoundError(f"MNIST is not bundled: set {VARIABLE} to a folder that holds mnist.npz.")
    path = Path(named) / "mnist.npz"
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: set {VARIABLE} to a folder that holds mnist.npz.")
    with np.load(path) as arrays:
        x_train, x_test = (arrays[key] / 255 for key in ("x_train", "x_test"))
        return Split(x_train, arrays["y_train"], x_test, arrays["y_test"], "MNIST")


def mnist_or_digits(seed: int = 0) -> Split:
    """MNIST where WIDENET_DATA has it, else the digits, shuffled and split 1297 to 500; `name` says which."""
    try:
        return mnist()
    except FileNotFoundError:
        x, y = digits()
        order = np.random.default_rng(seed).permutation(len(x))
        x, y = x[order], y[order]
        return Split(x[500:], y[500:], x[:500], y[:500], "scikit-learn's digits")
