"""How updates grow with the width: two hidden layers in muP, without multipliers, and rates set by hand."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from widenet import optimizers

MUP = (0.0, 0.5, 1.0)  # exponents of the standard deviations
WIDTHS = (64, 128, 256)
SEEDS = 3
TOLERANCE = 0.15


def apply(params, x):
    return hidden(params, x)[1] @ params[2]


def hidden(params, x):
    first = jnp.tanh(x @ params[0])
    return first, jnp.tanh(first @ params[1])


def half_square(outputs, targets):
    return jnp.sum((outputs - targets) ** 2, -1) / 2


def kfac(damping):
    return lambda: optimizers.kfac(apply, half_square, damping=damping)


def sizes(make, rates, width, seed):
    """log2 of the RMS, after two steps, of dW1 x, dW2 x1, dW3 x2, W3 dx2, dx2 and f."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(6, 8)), rng.normal(size=(6, 4))
    shapes = ((8, width), (width, width), (width, 4))
    start = [rng.normal(size=shape) * width**-b for shape, b in zip(shapes, MUP, strict=True)]
    start[0] /= 8**0.5
    params, core = start, make()
    of_batch = isinstance(core, optimizers.Kfac)
    given = (lambda p: (p, (x, y))) if of_batch else (lambda p: (jax.grad(mean_loss)(p, x, y),))
    state = core.init(params, (x, y)) if of_batch else core.init(params)
    step = jax.jit(lambda params, state: core.update(*given(params), state))
    for _ in range(2):
        update, state = step(params, state)
        params = [w - rate * width**-c * u for w, (rate, c), u in zip(params, rates, update, strict=True)]
    (_, before), (first, second) = hidden(start, x), hidden(params, x)
    moves = [w - v for w, v in zip(params, start, strict=True)]
    probes = (x @ moves[0], first @ moves[1], second @ moves[2], (second - before) @ start[2], second - before)
    return [np.log2(np.sqrt(np.mean(np.square(probe)))) for probe in (*probes, apply(params, x))]


def mean_loss(params, x, y):
    return jnp.mean(half_square(apply(params, x), y))


def slopes(make, rate, exponents, widths=WIDTHS):
    """The exponents of the width in `sizes`, the mean over seeds."""
    table = [
        np.mean([sizes(make, [(rate, c) for c in exponents], n, seed) for seed in range(SEEDS)], 0) for n in widths
    ]
    return np.polyfit(np.log2(widths), table, 1)[0]


RIGHT = {  # core, rate, exponents c of the learning rates n^-c of input, hidden layer and readout
    "muon": (lambda: optimizers.scale_by_muon(), 0.1, (-0.5, 0, 0.5)),
    "muon, spectral": (lambda: optimizers.scale_by_muon(scale="spectral"), 0.1, (0, 0, 0)),
    "shampoo 1/4": (lambda: optimizers.scale_by_shampoo(), 0.1, (-0.5, 0, 0.5)),
    "shampoo 1/2": (lambda: optimizers.scale_by_shampoo(0.5), 0.1, (0, 0, 0)),
    "shampoo 0.4, 0.3": (lambda: optimizers.scale_by_shampoo((0.4, 0.3)), 0.1, (-0.3, 0, 0.3)),
    "soap": (lambda: optimizers.scale_by_soap(every=1), 0.05, (-0.5, 0, 0.5)),
    "k-fac, trace": (kfac(optimizers.relative_to_trace(0.03)), 0.03, (0, 0, 0)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RIGHT)
def test_features_change_by_the_same_at_every_width(name):
    make, rate, exponents = RIGHT[name]
    np.testing.assert_allclose(slopes(make, rate, exponents), 0, atol=TOLERANCE)


LATER = {  # these reach the limit at larger widths
    "adam": (lambda: optimizers.scale_by_adam(), 0.1, (0, 1, 1), (256, 512, 1024)),
    "k-fac, largest": (kfac(optimizers.relative_to_largest(0.03)), 0.03, (0, 0, 0), (128, 256, 512)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", LATER)
def test_features_change_by_the_same_at_large_widths(name):
    np.testing.assert_allclose(slopes(*LATER[name]), 0, atol=TOLERANCE)


@pytest.mark.slow
def test_the_scale_of_optax_explodes_at_the_readout():
    """With one learning rate for all layers, its default makes the readout sqrt(n) too large, the other one n."""
    for consistent_rms, expected in ((None, (0, 0, 0.5)), (0.2, (0, 0.5, 1))):
        scale = optimizers.optax_muon_scale(consistent_rms)
        found = slopes(lambda scale=scale: optimizers.scale_by_muon(scale=scale), 1e-3, (0, 0, 0))
        np.testing.assert_allclose(found[:3], expected, atol=TOLERANCE)


@pytest.mark.slow
def test_dampings_that_do_not_follow_the_factors_fail():
    for damping, most in ((optimizers.constant(1e-2), -0.5), (optimizers.martens_grosse(1e-2), -0.5)):
        found = slopes(kfac(damping), 0.1, (0, 0, 0))
        assert found[0] < most, found


SLOW = [pytest.param(core, marks=pytest.mark.slow) for core in (optimizers.scale_by_shampoo, optimizers.scale_by_muon)]


@pytest.mark.parametrize("core", [optimizers.scale_by_soap, *SLOW])
def test_an_update_of_a_gradient_of_rank_one_has_norm_one(core):
    """The size rule, for layers that widen and that narrow, and for gradients that shrink with the width."""
    rng = np.random.default_rng(0)
    for fan_in, fan_out in ((8, 64), (256, 4)):
        gradient = np.outer(rng.normal(size=fan_in), rng.normal(size=fan_out)) / max(fan_in, fan_out)
        update = jax.jit(core().update)(gradient, core().init(gradient))[0]
        np.testing.assert_allclose(np.linalg.norm(update, 2), 1, rtol=1e-4)
