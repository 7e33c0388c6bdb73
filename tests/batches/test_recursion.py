"""The recursion against finite networks, and against the kernel reading where both apply."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

import widenet as wn
from tests.batches.finite import READOUT, mean_and_error, monte_carlo
from tests.batches.nets import IMAGES, NETS, ROWS, dense, normalized, stack
from widenet.batches import batch_kernel


@cache
def limit(name):
    hidden, x = NETS[name]
    return batch_kernel(wn.serial(hidden, READOUT))(x)


QUICK = {("relu", 96), *((name, 24) for name in set(NETS) - {"repeated_samples", "tanh_eps"})}
SIZES = [
    pytest.param(name, width, count, marks=[pytest.mark.slow] * ((name, width) not in QUICK))
    for name in NETS
    for width, count in ((24, 600), (96, 150))
]


@pytest.mark.parametrize(("name", "width", "count"), SIZES)
def test_finite_networks_have_these_kernels(name, width, count):
    """Up to 4.5 standard errors, and a bias of a few parts in `width`."""
    means, errors = mean_and_error(monte_carlo(*NETS[name], width, count))
    k = limit(name)
    for mean, error, value, own in zip(means, errors, k[:2], k[2:], strict=True):
        allowed = 4.5 * np.hypot(error, own) + 1.5 / width * np.sqrt(np.outer(value.diagonal(), value.diagonal()))
        assert (np.abs(mean - value) < allowed).all()
        assert np.linalg.norm(error) < 0.15 * np.linalg.norm(value)


def test_the_deviation_of_finite_networks_falls_as_one_over_width():
    """Of K and Theta, summed over their entries: width times deviation is the same at two widths."""
    scaled = {}
    for width in (12, 40):
        means, errors = mean_and_error(monte_carlo(*NETS["tied"], width, 1500).sum((2, 3)))
        scaled[width] = width * (means - np.sum(limit("tied")[:2], (1, 2))), width * errors
    (small, error), (large, other) = scaled.values()
    assert (np.abs(small) > 5 * error).all()
    assert (np.abs(large) > 4 * other).all()
    assert (np.abs(small - large) < 3 * np.hypot(error, other)).all()


@pytest.mark.parametrize(
    "net",
    [
        lambda x: (lambda h: wn.dense(wn.relu(h) - 0.5 * h + wn.relu(dense()(x))))(dense()(x)),
        lambda x: (lambda w: wn.dense(wn.relu(wn.dense(wn.relu(wn.dense(x, 1.2)), weight=w)) + wn.relu(dense()(x))))(
            wn.Weight()
        ),
    ],
)
def test_without_batch_norm_it_is_the_kernel(net):
    here, there = batch_kernel(net, scrambles=2)(ROWS), wn.kernel(net)(ROWS)
    np.testing.assert_allclose(here.nngp, there.nngp, rtol=1e-6)
    np.testing.assert_allclose(here.ntk, there.ntk, rtol=1e-6)


@pytest.mark.parametrize(
    ("padding", "readout"),
    [("SAME", wn.flatten()), ("VALID", wn.position_mean()), ("CIRCULAR", wn.select(position=1))],
    ids=["flatten", "mean", "select"],
)
def test_positions_without_batch_norm_are_those_of_the_kernel(padding, readout):
    net = wn.serial(wn.conv(3, padding=padding, sigma_b=0.2), wn.relu, wn.conv(2), readout, dense())
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
    a, b = (batch_kernel(wn.serial(wn.dense(sigma_w=s), normalized(wn.relu), wn.dense()))(ROWS) for s in (0.01, 100.0))
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
        (wn.serial(dense(), wn.tanh, wn.dense(), wn.batch_norm(), wn.batch_norm(), READOUT), ValueError, "layer 5"),
        (wn.serial(wn.batch_norm(), READOUT), ValueError, "standardize the features yourself"),
        (wn.serial(dense(), wn.relu, wn.batch_norm(), READOUT), ValueError, "batch_norm before the activation"),
        (wn.serial(dense(), wn.layer_norm(), READOUT), NotImplementedError, r"no rule for layer_norm \(layer 2\)"),
        (wn.serial(dense(), wn.relu, wn.dropout(rate=0.1), READOUT), NotImplementedError, "no rule for dropout"),
        (
            lambda x: READOUT(wn.relu(wn.relu(dense()(x)) + dense()(x))),
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
        batch_kernel(wn.serial(dense(), wn.flatten(), wn.batch_norm(), READOUT))(IMAGES)
