"""The cores, their degrees, and gradients to give them."""

from __future__ import annotations

from functools import cache

import jax
import numpy as np
import optax
import pytest

from widenet import optimizers

CORES = {  # name: (core, degree p of Q(s g) = s^p Q(g))
    "muon": (lambda: optimizers.scale_by_muon(), 0),
    "muon, standard, keller": (
        lambda: optimizers.scale_by_muon(nesterov=False, orthogonalize=optimizers.standard, scale="keller"),
        0,
    ),
    "shampoo 1/4": (lambda: optimizers.scale_by_shampoo(), 0),
    "shampoo 1/2, in blocks": (lambda: optimizers.scale_by_shampoo(0.5, block_size=3, every=2), -1),
    "shampoo 0.3, 0.1, sum": (lambda: optimizers.scale_by_shampoo((0.3, 0.1), beta=1.0), 0.2),
    "shampoo 1/4, trace": (lambda: optimizers.scale_by_shampoo(damping=optimizers.relative_to_trace(1e-2)), 0),
    "soap": (lambda: optimizers.scale_by_soap(every=2), 0),
    "adam": (lambda: optimizers.scale_by_adam(), 0),
    "lion of optax": (optax.scale_by_lion, 0),
}

FAST = ("muon", "shampoo 1/2, in blocks", "soap", "adam")
EACH = [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in CORES]


@cache
def compiled(name):
    """init and the compiled update of a core."""
    core = CORES[name][0]()
    return core.init, jax.jit(core.update)


def gradients(seed, dtype=float):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in (("w", (5, 7)), ("c", (3, 3, 2, 4)))}


def after(core, *given):
    """The last update of a core, or of the one of that name, that is given these gradients."""
    init, step = compiled(core) if isinstance(core, str) else (core.init, jax.jit(core.update))
    state = init(given[0])
    for gradient in given:
        update, state = step(gradient, state)
    return update
