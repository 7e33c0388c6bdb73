"""What is timed: one row a workload, read by both sides, so nothing but numpy is needed here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

TEST, OUTPUTS = 500, 10  # test samples of a prediction; outputs of finite networks, columns of targets
FEATURES, HIDDEN = 784, 512
REGULARIZATION = 1e-3  # noise of a prediction, as a fraction of the mean diagonal
NETWORKS = 1024  # of Monte Carlo
NORMAL = 900  # flops that one random normal costs: 2.2 ns on the machine that does 400 Gflop/s


@dataclass(frozen=True)
class Work:
    """The least that must be computed for n samples, whatever the method; machine.py turns it into seconds."""

    flops: Callable[[int], float]  # of matrix products and factorizations
    layers: Callable[[int], float] = lambda _: 0.0  # element-layers: one nonlinearity at one entry of both kernels
    outputs: Callable[[int], float] = lambda n: 2.0 * n * n  # numbers that are returned


@dataclass(frozen=True)
class Workload:
    """One row: a network, a reading of it, and how many samples each side is given."""

    title: str
    net: str  # the name in NETS of ours.py and peer.py
    n: int
    quick: int  # n of --quick
    work: Work
    shape: tuple[int, ...] = (FEATURES,)  # of a sample
    shape_quick: tuple[int, ...] | None = None  # of a sample of --quick, if that is smaller
    n_peer: int | None = None  # where the peer would take too long with n; then times are per entry
    reading: str = "kernel"  # the name in READINGS of ours.py and peer.py
    option: Any = None  # of the reading
    option_quick: Any = None  # the option of --quick, if that is another
    digits: bool = False  # rather than normal data
    ours_only: str = ""  # why the peer cannot


def pairs(n: int) -> float:
    """Pairs of samples of a symmetric kernel."""
    return n * (n + 1) / 2


def per_pair(flops: float, layers: float) -> Work:
    """Work that is the same for every pair of samples."""
    return Work(lambda n: pairs(n) * flops, lambda n: pairs(n) * layers)


def dense(depth: int) -> Work:
    """One Gram matrix and `depth` nonlinearities."""
    return per_pair(2 * FEATURES, depth)


def predicted(*, covariance: bool) -> Work:
    """A dense network of depth 3 at all pairs of samples and test samples, and one Cholesky factorization."""

    def entries(n: int) -> float:
        return pairs(n) + n * TEST + covariance * pairs(TEST)

    def flops(n: int) -> float:
        return 2 * FEATURES * entries(n) + n**3 / 3 + n * n * (TEST if covariance else 2 * OUTPUTS)

    return Work(flops, lambda n: 3 * entries(n), lambda _: TEST * (OUTPUTS + covariance * TEST))


def tangent(forward: float, backward: float, per_pair: float) -> Work:
    """Forward passes, backward passes of every output, and products of gradients; flops of one sample and one pair."""
    return Work(
        lambda n: n * (forward + OUTPUTS * backward) + pairs(n) * OUTPUTS * per_pair, outputs=lambda n: 1.0 * n * n
    )


MLP = tangent(
    forward=2 * HIDDEN * (FEATURES + HIDDEN + OUTPUTS),
    backward=2 * HIDDEN * (HIDDEN + OUTPUTS),
    per_pair=2 * 2 * HIDDEN,
)
CNN = tangent(  # 16x16x3: 32 and 32 channels, a pool, 64 channels
    forward=2 * 9 * (256 * (3 * 32 + 32 * 32) + 64 * 32 * 64),
    backward=2 * 9 * (256 * (3 * 32 + 2 * 32 * 32) + 2 * 64 * 32 * 64),
    per_pair=2 * (9 * (3 * 32 + 32 * 32 + 32 * 64) + 64),
)
MONTE_CARLO = Work(lambda n: NETWORKS * n * (2 * HIDDEN + OUTPUTS) * NORMAL, outputs=lambda n: 1.0 * n * n)

KERNELS = {
    "relu3": Workload("dense relu, depth 3", "relu3", 4000, 200, dense(3)),
    "erf10": Workload("dense erf, depth 10", "erf10", 2000, 150, dense(10)),
    "relu50": Workload("dense relu, depth 50", "relu50", 1000, 100, dense(50)),
    "relu50_unrolled": Workload("dense relu, depth 50, theirs unrolled", "relu50_unrolled", 1000, 30, dense(50)),
    "relu100": Workload("dense relu, depth 100", "relu100", 1000, 60, dense(100)),
    "gelu3": Workload("dense gelu, depth 3", "gelu3", 4000, 200, dense(3)),
    "tanh3": Workload("dense tanh, depth 3, theirs of 25 points", "tanh3", 500, 50, dense(3)),
    "flatten5": Workload(
        *("CNN, depth 5, flatten", "flatten5", 128, 8), per_pair(2 * 28**2, 5 * 28**2), shape=(28, 28, 1)
    ),
    "pool5_8x8": Workload("CNN, depth 5, pool", "pool5", 32, 4, per_pair(2 * 8**4, 5 * 8**4), shape=(8, 8, 1)),
    "pool5_16x16": Workload("CNN, depth 5, pool", "pool5", 16, 2, per_pair(6 * 16**4, 5 * 16**4), shape=(16, 16, 3)),
    "myrtle5_32x32": Workload(
        *("Myrtle-5", "myrtle5", 8, 2, per_pair(6 * 32**4, 2 * 32**4 + 16**4 + 8**4)),
        **{"shape": (32, 32, 3), "shape_quick": (8, 8, 3), "n_peer": 4},
    ),
    "myrtle5_digits": Workload(
        *("Myrtle-5, digits", "myrtle5", 64, 8, per_pair(2 * 8**4, 2 * 8**4 + 4**4 + 2**4)),
        **{"shape": (8, 8, 1), "digits": True},
    ),
    "wrn28": Workload(  # the least work is that at the offsets that its strides leave
        *("WRN-28-1", "wrn28", 8, 2, per_pair(6 * 64**2, 0.76e6)),
        **{"shape": (32, 32, 3), "shape_quick": (4, 4, 3), "n_peer": 2},
    ),
    "attention": Workload(
        *("attention, relu, pool", "attention", 64, 8, per_pair(2 * 64 * 32**2, 32**2)), shape=(32, 64)
    ),
    "rnn": Workload(
        *("tied erf RNN", "rnn", 500, 50, per_pair(20 * 2 * 16, 20)), shape=(20, 16), ours_only="no tied weights"
    ),
}
IMPLEMENTATIONS = {  # of the peer
    "jacobian": "JACOBIAN_CONTRACTION",
    "vector": "NTK_VECTOR_PRODUCTS",
    "structured": "STRUCTURED_DERIVATIVES",
}
EMPIRICAL = {
    f"empirical_{net}_{short}": Workload(
        f"empirical NTK, {net.upper()}, theirs {name}", net, n, 8, work, shape, quick, None, "empirical_ntk", name
    )
    for net, n, work, shape, quick in (
        ("mlp", 64, MLP, (FEATURES,), None),
        ("cnn", 16, CNN, (16, 16, 3), (6, 6, 3)),
    )
    for short, name in IMPLEMENTATIONS.items()
}
OTHERS = {
    "monte_carlo": Workload(
        *("Monte Carlo NNGP, 1024 networks (32 with --quick)", "mlp", 64, 8, MONTE_CARLO),
        **{"reading": "monte_carlo", "option": NETWORKS, "option_quick": 32},
    ),
    "gp": Workload("GP mean and covariance", "relu3", 4000, 200, predicted(covariance=True), reading="gp"),
    "ntk": Workload("NTK mean", "relu3", 4000, 200, predicted(covariance=False), reading="ntk"),
}
WORKLOADS = KERNELS | EMPIRICAL | OTHERS


def arrays(workload: Workload, shape: tuple[int, ...], n: int, dtype: str) -> dict[str, np.ndarray]:
    """n samples of a shape, float32 numbers in either precision, and what a prediction needs besides."""
    rng = np.random.default_rng(0)
    if workload.digits:
        from widenet.datasets import digits

        made = {"x": digits()[0][:n, ..., None]}
    else:
        made = {"x": rng.normal(size=(n, *shape))}
    if workload.reading in ("gp", "ntk"):
        made |= {"y": rng.normal(size=(n, OUTPUTS)), "x_test": rng.normal(size=(TEST, *shape))}
    return {name: array.astype("float32").astype(dtype) for name, array in made.items()}


def parameter(layer: int, kind: int, shape: tuple[int, ...]) -> np.ndarray:
    """The matrix (kind 0) or bias (kind 1) of a layer of a finite network: standard normal, the same for both sides."""
    return np.random.default_rng((layer, kind)).normal(size=shape)
