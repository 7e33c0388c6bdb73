"""The peer's side, in its own environment: neural-tangents 0.6.5 as its documentation says that it is fastest.

Kernels and predictions are one `jax.jit` each, of x1 alone where both inputs are the same; deep networks are its
`stax.repeat`; empirical kernels have `vmap_axes=0`.  Its Monte Carlo jits itself.
"""

from __future__ import annotations

import itertools
import sys
from importlib.machinery import ModuleSpec
from unittest.mock import MagicMock

for _name in ("tensorflow", "tf2jax", "jax.experimental.jax2tf", "neural_tangents.experimental"):
    sys.modules[_name] = MagicMock(__spec__=ModuleSpec(_name, None), __path__=[])  # no kernel needs them

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import neural_tangents as nt  # noqa: E402
import numpy as np  # noqa: E402
from neural_tangents import stax as s  # noqa: E402

from benchmarks.workloads import HIDDEN, OUTPUTS, REGULARIZATION, parameter  # noqa: E402

SQRT_2 = np.sqrt(2)
BOTH = ("nngp", "ntk")


def layer(width=1):
    """A dense layer with bias."""
    return s.Dense(width, 1.5, 0.1)


def conv(width=1):
    """A 3 x 3 convolution with bias."""
    return s.Conv(width, (3, 3), padding="SAME", W_std=1.5, b_std=0.1)


def mlp(phi, depth):
    """A multilayer perceptron; its hidden layers are a compiled loop."""
    return s.serial(layer(), s.repeat(s.serial(phi, layer()), depth - 1), phi, layer())


def cnn(*readout):
    """Five convolutions and a readout."""
    return s.serial(*[conv(), s.Relu()] * 5, *readout, layer())


def myrtle():
    """Myrtle-5 with a global pool."""
    block = s.serial(s.Conv(1, (3, 3), padding="SAME", W_std=SQRT_2), s.Relu())
    pool = s.AvgPool((2, 2), (2, 2))
    return s.serial(block, block, pool, block, pool, block, s.GlobalAvgPool(), s.Dense(1, SQRT_2))


def wide_resnet(blocks=4):
    """WRN-28-1."""

    def conv3(stride=1):
        return s.Conv(1, (3, 3), (stride, stride), "SAME")

    def block(stride, shortcut):
        main = s.serial(s.Relu(), conv3(stride), s.Relu(), conv3())
        return s.serial(s.FanOut(2), s.parallel(main, shortcut), s.FanInSum())

    def group(stride):
        return s.serial(block(stride, conv3(stride)), *[block(1, s.Identity())] * (blocks - 1))

    return s.serial(conv3(), *map(group, (1, 2, 2)), s.GlobalAvgPool(), s.Dense(1))


def attention():
    """Softmax attention with deterministic scores."""
    return s.GlobalSelfAttention(1, 1, 1, 1, True, 1.2, 0.9, 0.8, 1.1, 0.2)


NETS = {
    "relu3": lambda: mlp(s.Relu(), 3),
    "erf10": lambda: mlp(s.Erf(), 10),
    "relu50": lambda: mlp(s.Relu(), 50),
    "relu50_unrolled": lambda: s.serial(layer(), *[s.Relu(), layer()] * 50),
    "relu100": lambda: mlp(s.Relu(), 100),
    "gelu3": lambda: mlp(s.Gelu(), 3),
    "tanh3": lambda: mlp(s.ElementwiseNumerical(jnp.tanh, deg=25), 3),
    "flatten5": lambda: cnn(s.Flatten()),
    "pool5": lambda: cnn(s.GlobalAvgPool()),
    "myrtle5": myrtle,
    "wrn28": wide_resnet,
    "attention": lambda: s.serial(attention(), s.Relu(), s.GlobalAvgPool(), layer()),
    "mlp": lambda: s.serial(*[layer(HIDDEN), s.Relu()] * 2, layer(OUTPUTS)),
    "cnn": lambda: s.serial(
        *[conv(32), s.Relu()] * 2,
        *[s.AvgPool((2, 2), (2, 2)), conv(64), s.Relu(), s.GlobalAvgPool(), layer(OUTPUTS)],
    ),
}


def kernel(net, job, x):
    """NNGP and NTK."""
    both = jax.jit(lambda x: net[2](x, None, BOTH))
    return lambda: both(x)


def empirical_ntk(net, job, x):
    """The NTK of one network by the implementation that the job names."""
    _, drawn = net[0](jax.random.PRNGKey(0), x.shape)
    numbers = itertools.count()

    def same_as_ours(entry):
        i = next(numbers) if entry else None  # an activation has none
        return tuple(jnp.asarray(parameter(i, kind, part.shape), x.dtype) for kind, part in enumerate(entry))

    params = [same_as_ours(entry) for entry in drawn]
    implementation = getattr(nt.NtkImplementation, job["option"])
    ntk = jax.jit(nt.empirical_ntk_fn(net[1], vmap_axes=0, implementation=implementation))
    return lambda: (ntk(x, None, params),)


def monte_carlo(net, job, x):
    """The mean NNGP of random networks."""
    estimate = nt.monte_carlo_kernel_fn(net[0], net[1], jax.random.PRNGKey(0), job["option"], vmap_axes=0)
    return lambda: (estimate(x, None, "nngp"),)


def gp(net, job, x, y, x_test):
    """Mean and covariance of the NNGP posterior."""

    @jax.jit
    def posterior(x, y, x_test):
        predict = nt.predict.gp_inference(net[2](x, None, ("nngp",)), y, diag_reg=REGULARIZATION)
        return predict("nngp", net[2](x_test, x, ("nngp",)), net[2](x_test, None, ("nngp",)).nngp)

    return lambda: posterior(x, y, x_test)


def ntk(net, job, x, y, x_test):
    """The mean of trained networks."""

    @jax.jit
    def mean(x, y, x_test):
        predict = nt.predict.gp_inference(net[2](x, None, ("ntk",)), y, diag_reg=REGULARIZATION)
        return predict("ntk", net[2](x_test, x, ("ntk",)))

    return lambda: (mean(x, y, x_test),)


READINGS = {read.__name__: read for read in (kernel, empirical_ntk, monte_carlo, gp, ntk)}


def prepare(job, data):
    """A function of nothing that computes the workload and returns its arrays; the data are on the device."""
    on_device = {name: jnp.asarray(array) for name, array in data.items()}
    return READINGS[job["reading"]](NETS[job["net"]](), job, **on_device)


def versions():
    """What this side is."""
    return {"neural-tangents": "0.6.5", "jax": jax.__version__, "python": sys.version.split()[0]}
