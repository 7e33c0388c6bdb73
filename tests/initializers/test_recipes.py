"""Gains, sparse activations and residual branches."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from widenet import initializers as wi

INF = float("inf")


def test_critical_layers_have_the_scales_of_the_mean_field():
    layer = wi.critical(wn.tanh, wi.orthogonal(in_axis=1, out_axis=0), sigma_b=0.1)
    point = wn.critical(wn.tanh, 0.1) if "critical" in wn.__all__ else layer.point
    assert layer.point[:2] == (point.sigma_w, point.sigma_b)
    np.testing.assert_allclose(layer.point.sigma_w**2, 1.424205, atol=1e-6)  # table 1.3 of the field's classics
    assert layer.kernel == wi.orthogonal(layer.point.sigma_w, in_axis=1, out_axis=0)
    assert layer.bias == wi.bias(0.1)
    b = layer.bias(0, (10_000,))
    assert abs(np.std(b) - 0.1) < 5 * 0.1 / np.sqrt(20_000)


def test_critical_weights_keep_variance_and_gradients_of_a_deep_network():
    """gelu at its critical point: q stays near K*, and chi_1 = 1."""
    layer = wi.critical(wn.gelu)
    np.testing.assert_allclose(np.square(layer.point), [1.98305826, 0.17292239, 3.56155281**2], rtol=1e-7)
    n, depth = 400, 12
    keys = jax.random.split(jax.random.key(0), 2 * depth)
    params = [(layer.kernel(k, (n, n)), layer.bias(b, (n,))) for k, b in zip(keys[::2], keys[1::2], strict=True)]
    h = jax.random.normal(jax.random.key(9), (n,)) * np.sqrt(layer.point.q)

    def last(h):
        for w, b in params:
            h = wn.gelu(h) @ w + b
        return h

    value, push = jax.linearize(last, h)
    assert abs(jnp.mean(value**2) / layer.point.q - 1) < 0.5
    v = jax.random.normal(jax.random.key(8), (n,))
    assert abs(jnp.log(jnp.mean(push(v) ** 2))) < 1.0  # he's gain at q -> 0 would give 12 log(1/2) = -8.3


def test_initializers_can_be_made_while_something_is_traced():
    value = jax.jit(lambda x: x * wi.normal(wn.leaky_relu(0.3)).gain)(1.0)
    np.testing.assert_allclose(value, np.sqrt(2 / 1.09), rtol=1e-6)


@pytest.mark.parametrize("q", [0.4, 1.7])
def test_the_edge_of_chaos_keeps_a_variance_and_gradients(q):
    point = wi.edge_of_chaos(wn.erf, q)
    w2, b2 = point.sigma_w**2, point.sigma_b**2
    np.testing.assert_allclose(w2 * 4 / np.pi / np.sqrt(1 + 4 * q), 1, rtol=1e-12)
    np.testing.assert_allclose(w2 * 2 / np.pi * np.arcsin(2 * q / (1 + 2 * q)) + b2, q, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: wi.edge_of_chaos(wn.softplus, 1.0), "it needs sigma_b"),
        (lambda: wi.edge_of_chaos(wn.step, 1.0), "flat almost everywhere"),
        (lambda: wi.edge_of_chaos(wn.tanh, 0.0), "must be positive"),
        (lambda: wi.critical(wn.sigmoid), "no critical point"),
        (lambda: wi.critical(wn.tanh, q=1.0, sigma_b=0.1), "give one of them"),
        (lambda: wi.sparse_crelu(1.0), "must be in"),
        (lambda: wi.sparse_cst(0.5, 0.0), "must be positive"),
        (lambda: wi.fixup(0), "at least 1 branch"),
        (lambda: wi.fixup(4, layers=1), "use rezero"),
    ],
)
def test_bad_requests_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_no_activation_is_refused():
    with pytest.raises(TypeError, match="neither an activation"):
        wi.edge_of_chaos("relu")


@pytest.mark.parametrize(  # sparsity, m, sigma_w^2, sigma_b^2, V', V'': computed once by quadrature
    ("make", "row"),
    [
        (wi.sparse_crelu, (0.7, 1, 4.2320, 0.4783, 0.4717, -0.3665)),
        (wi.sparse_crelu, (0.7, INF, 3.3333, 0.3328, 1, 0.3039)),
        (wi.sparse_crelu, (0.85, 0.5, 11.3916, 0.7526, 0.3020, -0.1709)),
        (wi.sparse_crelu, (0.85, 1.5, 6.9252, 0.5634, 0.8339, 0.2450)),
        (wi.sparse_crelu, (0.85, INF, 6.6667, 0.5368, 1, 0.8055)),
        (wi.sparse_crelu, (0.9, 1, 11.2686, 0.6714, 0.6670, 0.1872)),
        (wi.sparse_cst, (0.85, 1, 7.3913, 0.6991, 0.6991, 0.3944)),
        (wi.sparse_cst, (0.7, 1, 3.8716, 0.6213, 0.6116, -0.0711)),
    ],
)
def test_sparse_activations_have_their_table(make, row):
    sparsity, m, *expected = row
    made = make(sparsity, m)
    point = made.layer.point
    np.testing.assert_allclose(
        [point.sigma_w**2, point.sigma_b**2, made.slope, made.curvature], expected, rtol=1e-4, atol=5e-5
    )
    u = np.random.default_rng(0).normal(size=100_000)
    assert abs(np.mean(np.asarray(made.activation(u)) == 0) - sparsity) < 5 * np.sqrt(0.25 / 1e5)


def test_the_unclipped_sparse_activation_is_unstable_and_the_clipped_one_is_not():
    """Width 300, depth 60, started a fifth above the fixed variance."""

    def last_variance(m):
        phi, layer = wi.sparse_crelu(0.85, m)[:2]
        h = 1.2**0.5 * jax.random.normal(jax.random.key(0), (100, 300))
        for key in jax.random.split(jax.random.key(1), 60):
            h = phi(h) @ layer.kernel(key, (300, 300)) + layer.bias(jax.random.fold_in(key, 0), (300,))
        return float(jnp.mean(h**2))

    assert abs(last_variance(1.0) - 1) < 0.25
    assert last_variance(INF) > 10


def residual(params, x, branches):
    for i, (w1, w2) in enumerate(params["blocks"]):
        x = x + branches.multiplier(0, ()) * (jax.nn.relu(x @ w1) @ w2)
        del i
    return x @ params["head"]


def residual_params(branches, depth, n=32, head=None):
    keys = jax.random.split(jax.random.key(0), 2 * depth + 1)
    blocks = [
        (branches.inner(a, (n, n)), branches.last(b, (n, n))) for a, b in zip(keys[::2], keys[1::2], strict=False)
    ]
    return {"blocks": blocks, "head": (head or branches.head)(keys[-1], (n, 4))}


@pytest.mark.parametrize("make", [lambda: wi.fixup(30), wi.skip_init, wi.rezero])
def test_residual_networks_begin_as_the_identity(make):
    branches = make()
    params = residual_params(branches, 30, head=wi.normal())
    x = np.random.default_rng(0).normal(size=(5, 32))
    np.testing.assert_allclose(residual(params, x, branches), x @ params["head"], rtol=1e-12)


def test_a_step_after_fixup_changes_the_output_alike_at_every_depth():
    """Without the scale of the inner weights the change grows with the depth."""
    x = np.random.default_rng(0).normal(size=(8, 32))

    def change(depth, inner):
        branches = wi.fixup(depth)._replace(inner=inner(depth))
        params = residual_params(branches, depth, head=wi.normal())
        loss = lambda p: jnp.sum(residual(p, x, branches)) / 64  # noqa: E731
        step = jax.tree.map(lambda p, g: p - 1e-4 * g, params["blocks"], jax.grad(loss)(params)["blocks"])
        after = residual({**params, "blocks": step}, x, branches) - residual(params, x, branches)
        return float(jnp.mean(jnp.abs(after)))

    scaled = [change(depth, lambda depth: wi.fixup(depth).inner) for depth in (4, 64)]
    plain = [change(depth, lambda _: wi.normal(np.sqrt(2))) for depth in (4, 64)]
    assert 0.6 < scaled[1] / scaled[0] < 1.6
    assert plain[1] / plain[0] > 8


def test_fixup_scales_by_the_depth_to_its_power():
    for layers in (2, 3, 4):
        np.testing.assert_allclose(wi.fixup(16, layers).inner.c_w, 2 * 16 ** (-1 / (layers - 1)), rtol=1e-12)
    assert wi.skip_init(0.25).multiplier == wi.constant(0.25)
