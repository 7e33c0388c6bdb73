"""Our side: the same networks and readings as peer.py, called with numpy arrays as the README does."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable
from typing import Any

import jax

import widenet as wn
from benchmarks.workloads import HIDDEN, OUTPUTS, REGULARIZATION, parameter

LAYER = {"sigma_w": 1.5, "sigma_b": 0.1}
Call = Callable[[], Any]


def conv(width: int | None = None) -> Any:
    """A 3 x 3 convolution of the networks with bias."""
    return wn.conv(window=3, width=width, **LAYER)


def cnn(readout: Any) -> Any:
    """Five convolutions and a readout."""
    return wn.serial(*[conv(), wn.relu] * 5, readout, wn.dense(**LAYER))


def attention() -> Any:
    """Softmax attention with deterministic scores."""
    mixed = wn.self_attention(sigma_q=0.8, sigma_k=1.2, sigma_v=0.9, sigma_o=1.1, sigma_b=0.2, scaling="linear")
    return wn.serial(mixed, wn.relu, wn.position_mean(), wn.dense(**LAYER))


NETS = {
    "relu3": lambda: wn.zoo.mlp(wn.relu, 3, **LAYER),
    "erf10": lambda: wn.zoo.mlp(wn.erf, 10, **LAYER),
    "relu50": lambda: wn.zoo.mlp(wn.relu, 50, **LAYER),
    "relu50_unrolled": lambda: wn.zoo.mlp(wn.relu, 50, **LAYER),
    "relu100": lambda: wn.zoo.mlp(wn.relu, 100, **LAYER),
    "gelu3": lambda: wn.zoo.mlp(wn.gelu, 3, **LAYER),
    "tanh3": lambda: wn.zoo.mlp(wn.tanh, 3, **LAYER),
    "flatten5": lambda: cnn(wn.flatten()),
    "pool5": lambda: cnn(wn.position_mean()),
    "myrtle5": lambda: wn.zoo.myrtle(sigma_w=math.sqrt(2)),
    "wrn28": lambda: wn.zoo.wide_resnet(),
    "attention": attention,
    "rnn": lambda: wn.zoo.rnn(wn.erf, sigma_w=1.2, sigma_u=1.2, sigma_b=0.1),
    "mlp": lambda: wn.serial(*[wn.dense(**LAYER), wn.relu] * 2, wn.dense(width=OUTPUTS, **LAYER)),
    "cnn": lambda: wn.serial(
        *[conv(32), wn.relu] * 2,
        *[wn.average_pool(window=2), conv(64), wn.relu, wn.position_mean(), wn.dense(width=OUTPUTS, **LAYER)],
    ),
}


def kernel(net: Any, job: dict[str, Any], x: Any) -> Call:
    """NNGP and NTK."""
    both = wn.kernel(net)
    return lambda: both(x)


def empirical_ntk(net: Any, job: dict[str, Any], x: Any) -> Call:
    """The NTK of one network, whose parameters are those of the peer's."""
    drawn = wn.init(net, 0, x.shape, HIDDEN)
    params = {
        name: {kind: parameter(i, "wb".index(kind), part.shape).astype(x.dtype) for kind, part in entry.items()}
        for i, (name, entry) in enumerate(drawn.items())
    }
    ntk = wn.empirical_ntk(net, params)
    return lambda: (ntk(x),)


def monte_carlo(net: Any, job: dict[str, Any], x: Any) -> Call:
    """The mean NNGP of random networks."""
    estimate = wn.monte_carlo_nngp(net, 0, width=HIDDEN, samples=job["option"])
    return lambda: (estimate(x).nngp,)


def gp(net: Any, job: dict[str, Any], x: Any, y: Any, x_test: Any) -> Call:
    """Mean and covariance of the NNGP posterior."""
    nngp = wn.nngp(net)

    def posterior() -> Any:
        k = nngp(x)
        noise = wn.predict.relative_noise(k, REGULARIZATION)
        return wn.predict.gp(k, y, nngp(x_test, x), nngp(x_test), noise=noise)[:2]

    return posterior


def ntk(net: Any, job: dict[str, Any], x: Any, y: Any, x_test: Any) -> Call:
    """The mean of trained networks."""
    kernel = wn.ntk(net)

    def mean() -> Any:
        k = kernel(x)
        return (wn.predict.gp(k, y, kernel(x_test, x), noise=wn.predict.relative_noise(k, REGULARIZATION)).mean,)

    return mean


READINGS: dict[str, Callable[..., Call]] = {
    read.__name__: read for read in (kernel, empirical_ntk, monte_carlo, gp, ntk)
}


def prepare(job: dict[str, Any], data: dict[str, Any]) -> Call:
    """A function of nothing that computes the workload and returns its arrays."""
    return READINGS[job["reading"]](NETS[job["net"]](), job, **data)


def versions() -> dict[str, str]:
    """What this side is."""
    return {"widenet": wn.__version__, "jax": jax.__version__, "python": platform.python_version()}
