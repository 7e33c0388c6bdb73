"""Data to run on: bundled with scikit-learn or networkx, or in a folder that the user names; nothing is downloaded."""

from widenet.datasets.graphs import Graph, networkx_graph, planetoid
from widenet.datasets.load import Split, cifar10, digits, fashion_mnist, mnist, mnist_or_digits, small

__all__ = [
    "Graph",
    "Split",
    "cifar10",
    "digits",
    "fashion_mnist",
    "mnist",
    "mnist_or_digits",
    "networkx_graph",
    "planetoid",
    "small",
]
