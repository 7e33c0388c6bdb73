"""Small models, and a batch, for the tests of transfer."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 8)), RNG.normal(size=(6, 4))
WIDTHS = (32, 64, 128)


def mlp(width):
    """Two hidden layers of tanh, as in the reference numbers."""

    def init(key):
        keys = jax.random.split(key, 3)
        shapes = {"w1": (8, width), "w2": (width, width), "w3": (width, 4)}
        return {
            name: jax.random.normal(k, shape) / shape[0] ** 0.5
            for k, (name, shape) in zip(keys, shapes.items(), strict=True)
        }

    return init, mlp_apply


def mlp_apply(params, x):
    return jnp.tanh(jnp.tanh(x @ params["w1"]) @ params["w2"]) @ params["w3"]


def residual(alpha, matrices=1):
    """model(width, depth) with branches (depth / 2)^-alpha of one or two matrices."""

    def model(width, depth):
        def init(key):
            first, last, *rest = jax.random.split(key, depth * matrices + 2)
            blocks = [jax.random.normal(k, (width, width)) / width**0.5 for k in rest]
            return {
                "in": jax.random.normal(first, (8, width)) / 8**0.5,
                "blocks": [blocks[i * matrices : (i + 1) * matrices] for i in range(depth)],
                "out": jax.random.normal(last, (width, 4)) / width**0.5,
            }

        def apply(params, x):
            h = x @ params["in"]
            for block in params["blocks"]:
                z = h
                for w in block:
                    z = jnp.tanh(z) @ w
                h = h + (depth / 2) ** -alpha * z
            return h @ params["out"]

        return init, apply

    return model
