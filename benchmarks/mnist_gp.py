"""A Gaussian process of MNIST from kernels on disk, end to end: tiles, solve, predictions, with times.

    WIDENET_DATA=folder python benchmarks/mnist_gp.py --train 20000 --test 2000 --store /tmp/mnist

A second run goes on with what the first one left.
"""

from __future__ import annotations

import argparse
import resource
import time
from functools import partial
from pathlib import Path

import numpy as np

import widenet as wn

NOISE = 1e-2  # of the mean diagonal
NET = wn.serial(*[wn.dense(sigma_w=2**0.5, sigma_b=0.1), wn.relu] * 3, wn.dense())


def main() -> None:
    """Compute or resume the kernels, then solve with each solver."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=20000)
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--tile", type=int, default=1000)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--rank", type=int, default=500, help="of the Nystrom preconditioner")
    parser.add_argument("--store", type=Path, required=True, help="a folder for the kernels")
    options = parser.parse_args()
    options.store.mkdir(exist_ok=True)
    engine = wn.scale.processes(options.processes) if options.processes > 1 else wn.scale.serial
    data = wn.datasets.mnist()
    x, labels = chosen(data.x_train, data.y_train, options.train)
    x_test, y_test = chosen(data.x_test, data.y_test, options.test)
    y = wn.predict.centred_one_hot(labels, 10)

    compute = partial(wn.scale.kernel, NET, tile=options.tile, engine=engine, resume=True)
    inner = timed("kernel of the training samples", lambda: compute(x, store=options.store / "inner.zarr"))
    cross = timed("kernel of test with training", lambda: compute(x_test, x, store=options.store / "cross.zarr"))
    iterative = partial(wn.scale.conjugate_gradients, preconditioner=partial(wn.scale.nystrom, rank=options.rank))
    solvers = {
        "cholesky": wn.scale.cholesky,
        "conjugate_gradients": partial(iterative, tolerance=1e-6),
    }
    for name in inner.kernels:
        k = inner.kernels[name]
        noise = NOISE * k.diagonal().mean()
        stored = {"stored_cholesky": wn.scale.stored_cholesky(options.store / f"factor_{name}.zarr")}
        for called, solve in (solvers | stored).items():
            solution = timed(f"{name}, {called}", partial(solve, k, y, noise))
            mean = cross.kernels[name] @ solution.x
            steps = f", {len(solution.residuals) - 1} iterations" if solution.residuals else ""
            print(f"    accuracy {np.mean(mean.argmax(1) == y_test):.2%} of {len(y_test)}{steps}", flush=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"peak memory of this process {peak:.1f} GiB")


def chosen(x: np.ndarray, y: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """`count` images as vectors and their labels, at random: the files may be sorted by class."""
    rows = np.random.default_rng(0).permutation(len(x))[:count]
    return x[rows].reshape(count, -1), y[rows]


def timed(what: str, work):
    """What `work` gives; its seconds are printed."""
    begin = time.perf_counter()
    done = work()
    print(f"{what}: {time.perf_counter() - begin:.1f} s", flush=True)
    return done


if __name__ == "__main__":
    main()
