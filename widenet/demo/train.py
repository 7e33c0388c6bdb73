"""A finite network, trained by gradient descent on the data of the demonstration."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import widenet as wn
from widenet.predict import accuracy
from widenet.program.ops import Linear

WIDTH, STEPS = 256, 400
MOMENTUM = 0.9


def trained_accuracy(
    net: Any, x: np.ndarray, y: np.ndarray, x_test: np.ndarray, answers: np.ndarray, *, seed: int
) -> float:
    """Test accuracy of one network of width 256 after 400 steps of full-batch gradient descent with momentum."""
    x, y, x_test = (jnp.asarray(a, jnp.float32) for a in (x, y, x_test))
    classifier = with_outputs(net, y.shape[1])
    params = wn.init(classifier, jax.random.key(seed), x.shape, WIDTH)
    rate = 0.5 * largest_rate(net, np.asarray(x))
    params = descend(classifier, params, x, y, rate)
    return accuracy(np.asarray(wn.apply(classifier, params, x_test)), answers)


def with_outputs(net: Any, outputs: int) -> Any:
    """The same network with a readout of so many outputs; all architectures here end in a dense layer."""

    def classifier(x: Any) -> Any:
        last = net(x)
        assert isinstance(last.op, Linear)
        return wn.dense(last.args[0], last.op.sigma_w, last.op.sigma_b, width=outputs)

    return classifier


def largest_rate(net: Any, x: np.ndarray) -> float:
    """The largest stable learning rate of gradient descent on mean squared error / 2, by the NTK."""
    return 2 / np.linalg.eigvalsh(wn.ntk(net)(x) / len(x))[-1]


def descend(net: Any, params: Any, x: Any, y: Any, rate: float) -> Any:
    """Full-batch gradient descent with momentum on |f - y|^2 / (2 n)."""

    def loss(p: Any) -> Any:
        return jnp.sum((wn.apply(net, p, x) - y) ** 2) / (2 * len(x))

    def step(state: Any, _: Any) -> Any:
        p, velocity = state
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v - rate * g, velocity, jax.grad(loss)(p))
        return (jax.tree.map(jnp.add, p, velocity), velocity), None

    start = params, jax.tree.map(jnp.zeros_like, params)
    return jax.jit(lambda s: jax.lax.scan(step, s, length=STEPS)[0])(start)[0]
