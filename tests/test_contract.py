"""What every network of the catalogue must meet, whatever it is made of."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from tests.nets import NETS
from widenet.kernels import kernel as kernel_module

KINKED = {"mlp_elu", "mlp_own"}  # integrated numerically with breakpoints: gradients to fewer digits
FAST = {"mlp_relu", "residual", "gate_and_skip", "dropped", "cnn_pooled", "attention"}
every_net = pytest.mark.parametrize("name", NETS)
# what compiles a whole network is run on a few of them, and on all in `make test-all`
most_nets_slow = pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in NETS]
)


def samples(name, n=4, seed=0):
    """Samples of unequal norms for the net `name`."""
    shape = NETS[name][1]
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, *shape)) * np.linspace(0.5, 1.5, n).reshape(-1, *[1] * len(shape))


@every_net
def test_kernel_of_a_batch_with_itself_is_symmetric_and_positive(name):
    x = samples(name)
    for k in wn.kernel(NETS[name][0])(x):
        np.testing.assert_allclose(k, k.T, rtol=1e-12, atol=1e-12)
        assert np.linalg.eigvalsh(k).min() > -1e-10 * np.abs(k).max()


@most_nets_slow
def test_leaving_x2_out_gives_the_kernel_of_x1_with_a_copy(name):
    if name == "dropped":
        pytest.skip("with dropout a sample agrees with itself only in part, and a copy has another mask")
    x = samples(name)
    for alone, pair in zip(wn.kernel(NETS[name][0])(x), wn.kernel(NETS[name][0])(x, x.copy()), strict=True):
        np.testing.assert_allclose(alone, pair, rtol=2e-7, atol=1e-9)


@most_nets_slow
def test_kernel_of_a_part_is_part_of_the_kernel(name):
    x = samples(name)
    whole, part = wn.kernel(NETS[name][0])(x), wn.kernel(NETS[name][0])(x[:2], x[2:])
    for k, block in zip(whole, part, strict=True):
        np.testing.assert_allclose(k[:2, 2:], block, rtol=1e-11, atol=1e-12)


@most_nets_slow
def test_nngp_alone_and_ntk_alone_are_those_of_both(name):
    x = samples(name)
    both = wn.kernel(NETS[name][0])(x)
    np.testing.assert_array_equal(wn.ntk(NETS[name][0])(x), both.ntk)
    np.testing.assert_allclose(wn.nngp(NETS[name][0])(x), both.nngp, rtol=1e-14)


@most_nets_slow
def test_jit_and_vmap_do_not_change_the_kernel(name):
    net, x, y = NETS[name][0], samples(name, 3), samples(name, 2, seed=1)
    eager = wn.kernel(net)(x, y)
    for jitted, k in zip(jax.jit(wn.kernel(net))(jnp.asarray(x), jnp.asarray(y)), eager, strict=True):
        np.testing.assert_allclose(jitted, k, rtol=1e-11, atol=1e-13)
    rows = jax.vmap(lambda row: wn.kernel(net)(row[None], jnp.asarray(y)).ntk[0])(jnp.asarray(x))
    np.testing.assert_allclose(rows, eager.ntk, rtol=1e-11, atol=1e-13)


@most_nets_slow
def test_dtype_of_the_inputs_is_kept(name):
    x = samples(name)
    k64, k32 = wn.kernel(NETS[name][0])(x), wn.kernel(NETS[name][0])(x.astype(np.float32))
    for a, b in zip(k64, k32, strict=True):
        assert a.dtype == np.float64
        assert b.dtype == np.float32
        np.testing.assert_allclose(b, a, rtol=2e-4, atol=2e-5 * np.abs(a).max())


@most_nets_slow
def test_gradient_in_the_inputs_agrees_with_finite_differences(name):
    net, x, y = NETS[name][0], jnp.asarray(samples(name, 2)), jnp.asarray(samples(name, 2, seed=1))
    step = jnp.asarray(np.random.default_rng(2).normal(size=x.shape))
    tolerance = 1e-4 if name in KINKED else 2e-6

    def total(t):
        k = wn.kernel(net)(x + t * step, y)
        return (k.nngp.sum(), k.ntk.sum())

    slopes = jax.jit(jax.jacfwd(total))(0.0)
    for slope, ahead, behind in zip(slopes, total(1e-4), total(-1e-4), strict=True):
        np.testing.assert_allclose(slope, (ahead - behind) / 2e-4, rtol=tolerance, atol=tolerance)


@most_nets_slow
def test_gradients_are_finite_where_samples_meet(name):
    net, shape = NETS[name]
    x = samples(name, 3)
    y = np.concatenate([x[:1], -x[1:2], np.zeros((1, *shape))])
    for other in (y, None):
        b = None if other is None else jnp.asarray(other)
        grad = jax.jit(jax.grad(lambda a, b=b: sum(part.sum() for part in wn.kernel(net)(a, b))))(jnp.asarray(x))
        assert np.isfinite(grad).all()
    zero = jax.jit(jax.grad(lambda a: wn.kernel(net)(a, jnp.asarray(x)).ntk.sum()))(jnp.zeros((1, *shape)))
    assert np.isfinite(zero).all()


@most_nets_slow
def test_covariance_form_and_distance_form_agree(name, monkeypatch):
    x, y = samples(name), samples(name, 3, seed=1)
    made = {}
    for distance in (False, True):
        monkeypatch.setattr(kernel_module, "uses_distance", lambda _, d=distance: d)
        made[distance] = wn.kernel(NETS[name][0])(x, y)
    for inner, dist in zip(made[False], made[True], strict=True):
        np.testing.assert_allclose(dist, inner, rtol=1e-9, atol=1e-10)


@most_nets_slow
def test_kernel_agrees_with_monte_carlo(name):
    net, x, y = NETS[name][0], samples(name, 2), samples(name, 2, seed=1)
    k, width = wn.kernel(net)(x, y), 128
    mc = wn.monte_carlo(net, 0, width, 200)(x, y)
    bias = 8 / width  # the leading 1/n correction, relative to the kernel's scale
    for estimate, error, exact in ((mc.nngp, mc.nngp_error, k.nngp), (mc.ntk, mc.ntk_error, k.ntk)):
        allowed = 5 * error + bias * np.abs(exact).max()
        assert (np.abs(estimate - exact) < allowed).all(), (estimate, error, exact)
