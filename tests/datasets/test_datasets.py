"""Data that is bundled, and data that the user brings."""

from __future__ import annotations

import sys

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


@pytest.mark.parametrize(
    ("load", "file"),
    [
        (datasets.mnist, "mnist.npz"),
        (datasets.fashion_mnist, "fashion_mnist_12k.npz"),
        (datasets.cifar10, "cifar10_9k.npz"),
    ],
)
def test_a_folder_without_the_file_is_refused_by_name(load, file, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{file} does not exist: set WIDENET_DATA"):
        load(tmp_path)
    images, labels = np.full((2, 4, 4, 3), 51, np.uint8), np.arange(2)
    np.savez(tmp_path / file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    assert load(tmp_path).x_train.max() == 0.2


def test_without_scikit_learn_the_digits_name_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "widenet\[demo\]"'):
        datasets.digits()


def test_without_mnist_the_digits_serve_and_say_so(monkeypatch):
    monkeypatch.delenv("WIDENET_DATA", raising=False)
    data = datasets.mnist_or_digits()
    assert "digits" in data.name
    assert len(data.x_train) == 1297
    with pytest.raises(FileNotFoundError, match="set WIDENET_DATA to a folder"):
        datasets.mnist()


def test_a_sorted_file_is_drawn_from_at_random():
    y = np.repeat(np.arange(10), 30)
    split = datasets.Split(y[:, None, None] / 10, y, y[:, None, None] / 10, y, "sorted")
    some = split.drawn(100, 50, seed=1)
    assert (len(some.y_train), len(some.y_test)) == (100, 50)
    assert set(some.y_train) == set(range(10))
    np.testing.assert_array_equal(some.x_train[:, 0, 0] * 10, some.y_train)
    assert len(split.drawn(1000).y_train) == 300


def test_small_images_are_means_of_four_by_four_pixels():
    images = np.random.default_rng(0).random((3, 28, 28))
    made = datasets.small(images)
    assert made.shape == (3, 49)
    np.testing.assert_allclose(made[1, 7 + 2], images[1, 4:8, 8:12].mean())
    np.testing.assert_array_equal(datasets.small(images[:, :8, :8]), images[:, :8, :8].reshape(3, 64))
