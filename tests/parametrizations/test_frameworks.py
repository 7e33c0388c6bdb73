"""Models of flax, equinox and haiku, where these are installed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
import pytest

from widenet import parametrizations as wp

pytestmark = pytest.mark.float32
KEY = jax.random.key(0)


def roles(make, convention, **kwargs):
    return {
        path: str(role) for path, role in wp.infer(make(4), make(8), convention=convention, **kwargs).roles().items()
    }


def test_averages_of_flax_are_no_parameters():
    nnx = pytest.importorskip("flax.nnx")

    class Net(nnx.Module):
        def __init__(self, width):
            rngs = nnx.Rngs(0)
            self.first, self.norm = nnx.Linear(3, width, rngs=rngs), nnx.BatchNorm(width, rngs=rngs)
            self.drop, self.last = nnx.Dropout(0.1, rngs=rngs), nnx.Linear(width, 2, rngs=rngs)

        def __call__(self, x):
            return self.last(self.drop(self.norm(self.first(x))))

    base, net = Net(4), Net(8)
    specs = wp.infer(base, net)
    assert [leaf.path for leaf in specs if leaf.path.startswith("norm")] == ["norm/bias", "norm/scale"]
    made = wp.factors(specs, wp.mup, wp.adamw)
    nnx.update(net, wp.rescale_init(nnx.state(net, nnx.Param), nnx.state(base, nnx.Param), made))
    optimizer = nnx.Optimizer(wp.annotate(net, made), wp.parametrized(optax.scale_by_adam(), made, 0.1), wrt=nnx.Param)
    before = float(net.last.kernel[...].sum())
    optimizer.update(net, nnx.grad(lambda m: jnp.mean(m(jnp.arange(12.0).reshape(4, 3)) ** 2))(net))
    assert float(net.last.kernel[...].sum()) != before


def test_layers_of_equinox_are_known_by_their_type():
    eqx = pytest.importorskip("equinox")

    def make(width):
        layers = {
            "table": eqx.nn.Embedding(7, width, key=KEY),
            "embedded": eqx.nn.Linear(width, 7, key=KEY),
            "window": eqx.nn.Conv2d(3, width, 3, key=KEY),
            "norm": eqx.nn.BatchNorm(width, "batch", mode="batch"),
            "activation": jax.nn.gelu,
            "none": None,
        }
        stack = eqx.filter_vmap(lambda key: eqx.nn.Linear(width, width, key=key))(jax.random.split(KEY, 3))
        return {**layers, "stack": stack}

    wanted = {
        "table/weight": "input",
        "embedded/weight": "output",
        "embedded/bias": "scalar",
        "window/weight": "input",
        "window/bias": "vector",
        "norm/weight": "vector",
        "norm/bias": "vector",
        "stack/weight": "hidden",
        "stack/bias": "vector",
    }
    assert roles(make, "equinox", stacked="^stack") == wanted
    assert roles(lambda width: lambda: make(width), "equinox", stacked="^stack") == wanted


def test_transposed_convolutions_of_haiku():
    haiku = pytest.importorskip("haiku")

    def make(width):
        net = haiku.transform(lambda x: haiku.Conv2DTranspose(3, 3)(haiku.Conv2D(width, 3)(x)))
        return lambda: net.init(KEY, jnp.zeros((2, 4, 4, 2)))

    found = roles(make, "haiku")
    assert (found["conv2_d/w"], found["conv2_d_transpose/w"]) == ("input", "output")
