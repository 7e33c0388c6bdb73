"""What goes in and out of the batch reading."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from tests.batches.finite import READOUT
from tests.batches.nets import IMAGES, ROWS, dense, normalized, stack
from widenet.batches import batch_kernel, batch_norm_rate
from widenet.batches.root import centre

NET, RNG = stack(wn.relu), np.random.default_rng(1)


def test_stated_errors_are_those_of_the_kernels():
    """Of 24 keys, the scatter about a run with many more points is what the errors say."""
    exact = batch_kernel(NET, points=2**14)(ROWS)
    runs = [batch_kernel(NET, points=2**8, scrambles=8, key=key)(ROWS) for key in range(1, 25)]
    for i in (0, 1):
        off = np.mean([(run[i] - exact[i]) ** 2 for run in runs])
        stated = np.mean([run[i + 2] ** 2 for run in runs])
        assert 0.7 < np.sqrt(off / stated) < 1.4


def test_more_points_give_smaller_errors_than_draws_would():
    few, many = (batch_kernel(NET, points=points)(ROWS) for points in (2**8, 2**14))
    assert np.linalg.norm(many.nngp_error) < np.linalg.norm(few.nngp_error) / 12  # draws: 8
    assert np.linalg.norm(many.ntk_error) < np.linalg.norm(few.ntk_error) / 8


def test_a_key_determines_the_result():
    first, again, other = (batch_kernel(NET, points=64, key=key)(ROWS) for key in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first.nngp != other.nngp).all()


def test_closed_forms_have_no_error():
    k = batch_kernel(wn.serial(dense(), wn.batch_norm(), READOUT))(ROWS)
    assert not k.nngp_error.any()
    assert not k.ntk_error.any()


@pytest.mark.float32
def test_numpy_goes_in_and_out_in_its_precision():
    k64, k32 = (batch_kernel(NET)(ROWS.astype(dtype)) for dtype in (np.float64, np.float32))
    assert all(isinstance(part, np.ndarray) and part.dtype == np.float64 for part in k64)
    assert all(isinstance(part, np.ndarray) and part.dtype == np.float32 for part in k32)
    np.testing.assert_allclose(k32.ntk, k64.ntk, rtol=1e-4)


@pytest.mark.float32
def test_jax_arrays_go_in_and_out():
    k = batch_kernel(NET, points=64)(jnp.asarray(ROWS))
    assert all(isinstance(part, jax.Array) and part.dtype == jnp.float32 for part in k)


def test_lists_are_taken_as_float64():
    np.testing.assert_array_equal(batch_kernel(NET, points=64)(ROWS.tolist()), batch_kernel(NET, points=64)(ROWS))


def test_a_repeated_block_is_written_out():
    block = wn.serial(normalized(wn.relu), dense())
    looped = wn.serial(dense(), wn.repeat(block, 3), wn.relu, READOUT)
    written = wn.serial(dense(), *[normalized(wn.relu), dense()] * 3, wn.relu, READOUT)
    first, second = (batch_kernel(net, points=64)(ROWS) for net in (looped, written))
    np.testing.assert_allclose(first.ntk, second.ntk, rtol=1e-12)


def test_deep_networks_reach_the_fixed_point():
    """K becomes symmetric under permutations; with as many layers, no call goes too deep."""
    layers = [normalized(wn.relu), dense(1.0, 0.0)] * 40
    k = batch_kernel(wn.serial(dense(), *layers), points=2**10, scrambles=4)(ROWS).nngp
    off = k[~np.eye(6, dtype=bool)]
    np.testing.assert_allclose(k.diagonal(), 0.5, atol=0.01)
    np.testing.assert_allclose(off, off.mean(), atol=0.01)


@pytest.mark.parametrize("batch", [4, 8])
def test_a_deep_linear_network_has_equal_correlations(batch):
    layers = [wn.dense(sigma_b=0.0), wn.batch_norm()] * 60
    k = batch_kernel(wn.serial(*layers, wn.dense(sigma_b=0.0)), scrambles=2)(RNG.normal(size=(batch, 9))).nngp
    np.testing.assert_allclose(k, np.where(np.eye(batch), 1, -1 / (batch - 1)), atol=1e-6)


@pytest.mark.parametrize(
    ("phi", "batch", "allowed"), [(wn.identity, 5, 1e-6), (wn.identity, 8, 1e-6), (wn.relu, 8, 0.02)]
)
def test_tangent_kernels_grow_with_depth_by_the_rate(phi, batch, allowed):
    """All weights count, so Theta is a sum of powers of the rate, and its increments are one power."""
    x, block = RNG.normal(size=(batch, 9)), [normalized(phi), dense()]
    nets = [wn.serial(dense(), *block * depth) for depth in (40, 41, 42)]
    traces = [np.trace(centre(batch_kernel(net, points=2**9, scrambles=4)(x).ntk, True, True)) for net in nets]
    assert (traces[2] - traces[1]) / (traces[1] - traces[0]) == pytest.approx(batch_norm_rate(phi, batch), rel=allowed)


def test_a_deep_residual_network_is_read():
    def net(x):
        h = dense()(x)
        for _ in range(150):
            h = h + wn.dense(wn.batch_norm(h), 0.1)
        return READOUT(h)

    assert np.isfinite(batch_kernel(net, scrambles=2)(ROWS).ntk).all()


def test_traced_data_and_scales_are_refused():
    with pytest.raises(TypeError, match="outside of jit and grad"):
        jax.jit(batch_kernel(NET))(ROWS)
    with pytest.raises(TypeError, match="outside of jit and grad"):
        jax.grad(lambda s: batch_kernel(wn.serial(wn.dense(sigma_w=s), wn.batch_norm(), READOUT))(ROWS).nngp.sum())(1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"points": 100}, "points must be a power of two"),
        ({"points": 1}, "points must be a power of two"),
        ({"scrambles": 1}, "two scrambles or more"),
        ({"key": -1}, "key must be an integer >= 0"),
    ],
)
def test_requests_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        batch_kernel(NET, **options)


def test_a_network_without_readout_is_refused():
    with pytest.raises(ValueError, match="no readout"):
        batch_kernel(wn.serial(dense(), wn.batch_norm(), dense()))(IMAGES)


def test_masks_are_refused():
    masked = wn.samples(IMAGES, mask=np.ones(IMAGES.shape[:2], bool))
    with pytest.raises(NotImplementedError, match="no masks and graphs"):
        batch_kernel(wn.serial(dense(), wn.batch_norm(), wn.position_mean(), READOUT))(masked)


def test_bad_data_are_refused():
    with pytest.raises(ValueError, match="NaN or infinite"):
        batch_kernel(NET)(np.full((4, 3), np.nan))


def test_importing_this_room_leaves_the_layer_of_its_name():
    k = batch_kernel(wn.serial(dense(), wn.batch_norm(eps=0.1), READOUT))(ROWS)
    assert k.nngp.shape == (6, 6)
