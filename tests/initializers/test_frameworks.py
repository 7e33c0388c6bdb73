"""Initializers and tuning inside of flax, equinox and haiku; each part runs where that library is installed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from widenet import initializers as wi

X = jax.random.normal(jax.random.key(1), (16, 8, 8, 3)) * 3
FLAT = X.reshape(16, -1)


def test_flax_linen():
    nn = pytest.importorskip("flax.linen")

    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.relu(nn.Conv(8, (3, 3), kernel_init=wi.delta_orthogonal(wn.relu))(x))
            x = nn.gelu(nn.Conv(8, (3, 3), strides=2, kernel_init=wi.orthogonal())(x)).reshape(len(x), -1)
            return nn.Dense(10, kernel_init=wi.low_rank(0.5), bias_init=wi.bias(0.1))(nn.LayerNorm()(x))

    params = Net().init(jax.random.key(0), X)
    assert np.count_nonzero(params["params"]["Conv_0"]["kernel"]) == 3 * 8
    tuned, report = wi.lsuv(Net().apply, params, X)
    assert len(report.names) == 3
    np.testing.assert_allclose(report.after, 1, rtol=1e-5)
    out = Net().apply(tuned, X) - tuned["params"]["Dense_0"]["bias"]
    np.testing.assert_allclose(np.std(out), 1, rtol=1e-5)


def test_flax_nnx():
    nnx = pytest.importorskip("flax.nnx")
    layer = wi.critical(wn.gelu, wi.orthogonal())
    rngs = nnx.Rngs(0)
    model = nnx.Sequential(
        nnx.Linear(192, 16, kernel_init=layer.kernel, bias_init=layer.bias, rngs=rngs),
        nnx.gelu,
        nnx.Linear(16, 3, rngs=rngs),
    )
    graph, state = nnx.split(model)
    tuned, report = wi.lsuv(lambda state, x: nnx.merge(graph, state)(x), state, FLAT)
    np.testing.assert_allclose(report.after, 1, rtol=1e-5)
    assert jax.tree.structure(tuned) == jax.tree.structure(state)


def test_equinox():
    eqx = pytest.importorskip("equinox")
    model = eqx.nn.MLP(192, 3, 16, 2, key=jax.random.key(0))
    draw = wi.orthogonal(jax.nn.relu, in_axis=1, out_axis=0)
    weights = [draw(i, layer.weight.shape) for i, layer in enumerate(model.layers)]
    model = eqx.tree_at(lambda m: [layer.weight for layer in m.layers], model, weights)
    np.testing.assert_allclose(weights[0] @ weights[0].T, 2 * np.eye(16), atol=1e-5)
    tuned, report = wi.lsuv(lambda m, x: jax.vmap(m)(x), model, FLAT)
    assert len(report.names) == 3
    np.testing.assert_allclose(report.after, 1, rtol=1e-5)
    assert tuned.activation is model.activation


def test_haiku():
    hk = pytest.importorskip("haiku")
    init = wi.for_haiku(wi.orthogonal(jax.nn.relu))
    net = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP([16, 3], w_init=init)(x)))
    params = net.init(jax.random.key(0), FLAT)
    w = params["mlp/~/linear_0"]["w"]
    np.testing.assert_allclose(w.T @ w, 2 * np.eye(16), atol=1e-5)
    np.testing.assert_allclose(wi.lsuv(net.apply, params, FLAT).report.after, 1, rtol=1e-5)


def test_widenet_s_own_networks():
    net = wn.serial(wn.dense(), wn.relu, wn.dense(), wn.erf, wn.dense())
    params = wn.init(net, 0, FLAT.shape, width=20)
    tuned, report = wi.lsuv(lambda p, x: wn.apply(net, p, x), params, FLAT)
    assert len(report.names) == 3
    np.testing.assert_allclose(jnp.std(wn.apply(net, tuned, FLAT)), 1, rtol=1e-5)
