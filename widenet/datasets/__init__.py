"""Data to run on: bundled with scikit-learn, or in a folder that the user names; nothing is downloaded."""

from widenet.datasets.load import Split, cifar10, digits, fashion_mnist, mnist, mnist_or_digits

__all__ = ["Split", "cifar10", "digits", "fashion_mnist", "mnist", "mnist_or_digits"]
