"""What a DATA argument names: a file, or one of the data sets that come with loaders."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

SETS = ("digits", "mnist", "fashion_mnist", "cifar10")
DATA_HELP = (
    ".npy, .npz (x; and mask, graph or adjacency for nets that read them) or .csv, or the name of a data set: "
    f"{', '.join(SETS)} (NAME:test for the test split)"
)


class Loaded(NamedTuple):
    """Samples, as the readings take them, and targets."""

    x: Any
    y: Any
    rows: Any  # [n]: which row of the source each sample is


def load(
    source: str,
    net: str,
    *,
    label: str | None = None,
    rows: int | None = None,
    shuffle: int | None = None,
    dtype: Any = float,
) -> Loaded:
    """The data that `source` names, for the network with the short form `net`; the first `rows` of them.

    shuffle: the seed of a random order, from which `rows` are then the first.
    Raises: FileNotFoundError or ValueError that names the file and the remedy.
    """
    import numpy as np

    x, y = _set(source) if source.partition(":")[0] in SETS and not Path(source).exists() else _file(source, net, label)
    count = len(getattr(x, "x", x))
    order = np.arange(count) if shuffle is None else np.random.default_rng(shuffle).permutation(count)
    taken = order[:rows]
    if shuffle is not None or len(taken) < count:
        x, y = x[taken], None if y is None else y[taken]
    return Loaded(_as(x, dtype), y, taken)


def _as(x: Any, dtype: Any) -> Any:
    import jax

    return jax.tree.map(lambda part: part if part.dtype == bool else part.astype(dtype), x)


def _set(source: str) -> tuple[Any, Any]:
    """Images with a channel axis, and labels."""
    import widenet as wn

    name, _, part = source.partition(":")
    if part not in ("", "train", "test"):
        raise ValueError(f"{source}: a data set has parts train and test; write {name} or {name}:test.")
    if name == "digits":
        if part:
            raise ValueError(f"{source}: the digits are one set of 1797, not split; write digits.")
        x, y = wn.datasets.digits()
    else:
        split = getattr(wn.datasets, name)()
        x, y = (split.x_test, split.y_test) if part == "test" else (split.x_train, split.y_train)
    return (x if x.ndim == 4 else x[..., None]), y


def _file(source: str, net: str, label: str | None) -> tuple[Any, Any]:
    from widenet.io import read

    table = read(source, label=label)
    operators = _operators(source, net, table)
    masked = any(word.partition("=")[0] == "masked" for word in net.split(":"))
    if table.mask is not None and not masked:
        raise ValueError(
            f"{source} has a mask, which {net} does not read: write {net}:masked (recurrent and graph networks), or "
            "save the data without it."
        )
    if masked and table.mask is None:
        raise ValueError(f"{source} has no mask for {net}: save mask=[n, steps or nodes] in the .npz, true where kept.")
    if table.mask is None and operators is None:
        return table.x, table.y
    import widenet as wn

    return wn.samples(table.x, mask=table.mask, graph=operators), table.y


def _operators(source: str, net: str, table: Any) -> Any:
    """The operator of each sample's graph, `[n, nodes, nodes]`, as the network wants it."""
    import numpy as np

    import widenet as wn

    known, name = wn.zoo.OPERATORS, net.partition(":")[0]
    given = table.graph if table.adjacency is None else table.adjacency
    if name in known and given is None:
        raise ValueError(
            f"{source} has no graphs for {name}: save adjacency= (one matrix [nodes, nodes], or one for each sample) "
            "in the .npz, or graph=, the operators themselves."
        )
    if given is None:
        return None
    if name not in known:
        raise ValueError(f"{source} has graphs, which {net} does not read: choose from {', '.join(known)}.")
    if given.ndim == 2:
        given = np.broadcast_to(given, (len(table.x), *given.shape))
    return given if table.adjacency is None else np.stack([known[name](matrix) for matrix in given])
