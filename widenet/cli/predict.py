"""`widenet predict TRAIN TEST --net mlp:relu:3`."""

from __future__ import annotations

import argparse
from typing import Any

from widenet.cli.data import load
from widenet.cli.kernel import NET_HELP


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the task takes."""
    parser.add_argument("train", help="samples and targets: .npz (x, y), .csv with --label, or a data set: see kernel")
    parser.add_argument("test", help="the same; without targets it is predicted but not scored")
    parser.add_argument("--net", required=True, help=NET_HELP)
    parser.add_argument("--label", metavar="COLUMN", help="name or number of the target column of .csv files")
    parser.add_argument("--regression", action="store_true", help="integer targets are numbers, not classes")
    parser.add_argument(
        "--noise", type=float, default=1e-3, help="variance of the noise / mean of the kernel's diagonal"
    )
    parser.add_argument("--out", metavar="P.npz", help="where to write the predictions")
    parser.add_argument("--force", action="store_true", help="overwrite the output")


def run(options: argparse.Namespace) -> None:
    """Read, predict with both kernels, score, write."""
    import numpy as np

    import widenet as wn
    from widenet.io import check_writable, save

    net = wn.zoo.parse(options.net)
    if options.out:
        check_writable(options.out, force=options.force)
    train, test = (load(path, options.net, label=options.label) for path in (options.train, options.test))
    if train.y is None:
        raise ValueError(f"{options.train} has no targets: save y in the .npz, or name the column with --label.")
    classes = _classes(train.y) if not options.regression else None
    targets = (
        train.y if classes is None else wn.predict.centred_one_hot(np.searchsorted(classes, train.y), len(classes))
    )
    inner, cross = wn.kernel(net)(train.x), wn.kernel(net)(test.x, train.x)
    results: dict[str, Any] = {}
    for name in ("nngp", "ntk"):
        gram = getattr(inner, name)
        mean = wn.predict.gp(gram, targets, getattr(cross, name), noise=options.noise * np.trace(gram) / len(gram)).mean
        results[name] = mean if classes is None else classes[mean.argmax(1)]
        print(f"{name:5} {_score(results[name], test.y, classes is not None)}")
    if options.out:
        save(options.out, force=options.force, **results)
        print(f"wrote {options.out}")


def _classes(y: Any) -> Any:
    """The classes of integer targets; None for real-valued ones."""
    import numpy as np

    return np.unique(y) if np.array_equal(y, np.round(y)) else None


def _score(predicted: Any, y: Any, classify: bool) -> str:
    import numpy as np

    if y is None:
        return f"predicted {len(predicted)} samples (no targets to score against)"
    if classify:
        return f"accuracy {np.mean(predicted == y):.2%} on {len(y)} samples"
    return f"root mean square error {np.sqrt(np.mean((predicted - y) ** 2)):.4g} on {len(y)} samples"
