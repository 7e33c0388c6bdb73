"""Data that is bundled, and data that the user brings."""

from __future__ import annotations

import numpy as np
import pytest

from widenet import datasets


def test_digits_are_images_in_the_unit_interval():
    x, y = datasets.digits()
    assert x.shape == (1797, 8, 8)
    assert (x.min(), x.max()) == (0, 1)
    assert set(y) == set(range(10))


def test_mnist_is_read_from_the_folder_that_the_user_names(tmp_path, monkeypatch):
    images, labels = np.full((3, 28, 28), 255, np.uint8), np.arange(3)
    np.savez(tmp_path / "mnist.npz", x_train=images, y_train=labels, x_test=images[:1], y_test=labels[:1])
    monkeypatch.setenv("WIDENET_DATA", str(tmp_path))
    data = datasets.mnist_or_digits()
    assert data.name == "MNIST"
    assert data.x_train.max() == 1.0
    assert data.x_test.shape == (1, 28, 28)


def test_without_mnist_the_digits_serve_and_say_so(monkeypatch):
    monkeypatch.delenv("WIDENET_DATA", raising=False)
    data = datasets.mnist_or_digits()
    assert "digits" in data.name
    assert len(data.x_train) == 1297
    with pytest.raises(FileNotFoundError, match="set WIDENET_DATA to a folder"):
        datasets.mnist()
