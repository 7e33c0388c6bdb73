from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from widenet import optimizers
from widenet.optimizers.capture import Capture

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(9, 4)), RNG.normal(size=(9, 3))
PARAMS = {
    "first": RNG.normal(size=(4, 5)),
    "bias": RNG.normal(size=5),
    "second": RNG.normal(size=(6, 5)),  # [out, in]
    "readout": RNG.normal(size=(6, 3)),
}
AXES = {"first": optimizers.Axes(), "second": optimizers.Axes.of(1, 0), "readout": optimizers.Axes()}
MULTIPLIERS = {"first": 1.0, "second": 0.5, "readout": 3.0}
RHO = 0.05


def apply(params, x):
    h = jnp.tanh(x @ params["first"] + params["bias"])
    h = jnp.tanh(h @ (0.5 * params["second"]).T)
    return 3 * (h @ params["readout"])


def half_square(outputs, targets):
    return jnp.sum((outputs - targets) ** 2, -1) / 2


def cross_entropy(outputs, targets):
    return optax.softmax_cross_entropy(outputs, jax.nn.softmax(targets))


def gradient(loss, params=PARAMS, x=X, y=Y):
    return jax.jit(jax.grad(lambda p: jnp.mean(loss(apply(p, x), y))))(params)


def stages():
    """What each layer is given, with its multiplier, and the Jacobian of the outputs in what it makes."""
    w1, w2, w3 = PARAMS["first"], 0.5 * PARAMS["second"].T, 3 * PARAMS["readout"]
    a = np.tanh(X @ w1 + PARAMS["bias"])
    b = np.tanh(a @ w2)
    last = np.broadcast_to(np.eye(3), (9, 3, 3))
    middle = np.einsum("jk,nj->nkj", w3, 1 - b**2)
    first = np.einsum("nkj,ij,ni->nki", middle, w2, 1 - a**2)
    return {"first": (X, first), "second": (0.5 * a, middle), "readout": (3 * b, last)}


def hessian_of_cross_entropy(f):
    p = np.exp(f) / np.exp(f).sum()
    return np.diag(p) - np.outer(p, p)


LESS_OFTEN = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("cross-entropy", "empirical")]


@pytest.mark.parametrize("kind", ["square", *LESS_OFTEN])
def test_the_direction_solves_with_the_kronecker_product(kind):
    loss = cross_entropy if kind == "cross-entropy" else half_square
    outputs = np.asarray(apply(PARAMS, X))
    if kind == "empirical":
        curved = np.einsum("ni,nj->nij", outputs - Y, outputs - Y)
    else:
        curved = np.stack([hessian_of_cross_entropy(f) if loss is cross_entropy else np.eye(3) for f in outputs])
    curvature = optimizers.empirical if kind == "empirical" else optimizers.gauss_newton
    core = optimizers.kfac(apply, loss, curvature=curvature, damping=optimizers.relative_to_trace(RHO), axes=AXES)
    direction, state = jax.jit(core.update)(PARAMS, (X, Y), core.init(PARAMS, (X, Y)))
    grads = gradient(loss)
    for name, (data, jacobian) in stages().items():
        a = data.T @ data / 9
        b = np.einsum("nki,nkl,nlj->ij", jacobian, curved, jacobian) / 9
        a, b = (m + RHO * np.trace(m) * np.eye(len(m)) for m in (a, b))
        g = np.asarray(grads[name]).T if name == "second" else np.asarray(grads[name])
        slow = np.linalg.solve(np.kron(a, b), g.ravel()).reshape(g.shape)
        made = direction[name].T if name == "second" else direction[name]
        np.testing.assert_allclose(made, slow, rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(state.multipliers[name], MULTIPLIERS[name], rtol=1e-6)
    np.testing.assert_allclose(direction["bias"], np.sign(grads["bias"]), rtol=1e-6)
    np.testing.assert_allclose(state.loss, np.mean(loss(apply(PARAMS, X), Y)), rtol=1e-6)


def test_one_linear_layer_is_a_newton_step():
    """Least squares: the direction leads from any weight to the solution at once."""
    w = RNG.normal(size=(4, 3))
    damping = optimizers.relative_to_trace(0.0)
    core = optimizers.kfac(lambda w, x: x @ w, half_square, damping=damping)
    direction, _ = jax.jit(core.update)(w, (X, Y), core.init(w, (X, Y)))
    np.testing.assert_allclose(w - direction, np.linalg.lstsq(X, Y)[0], atol=1e-10)


def test_positions_are_samples_of_a_shared_weight():
    """KFAC-expand, written out; and two uses of one weight are two positions."""
    x, y, w = RNG.normal(size=(6, 2, 4)), RNG.normal(size=(6, 3)), RNG.normal(size=(4, 3))
    nets = [
        lambda w, x: jnp.tanh(x @ w).sum(1),
        lambda w, x: jnp.tanh(x[:, 0] @ w) + jnp.tanh(x[:, 1] @ w),
    ]
    slopes = 1 - np.tanh(x @ w) ** 2
    a = np.einsum("nti,ntj->ij", x, x) / 12 + 0.3 * np.eye(4)
    b = np.diag(np.einsum("ntk->k", slopes**2)) / 6 + 0.3 * np.eye(3)
    for net in nets:
        core = optimizers.kfac(net, half_square, damping=optimizers.constant(0.3))
        direction, _ = jax.jit(core.update)(w, (x, y), core.init(w, (x, y)))
        g = jax.grad(lambda w, net=net: jnp.mean(half_square(net(w, x), y)))(w)
        np.testing.assert_allclose(direction, np.linalg.solve(a, g) @ np.linalg.inv(b), rtol=1e-8)


@pytest.mark.slow
def test_sampled_targets_are_gauss_newton_in_the_mean():
    def draw(key, outputs):
        return outputs + jax.random.normal(key, outputs.shape, outputs.dtype)

    core = optimizers.kfac(apply, half_square, curvature=optimizers.sampled(draw), axes=AXES, beta=1.0)
    exact = optimizers.kfac(apply, half_square, axes=AXES, beta=1.0)
    _, expected = exact.update(PARAMS, (X, Y), exact.init(PARAMS, (X, Y)))
    start = core.init(PARAMS, (X, Y))
    draws = jax.jit(jax.vmap(lambda key: core.update(PARAMS, (X, Y), start, key)[1].factors["second"].out))
    found = np.asarray(draws(jax.random.split(jax.random.key(0), 400)))
    error = found.std(0) / 20
    assert np.all(np.abs(found.mean(0) - expected.factors["second"].out) < 4.5 * error)
    with pytest.raises(ValueError, match=r"give update\(params, batch, state, key\) a key"):
        core.update(PARAMS, (X, Y), start)


def test_a_multiplier_moves_the_weight_and_not_the_function():
    """Degree -1: c times the weight's step does not depend on c."""
    w = RNG.normal(size=(4, 3))
    steps = []
    for c in (1.0, 1e-3):
        core = optimizers.kfac(lambda w, x, c=c: jnp.tanh(c * (x @ w)), half_square)
        steps.append(c * jax.jit(core.update)(w / c, (X, Y), core.init(w / c, (X, Y)))[0])
    np.testing.assert_allclose(steps[0], steps[1], rtol=1e-8)


def test_averages_over_updates_and_inverses_that_wait():
    w = RNG.normal(size=(4, 3))
    core = optimizers.kfac(lambda w, x: x @ w, half_square, beta=0.7, every=2, damping=optimizers.constant(0.1))
    batches = [(RNG.normal(size=(5, 4)), RNG.normal(size=(5, 3))) for _ in range(3)]
    state, step = core.init(w, batches[0]), jax.jit(core.update)
    directions = []
    for batch in batches:
        direction, state = step(w, batch, state)
        directions.append(direction)
    grams = [x.T @ x / 5 for x, _ in batches]
    weights = 0.7 ** np.arange(3)[::-1]
    for used, at in ((grams[0], 1), (np.einsum("s,sij->ij", weights / weights.sum(), grams), 2)):
        x, y = batches[at]
        slow = np.linalg.solve(used + 0.1 * np.eye(4), x.T @ (x @ w - y) / 5) / 1.1
        np.testing.assert_allclose(directions[at], slow, rtol=1e-8)


@pytest.mark.slow
@pytest.mark.float32
def test_it_trains_in_float32_under_scan():
    params, batch = jax.tree.map(lambda p: jnp.asarray(0.3 * p, jnp.float32), (PARAMS, (X, Y)))
    core = optimizers.kfac(apply, half_square, axes=AXES, damping=optimizers.relative_to_trace(1e-2))

    def step(carry, _):
        params, state = carry
        direction, state = core.update(params, batch, state)
        return (jax.tree.map(lambda p, d: p - 0.05 * d, params, direction), state), state.loss

    _, losses = jax.jit(lambda carry: jax.lax.scan(step, carry, length=30))((params, core.init(params, batch)))
    assert losses.dtype == np.float32
    assert losses[-1] < 0.2 * losses[0]


def test_dead_layers_stay_where_they_are():
    params = PARAMS | {"readout": np.zeros((6, 3))}
    core = optimizers.kfac(apply, half_square, axes=AXES)
    direction, _ = jax.jit(core.update)(params, (X, Y), core.init(params, (X, Y)))
    assert np.all(direction["first"] == 0)
    assert np.all(direction["second"] == 0)
    assert np.all(np.isfinite(direction["readout"]))


def test_mistakes_are_told_with_their_remedy():
    with pytest.raises(ValueError, match=r"'second' makes is not a constant times data \[..., 6\]"):
        optimizers.kfac(apply, half_square).init(PARAMS, (X, Y))
    with pytest.raises(ValueError, match=r"has shape \(\) for 9 samples: give the loss of every sample, \[9\]"):
        optimizers.kfac(apply, lambda f, y: jnp.mean(half_square(f, y)), axes=AXES).init(PARAMS, (X, Y))
    with pytest.raises(ValueError, match="no weight was seen to meet data"):
        optimizers.kfac(lambda p, x: x + p, half_square).init(np.ones(3), (Y, Y))
    image, kernel = RNG.normal(size=(2, 5, 5, 3)), RNG.normal(size=(3, 3, 3, 2))

    def convolve(w, x):
        return jax.lax.conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    with pytest.raises(ValueError, match="have axes give None for it"):
        Capture.of(convolve, kernel, image, None)
