"""The recursion against finite networks, and against the kernel reading where both apply."""

from __future__ import annotations

from functools import cache

import jax
import numpy as np
import pytest

import widenet as wn
from tests.batch_norm.finite import monte_carlo, monte_carlo_nngp
from tests.batch_norm.nets import IMAGES, NETS, OUT, ROWS, dense, normalized, stack, tied
from widenet.batch_norm import batch_kernel
from widenet.program.ops import Nonlin
from widenet.program.var import Var


@cache
def limit(name):
    net, x = NETS[name]
    return batch_kernel(net)(x)


QUICK = {"relu", "three_samples_eps", "flattened"}  # at the larger width too
SIZES = [
    pytest.param(name, width, count, marks=[pytest.mark.slow] * (width > 50 and name not in QUICK))
    for name in NETS
    for width, count in ((24, 600), (96, 150))
]


@pytest.mark.parametrize(("name", "width", "count"), SIZES)
def test_finite_networks_have_these_kernels(name, width, count):
    """Up to 4.5 standard errors, and a bias of a few parts in `width`."""
    net, x = NETS[name]
    means = monte_carlo(net, width, count, x, jax.random.key(width))
    k = limit(name)
    for (mean, error), value, own in zip(means, k[:2], k[2:], strict=True):
        allowed = 4.5 * np.hypot(error, own) + 1.5 / width * np.sqrt(np.outer(value.diagonal(), value.diagonal()))
        assert (np.abs(mean - value) < allowed).all()
        assert np.linalg.norm(error) < 0.15 * np.linalg.norm(value)


def test_the_deviation_of_finite_networks_falls_as_one_over_width():
    k, squares = limit("tied").nngp, []
    for width in (8, 32):
        mean, error = monte_carlo_nngp(tied, width, 4000, ROWS, jax.random.key(5))
        squares.append(((mean - k) ** 2 - error**2).sum())  # without what the error adds to a square
    assert 3 < np.sqrt(squares[0] / squares[1]) < 5.5


@pytest.mark.parametrize(
    "net",
    [
        wn.serial(dense(), wn.relu, dense(), wn.tanh, dense()),
        lambda x: (lambda h: wn.dense(wn.relu(h) - 0.5 * wn.erf(h) + wn.gelu(dense()(x)) + 0.3 * h))(dense()(x)),
        lambda x: (lambda w: wn.dense(wn.relu(wn.dense(wn.relu(wn.dense(x, 1.2)), weight=w)) + wn.relu(dense()(x))))(
            wn.Weight()
        ),
    ],
)
def test_without_batch_norm_it_is_the_kernel(net):
    here, there = batch_kernel(net, scrambles=2)(ROWS), wn.kernel(net)(ROWS)
    np.testing.assert_allclose(here.nngp, there.nngp, rtol=1e-6)
    np.testing.assert_allclose(here.ntk, there.ntk, rtol=1e-6)


@pytest.mark.parametrize("readout", [wn.flatten(), wn.position_mean(), wn.select(position=1)])
@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR"])
def test_positions_without_batch_norm_are_those_of_the_kernel(readout, padding):
    net = wn.serial(wn.conv(3, padding=padding, sigma_b=0.2), wn.relu, wn.conv(2), wn.relu, readout, dense())
    here, there = batch_kernel(net, scrambles=2)(IMAGES), wn.kernel(net)(IMAGES)
    np.testing.assert_allclose(here.nngp, there.nngp, rtol=1e-6)
    np.testing.assert_allclose(here.ntk, there.ntk, rtol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_kernels_are_symmetric_and_positive(name):
    for part in limit(name)[:2]:
        np.testing.assert_allclose(part, part.T, rtol=1e-10, atol=1e-12)
        assert np.linalg.eigvalsh(part).min() > -1e-10


def test_repeated_samples_have_equal_rows():
    for part in limit("repeated_samples")[:2]:
        np.testing.assert_allclose(part[0], part[5], rtol=1e-12)


def test_an_order_of_the_batch_is_an_order_of_the_kernel():
    k, order = limit("relu"), [3, 1, 5, 0, 2, 4]
    other = batch_kernel(stack(wn.relu))(ROWS[order])
    for part, error, permuted in zip(k[:2], k[2:], other[:2], strict=True):
        assert (np.abs(part[np.ix_(order, order)] - permuted) < 6 * error[np.ix_(order, order)].max()).all()


def test_a_part_of_a_batch_has_another_kernel():
    part = batch_kernel(stack(wn.relu))(ROWS[:5])
    assert np.abs(part.nngp - limit("relu").nngp[:5, :5]).max() > 0.05


def test_two_samples_teach_nothing_below_the_last_layer():
    k = batch_kernel(wn.serial(dense(), normalized(wn.relu), dense(1.2, 0.3)))(ROWS[:2])
    np.testing.assert_allclose(k.nngp, 1.2**2 * np.eye(2) / 2 + 0.3**2, atol=1e-13)
    np.testing.assert_allclose(k.ntk, k.nngp, atol=1e-10)


def test_one_feature_has_one_direction():
    x = np.array([[0.3], [1.1], [-0.7], [2.0]])
    z = (x - x.mean()) / x.std()
    up, down = np.maximum(z, 0), np.maximum(-z, 0)
    k = batch_kernel(wn.serial(dense(), normalized(wn.relu), wn.dense()))(x)
    np.testing.assert_allclose(k.nngp, (up @ up.T + down @ down.T) / 2, atol=1e-13)
    np.testing.assert_allclose(k.ntk, k.nngp, atol=1e-9)


def test_a_scale_of_what_is_normalized_does_not_matter():
    net = lambda s: wn.serial(wn.dense(sigma_w=s), normalized(wn.relu), wn.dense())
    a, b = batch_kernel(net(0.01))(ROWS), batch_kernel(net(100.0))(ROWS)
    np.testing.assert_allclose(a.nngp, b.nngp, rtol=1e-10)
    np.testing.assert_allclose(a.ntk, b.ntk, rtol=1e-10)


@pytest.mark.parametrize(("net", "x"), [(stack(wn.relu), ROWS[:3]), (stack(wn.tanh), ROWS[:, :2])])
def test_two_directions_are_refused_without_eps(net, x):
    with pytest.raises(ValueError, match=r"varies in only 2 directions there.*give it eps > 0"):
        batch_kernel(net)(x)


@pytest.mark.parametrize("x", [ROWS[:1], ROWS[[2, 2, 2]]])
def test_equal_samples_are_refused_without_eps(x):
    with pytest.raises(ValueError, match=r"batch_norm before tanh \(layer 3\): all samples are equal"):
        batch_kernel(stack(wn.tanh))(x)
    assert np.isfinite(batch_kernel(stack(wn.tanh, 0.1))(x).ntk).all()


@pytest.mark.parametrize(
    ("net", "error", "message"),
    [
        (wn.serial(wn.batch_norm(), OUT), ValueError, "standardize the features yourself"),
        (wn.serial(dense(), wn.relu, wn.batch_norm(), OUT), ValueError, "batch_norm before the activation"),
        (wn.serial(dense(), wn.layer_norm(), OUT), NotImplementedError, r"no rule for layer_norm \(layer 2\)"),
        (wn.serial(dense(), wn.relu, wn.dropout(rate=0.1), OUT), NotImplementedError, "no rule for dropout"),
        (
            lambda x: (lambda z: OUT(Var(Nonlin(wn.relu), (z,), (), z.channels)))(wn.relu(dense()(x)) + dense()(x)),
            ValueError,
            "channels are not Gaussians of one kind",
        ),
    ],
)
def test_what_is_not_covered_is_named(net, error, message):
    with pytest.raises(error, match=message):
        batch_kernel(net)(ROWS)


def test_batch_norm_of_flattened_positions_is_refused():
    with pytest.raises(ValueError, match="flatten after it"):
        batch_kernel(wn.serial(dense(), wn.flatten(), wn.batch_norm(), OUT))(IMAGES)
