"""Forms A to D train the same function with any optimizer: a residual network and weight decay, in float64. (U2)"""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from widenet import optimizers
from widenet import parametrizations as wp
from widenet.precision import float64

BLOCKS, STEPS = 3, 2
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 5)), RNG.normal(size=(6, 3))


def draw(width, seed=0):
    """An input layer, a block whose inner width grows faster, with bias and gain, a readout and a temperature."""
    rng, inner = np.random.default_rng(seed), width * width // 2
    shapes = {"first": (5, width), "up": (width, inner), "down": (inner, width), "readout": (width, 3)}
    tree = {name: {"kernel": jnp.asarray(rng.normal(size=s) / s[0] ** 0.5)} for name, s in shapes.items()}
    tree["up"]["bias"], tree["down"]["gain"] = jnp.asarray(rng.normal(size=inner)), jnp.ones(width)
    return {**tree, "temperature": jnp.ones(())}


def forward(params, x):
    h = jnp.tanh(x @ params["first"]["kernel"])
    inner = jnp.tanh(h @ params["up"]["kernel"] + params["up"]["bias"])
    h = h + wp.branch_scale(BLOCKS, wp.depth_sqrt) * params["down"]["gain"] * (inner @ params["down"]["kernel"])
    return params["temperature"] * (h @ params["readout"]["kernel"])


def half_square(outputs, targets):
    return jnp.sum((outputs - targets) ** 2, -1) / 2


def rest():
    return optax.scale_by_adam(eps=0.0)


def adam(made, params, f):
    return optimizers.scale_by_adam(eps=wp.epsilons(made, params, 1e-2))


def kfac(made, params, f):
    """As a transformation that is given params in the place of gradients."""
    core = optimizers.kfac(f, half_square, rest=rest())

    def update(updates, state, params=None):
        return core.update(params, (X, Y), state)

    return optax.GradientTransformation(lambda params: core.init(params, (X, Y)), update)


def raw_kfac(made, params, f):
    """Factors in front of the multiplier c: A is 1/c^2 as large, updates are c^2."""
    squares = jax.tree.map(lambda c, w: c**2 if w.ndim == 2 else 1.0, wp.multipliers(made, params), params)
    scale = optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, squares))
    return optax.chain(kfac(made, params, f), scale)


def matrices(optimizer):
    """Vectors and scalars by Adam."""
    return {"rest": optimizer, "vector": wp.adam, "scalar": wp.adam}


HALVES = optimizers.relative_to_largest(1e-3)  # smaller ones amplify rounding
CASES = {
    "momentum": (wp.sgd, lambda *_: optax.trace(0.9)),
    "adamw, epsilon": (wp.adamw, adam),
    "lion": (wp.lion, lambda *_: optax.scale_by_lion()),
    "muon": (matrices(wp.muon()), lambda *_: optimizers.scale_by_muon(rest=rest())),
    "muon, keller": (matrices(wp.muon("keller")), lambda *_: optimizers.scale_by_muon(scale="keller", rest=rest())),
    "shampoo 1/4": (matrices(wp.shampoo()), lambda *_: optimizers.scale_by_shampoo(rest=rest())),
    "shampoo 1/2": (
        matrices(wp.shampoo(0.5)),
        lambda *_: optimizers.scale_by_shampoo(0.5, damping=HALVES, rest=rest()),
    ),
    "shampoo 0.3, 0.1": (
        matrices(wp.shampoo(0.3, 0.1)),
        lambda *_: optimizers.scale_by_shampoo((0.3, 0.1), rest=rest()),
    ),
    "soap": (matrices(wp.soap), lambda *_: optimizers.scale_by_soap(every=1, eps=1e-3, rest=rest())),
    "k-fac": (matrices(wp.kfac(with_multipliers=True)), kfac),
    "k-fac, raw factors": (matrices(wp.kfac()), raw_kfac),
}
FAST = {"momentum": "BCD", "adamw, epsilon": "BC", "muon": "C", "shampoo 1/2": "C", "soap": "C"}
EACH = [
    pytest.param(name, form, marks=[] if form in FAST.get(name, "") else [pytest.mark.slow])
    for name in CASES
    for form in "BCD"
]


@cache
def outputs(name, form, decay="product_const"):
    """What the network makes of X before and after each step."""
    optimizer, core = CASES[name]
    base, wide = draw(4), draw(8, 1)
    specs = wp.infer(base, wide, branches="up|down", depth=BLOCKS, base_depth=1, block_depth=2)
    made = wp.factors(specs, wp.depth_mup.to_form(form), optimizer, decay=decay)
    f, params = wp.with_multipliers(forward, made), wp.rescale_init(wide, base, made)
    tx = wp.parametrized(core(made, params, f), made, 0.05, weight_decay=0.1)

    state, seen = tx.init(params), [f(params, X)]
    for _ in range(STEPS):
        gradient = jax.grad(lambda p: jnp.mean(half_square(f(p, X), Y)))(params)
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        seen.append(f(params, X))
    return np.stack(seen)


@pytest.mark.parametrize(("name", "form"), EACH)
def test_all_forms_train_the_same_function(name, form):
    with float64():
        plain = outputs(name, "A")
        assert np.abs(plain[-1] - plain[0]).max() > 0.1
        np.testing.assert_allclose(outputs(name, form), plain, rtol=0, atol=1e-10)


def test_decay_without_a_learning_rate():
    with float64():
        plain = outputs("momentum", "A", "independent")
        assert np.abs(plain - outputs("momentum", "A")).max() > 0.01
        np.testing.assert_allclose(outputs("momentum", "C", "independent"), plain, rtol=0, atol=1e-10)
