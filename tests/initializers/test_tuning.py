"""LSUV, APJN, MetaInit and GradInit on functions of plain pytrees."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name
from jax.flatten_util import ravel_pytree

from widenet import initializers as wi

RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(32, 6)) * 2 + 0.3)
LABELS = jnp.asarray(RNG.integers(0, 3, 32))


def weights(widths, gain=1.0, seed=0, law=wi.normal):
    keys = jax.random.split(jax.random.key(seed), len(widths))
    return [law(gain)(key, shape) for key, shape in zip(keys, pairwise(widths), strict=False)]


def mlp(params, x, act=jnp.tanh):
    for w in params[:-1]:
        x = act(x @ w)
    return x @ params[-1]


def preactivations(params, x, act=jnp.tanh):
    made = [x @ params[0]]
    for w in params[1:]:
        made.append(act(made[-1]) @ w)
    return made


@pytest.mark.parametrize("target", [pytest.param(1.0, marks=pytest.mark.slow), 0.5])
def test_lsuv_makes_every_layer_of_unit_deviation_in_one_pass(target):
    start = weights((6, 40, 30, 3), 0.3, law=wi.orthogonal)
    params, report = wi.lsuv(mlp, start, X, target=target)
    np.testing.assert_allclose([np.std(h) for h in preactivations(params, X)], target, rtol=1e-12)
    np.testing.assert_allclose(report.after, target, rtol=1e-12)
    np.testing.assert_allclose(report.before, [np.std(h) for h in preactivations(start, X)], rtol=1e-12)
    for old, new, scale in zip(start, params, report.scales.values(), strict=True):
        np.testing.assert_allclose(new, old * scale, rtol=1e-12)
    assert "[0]" in str(report)


def conv(x, w, stride=1):
    return jax.lax.conv_general_dilated(x, w, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def conv_net(params, x):
    h = jax.nn.relu(conv(x, params["first"]) + params["bias"])
    h = h + jax.checkpoint(lambda h: jax.nn.gelu(conv(h, params["second"])))(h)
    h = jax.jit(lambda h, w: conv(h, jnp.transpose(w, (2, 3, 1, 0)), 2))(h, params["oihw"])
    h = h.reshape(len(h), -1)
    return jnp.einsum("oi,ni->no", params["head"] / 3.0, h) * 0.2


def test_lsuv_sees_layers_through_transposes_jit_checkpoints_and_skips():
    draw = wi.normal()
    params = {
        "first": draw(0, (3, 3, 2, 4)),
        "bias": jnp.full(4, 0.3),
        "second": 5 * draw(1, (3, 3, 4, 4)),
        "oihw": draw(2, (5, 4, 3, 3)),
        "head": draw(3, (3, 20)),
        "unused": jnp.ones((2, 2)),
    }
    x = jnp.asarray(RNG.normal(size=(16, 4, 4, 2)))
    tuned, report = wi.lsuv(conv_net, params, x)
    assert report.names == ("['first']", "['second']", "['oihw']", "['head']")
    assert report.untouched == ("['unused']",)
    np.testing.assert_allclose(np.std(conv(x, tuned["first"])), 1, rtol=1e-12)
    np.testing.assert_allclose(np.std(conv_net(tuned, x)), 1, rtol=1e-12)
    h = jax.nn.relu(conv(x, tuned["first"]) + 0.3)
    np.testing.assert_allclose(np.std(conv(h, tuned["second"])), 1, rtol=1e-12)
    np.testing.assert_array_equal(tuned["bias"], params["bias"])


def test_lsuv_sets_a_shared_weight_at_its_first_use():
    def tied(w, x):
        return jnp.tanh(jnp.tanh(x @ w) @ w)

    w, report = wi.lsuv(tied, wi.normal(3.0)(0, (6, 6)), X)
    np.testing.assert_allclose(np.std(X @ w), 1, rtol=1e-12)
    assert len(report.names) == 1


def test_lsuv_keeps_structure_dtype_and_what_is_no_array():
    params = {"w": wi.normal(2.0)(0, (6, 5), jnp.float32), "act": jnp.tanh, "steps": 3}
    tuned, _ = wi.lsuv(lambda p, x: p["act"](x @ p["w"]) * p["steps"], params, X.astype(jnp.float32))
    assert tuned["w"].dtype == jnp.float32
    assert (tuned["act"], tuned["steps"]) == (jnp.tanh, 3)


def test_bad_data_and_bad_functions_are_refused():
    params = weights((6, 5, 3))
    with pytest.raises(ValueError, match="all of its samples are equal"):
        wi.lsuv(mlp, params, jnp.ones((8, 6)))
    with pytest.raises(ValueError, match=r"\[1\] has standard deviation 0"):
        wi.lsuv(mlp, [params[0], jnp.zeros((5, 3))], X)
    with pytest.raises(ValueError, match="no weight was seen to meet data"):
        wi.lsuv(lambda p, x: x * jnp.sum(p[0]), params, X)
    with pytest.raises(ValueError, match="no floating array"):
        wi.lsuv(mlp, [1, "two"], X)
    with pytest.raises(ValueError, match="1 of them was seen"):
        wi.apjn(lambda p, x: x @ p[0], params, X)
    with pytest.raises(ValueError, match="0 or not finite"):
        wi.apjn_tune(mlp, [params[0], jnp.zeros((5, 3))], X)


@pytest.mark.slow
def test_apjn_is_the_mean_square_of_the_jacobian():
    params = weights((6, 8, 7, 3), 1.5)
    found = wi.apjn(mlp, params, X, probes=2000)
    hidden = preactivations(params, X)
    for h, w, value in zip(hidden, params[1:], found.values(), strict=False):
        exact = np.mean([np.sum(jax.jacobian(lambda u, w=w: jnp.tanh(u) @ w)(u) ** 2) for u in h]) / w.shape[1]
        assert abs(value / exact - 1) < 5 * np.sqrt(2 / (2000 * h.size))


@pytest.mark.parametrize(("act", "gain"), [(jax.nn.relu, 0.6), (jnp.sin, 3.0)])
def test_apjn_tuning_makes_neighbours_keep_gradients(act, gain):
    start = weights((6, 40, 40, 40, 5), gain)
    params, report = wi.apjn_tune(lambda p, x: mlp(p, x, act), start, X)
    np.testing.assert_allclose(report.after, 1, atol=2e-3)
    assert np.abs(report.before - 1).max() > 0.3
    np.testing.assert_array_equal(params[0], start[0])
    fresh = wi.apjn(lambda p, x: mlp(p, x, act), params, X, key=5, probes=50)
    np.testing.assert_allclose(list(fresh.values()), 1, atol=0.15)


def test_blocks_with_skips_are_compared_by_name():
    def net(params, x):
        for a, b in params:
            x = checkpoint_name(x + jax.nn.relu(x @ a) @ b, "block")
        return x

    draw = wi.normal()
    start = [(draw(2 * i, (6, 30)), draw(2 * i + 1, (30, 6))) for i in range(3)]
    found = wi.apjn(net, start, X, blocks=["block"], probes=500)
    assert list(found) == ["block #2", "block #3"]
    x = X + jax.nn.relu(X @ start[0][0]) @ start[0][1]
    jacobian = jax.vmap(jax.jacobian(lambda h: h + jax.nn.relu(h @ start[1][0]) @ start[1][1]))(x)
    exact = float(jnp.sum(jacobian**2) / x.size)
    assert abs(found["block #2"] / exact - 1) < 5 * np.sqrt(2 / (500 * x.size)) * 3
    tuned = wi.apjn_tune(net, start, X, blocks="block", steps=60)
    assert (np.abs(tuned.report.after - 1) < 0.3 * np.abs(tuned.report.before - 1)).all()
    np.testing.assert_array_equal(tuned.params[0][0], start[0][0])  # before the first block's end


def loss(params, batch):
    x, y = batch
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(mlp(params, x)), y[:, None], 1))


def test_the_gradient_quotient_is_that_of_the_full_hessian():
    params = weights((6, 3, 3))
    flat, back = ravel_pytree(params)
    f = lambda v: loss(back(v), (X, LABELS))  # noqa: E731
    g, hessian = jax.grad(f)(flat), jax.hessian(f)(flat)
    exact = jnp.mean(jnp.abs((g - hessian @ g) / (g + 1e-5 * jnp.where(g >= 0, 1, -1)) - 1))
    np.testing.assert_allclose(wi.gradient_quotient(loss, params, (X, LABELS)), exact, rtol=1e-9)


def test_metainit_lowers_the_quotient_by_norms_alone():
    start = weights((6, 20, 20, 20, 3), 2.5)
    params, report = wi.metainit(loss, start, (X, LABELS), steps=60)
    before, after = (float(wi.gradient_quotient(loss, p, (X, LABELS))) for p in (start, params))
    np.testing.assert_allclose(report.history[0], before, rtol=1e-9)
    assert after < 0.3 * before
    np.testing.assert_allclose(after, report.history.min(), rtol=1e-6)
    for old, new, scale in zip(start, params, report.scales.values(), strict=True):
        np.testing.assert_allclose(new, old * scale, rtol=1e-6)


@pytest.mark.parametrize("settings", [wi.sgd(0.1, 1.0), pytest.param(wi.adam(1e-3, 50.0), marks=pytest.mark.slow)])
def test_gradinit_lowers_the_loss_after_a_step_and_bounds_the_gradient(settings):
    start = weights((6, 20, 20, 20, 3), 3.0)
    params, report = wi.gradinit(loss, start, (X, LABELS), settings=settings, steps=120)

    def after_step(params):
        gradient = jax.grad(loss)(params, (X, LABELS))
        moved = [p - settings.learning_rate * settings.direction(g) for p, g in zip(params, gradient, strict=True)]
        return float(loss(moved, (X, LABELS))), float(settings.norm(gradient))

    (loss_before, norm_before), (loss_after, norm_after) = after_step(start), after_step(params)
    assert loss_after < 0.8 * loss_before
    assert norm_before > settings.gamma
    assert norm_after < 1.5 * settings.gamma  # on halves of the batch it is at most gamma, but for one step
    np.testing.assert_allclose([*report.before, *report.after], [norm_before, norm_after], rtol=1e-6)


def test_bad_losses_are_refused():
    params = weights((6, 4, 3))
    with pytest.raises(ValueError, match="one finite number"):
        wi.metainit(lambda p, b: mlp(p, b[0]), params, (X, LABELS))
    with pytest.raises(ValueError, match="has no norm to tune"):
        wi.metainit(loss, [params[0], jnp.zeros((4, 3))], (X, LABELS))
    with pytest.raises(ValueError, match="at least 4"):
        wi.gradinit(loss, params, (X[:3], LABELS[:3]))
    with pytest.raises(ValueError, match="loss after step 1 is nan"):
        wi.gradinit(lambda p, b: loss(p, b) * jnp.nan, params, (X, LABELS))
