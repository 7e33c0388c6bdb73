"""Models as training code writes them: trees of arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def mlp(width, key=0, d_in=8, d_out=4, bias=True, dtype=jnp.float32):
    """Two hidden layers, kernels [in, out], LeCun's law."""
    sizes = (d_in, width, width, d_out)
    rng = np.random.default_rng(key)
    tree = {}
    for name, fan_in, fan_out in zip(("first", "hidden", "readout"), sizes, sizes[1:], strict=False):
        tree[name] = {"kernel": jnp.asarray(rng.normal(size=(fan_in, fan_out)) / fan_in**0.5, dtype)}
        if bias:
            tree[name]["bias"] = jnp.zeros(fan_out, dtype)
    return tree


def apply(params, x):
    """tanh network of `mlp`."""
    h = x
    for name in ("first", "hidden"):
        h = jnp.tanh(h @ params[name]["kernel"] + params[name].get("bias", 0.0))
    return h @ params["readout"]["kernel"] + params["readout"].get("bias", 0.0)


def transformer(width, heads=2, layers=2, d_ff=None, tokens=11, stacked=True):
    """Shapes of a transformer with the names that flax gives, blocks stacked for a scan."""
    d_head, d_ff = width // heads, d_ff or 4 * width
    shapes = {
        "attention": {
            "query": {"kernel": (width, heads, d_head), "bias": (heads, d_head)},
            "key": {"kernel": (width, heads, d_head)},
            "value": {"kernel": (width, heads, d_head)},
            "out": {"kernel": (heads, d_head, width)},
        },
        "norm": {"scale": (width,)},
        "up": {"kernel": (width, d_ff), "bias": (d_ff,)},
        "down": {"kernel": (d_ff, width), "bias": (width,)},
    }
    is_shape = lambda node: isinstance(node, tuple)  # noqa: E731
    lead = (layers,) if stacked else ()
    block = jax.tree.map(lambda shape: jax.ShapeDtypeStruct((*lead, *shape), jnp.float32), shapes, is_leaf=is_shape)
    ends = {
        "embed": {"embedding": (tokens, width)},
        "temperature": (),
        "head": {"kernel": (width, tokens), "bias": (tokens,)},
    }
    return {
        "blocks": block,
        **jax.tree.map(lambda shape: jax.ShapeDtypeStruct(shape, jnp.float32), ends, is_leaf=is_shape),
    }
