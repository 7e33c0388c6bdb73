"""Deep networks with batch normalization: direct computation, the rate at infinite width, the construction."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn


def stack(law, depth, width, seed=0):
    draw = jax.vmap(lambda key: law(key, (width, width)))
    return draw(jax.random.split(jax.random.key(seed), depth))


def data(n, d, seed=1):
    return 1.7 * jax.random.normal(jax.random.key(seed), (n, d)) + 0.3


@pytest.mark.parametrize("centre", [True, False])
def test_values_are_those_of_a_direct_computation(centre):
    n, d, gains = 5, 6, np.array([1.0, 0.7, 1.6])
    weights, x = stack(wn.initializers.normal(1.3), 3, d), data(n, d)

    def layers(weights):
        h, made = x, []
        for w, gain in zip(weights, gains, strict=True):
            h = h @ w
            h = h - h.mean(0) if centre else h
            made.append(jnp.tanh(gain * h / jnp.sqrt((h**2).mean(0))))
            h = made[-1]
        return made

    report = wn.batch_norm_report(weights, x, wn.tanh, gains=gains, centre=centre)
    for h, gap in zip([x, *layers(weights)], report.gap, strict=True):
        h = np.asarray(h - h.mean(0)) if centre else np.asarray(h)
        values = np.linalg.svd(h, compute_uv=False)[: n - centre] ** 2
        assert gap == pytest.approx(math.log(values.mean()) - np.log(values).mean())
    jacobian = jax.jacrev(lambda weights: layers(weights)[-1])(weights)
    exact = np.sqrt(np.sum(jacobian**2, axis=(0, 1, 3, 4)) / (n * d))
    many = [wn.batch_norm_report(weights, x, wn.tanh, gains=gains, centre=centre, key=k).gradient for k in range(30)]
    squares = np.square(many)
    assert (np.abs(squares.mean(0) - exact**2) < 4.5 * squares.std(0, ddof=1) / math.sqrt(30)).all()


@pytest.mark.parametrize(("phi", "batch"), [(wn.identity, 8), (wn.relu, 16)], ids=["identity", "relu"])
def test_gaussian_networks_have_the_rate_of_infinite_width(phi, batch):
    width, depth = 300, 24
    logs = []
    for seed in range(6):
        weights = stack(wn.initializers.normal(1.0), depth, width, seed)
        report = wn.batch_norm_report(weights, data(batch, width, seed), phi)
        logs.append(math.log(report.rate))
    assert report.theory == wn.batch_norm_rate(phi, batch)
    error = np.std(logs, ddof=1) / math.sqrt(len(logs))
    assert abs(np.mean(logs) - math.log(report.theory)) < 4 * error + batch / width / 5


def test_orthogonal_weights_keep_gradients_and_make_the_batch_isometric():
    d, depth = 32, 300
    x = data(d, d)
    haar, gauss = (
        wn.batch_norm_report(stack(law, depth, d), x, centre=False)
        for law in (wn.initializers.orthogonal(), wn.initializers.normal(1.0))
    )
    assert abs(math.log(haar.rate)) / 2 < 2e-3 < 5e-3 < math.log(gauss.rate) / 2
    assert haar.gap[-1] < 0.01 * haar.gap[0]
    assert (haar.gap <= wn.gap_bound(haar.gap[0], d, depth) * 1.02).all()
    assert (haar.verdict, gauss.verdict) == ("fine", "exploding")


def test_gains_keep_the_gradients_of_tanh():
    d, depth = 32, 150
    weights, x = stack(wn.initializers.orthogonal(), depth, d), data(d, d)
    plain = wn.batch_norm_report(weights, x, wn.tanh)
    shaped = wn.batch_norm_report(weights, x, wn.tanh, gains=wn.depth_gain(np.arange(1, depth + 1)))
    assert math.log(plain.rate) > 10 * abs(math.log(shaped.rate))
    assert (plain.verdict, shaped.verdict) == ("exploding", "fine")
    assert math.isnan(shaped.theory)


def test_a_product_of_gaussian_matrices_makes_samples_dependent():
    d = 64
    report = wn.batch_norm_report(stack(wn.initializers.normal(1.0), 60, d), data(d, d), centre=False)
    assert report.verdict == "dependent samples"
    assert report.gap[-1] > 20


def test_gain_and_bound():
    np.testing.assert_allclose(wn.depth_gain(np.arange(1, 5), 0.3), [1, 2**-0.3, 3**-0.3, 4**-0.3])
    np.testing.assert_allclose(wn.gap_bound(0.5, 3, 2, 0.1), 0.5 * np.exp(-np.arange(3) / (0.9 * 2.5)))
    np.testing.assert_array_equal(wn.gap_bound(0.0, 3, 2), 0)


def test_the_picture_is_written_and_the_table_has_the_numbers(tmp_path):
    report = wn.batch_norm_report(stack(wn.initializers.normal(1.0), 12, 10), data(6, 10))
    assert report.plot(tmp_path / "batch.png").read_bytes().startswith(b"\x89PNG")
    assert f"x {report.rate:.4g}, {4 / 3:.4g} at infinite width" in str(report)
    with pytest.raises(ValueError, match="must be"):
        report.plot(tmp_path / "batch.txt")


def test_bad_input_is_refused():
    weights = stack(wn.initializers.normal(1.0), 4, 5)
    with pytest.raises(ValueError, match="pad or project"):
        wn.batch_norm_report(weights, data(6, 7))
    with pytest.raises(ValueError, match="one gain a layer, 4"):
        wn.batch_norm_report(weights, data(6, 5), gains=[1.0, 1.0])
    with pytest.raises(ValueError, match="three or more"):
        wn.batch_norm_report(weights, data(2, 5))
    with pytest.raises(ValueError, match="counted from 1"):
        wn.depth_gain(0)
    with pytest.raises(ValueError, match="isometry gap >= 0"):
        wn.gap_bound(-1.0, 3, 3)
