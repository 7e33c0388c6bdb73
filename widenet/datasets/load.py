"""Loaders of image data."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

VARIABLE = "WIDENET_DATA"


class Split(NamedTuple):
    """Images `[n, h, w]` or `[n, h, w, 3]` in [0, 1] (float64) and integer labels `[n]`, to train and to test on."""

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    name: str

    def drawn(self, train: int, test: int = 0, seed: int = 0) -> Split:
        """Any `train` and `test` of them, or all if there are fewer: the first ones of a file may be of one class."""
        rng = np.random.default_rng(seed)
        rows, others = (rng.permutation(len(y))[:n] for y, n in ((self.y_train, train), (self.y_test, test)))
        return Split(self.x_train[rows], self.y_train[rows], self.x_test[others], self.y_test[others], self.name)


def small(images: np.ndarray) -> np.ndarray:
    """Images of 28 x 28 pixels as 7 x 7 means, smaller ones, such as 8 x 8, as they are: vectors `[n, pixels]`."""
    if images[0].size == 784:
        images = images.reshape(-1, 7, 4, 7, 4).mean((2, 4))
    return images.reshape(len(images), -1)


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
    """MNIST, 60000 to train and 10000 to test on, from `mnist.npz`: see `from_folder`."""
    return from_folder("MNIST", "mnist.npz", folder)


def fashion_mnist(folder: str | Path | None = None) -> Split:
    """Fashion-MNIST, the first 10000 and 2000, from `fashion_mnist_12k.npz`: see `from_folder`."""
    return from_folder("Fashion-MNIST", "fashion_mnist_12k.npz", folder)


def cifar10(folder: str | Path | None = None) -> Split:
    """CIFAR-10, 7000 and 2000 in colour, balanced over classes, from `cifar10_9k.npz`: see `from_folder`."""
    return from_folder("CIFAR-10", "cifar10_9k.npz", folder)


def from_folder(name: str, file: str, folder: str | Path | None) -> Split:
    """The data `name` from a .npz file of x_train, y_train, x_test, y_test (bytes), in `folder` or WIDENET_DATA's.

    Raises: FileNotFoundError that says where it looked and how to name the folder.
    """
    named = folder or os.environ.get(VARIABLE)
    if not named:
        raise FileNotFoundError(f"{name} is not bundled: set {VARIABLE} to a folder that holds {file}.")
    path = Path(named) / file
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: set {VARIABLE} to a folder that holds {file}.")
    with np.load(path) as arrays:
        x_train, x_test = (arrays[key] / 255 for key in ("x_train", "x_test"))
        return Split(x_train, arrays["y_train"], x_test, arrays["y_test"], name)


def mnist_or_digits(seed: int = 0) -> Split:
    """MNIST where WIDENET_DATA has it, else the digits, shuffled and split 1297 to 500; `name` says which."""
    try:
        return mnist()
    except FileNotFoundError:
        x, y = digits()
        order = np.random.default_rng(seed).permutation(len(x))
        x, y = x[order], y[order]
        return Split(x[500:], y[500:], x[:500], y[:500], "scikit-learn's digits")
