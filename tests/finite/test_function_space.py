"""Networks drawn as functions against the same networks drawn as weights."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from tests.finite.artefacts import arrays_held
from widenet.finite import function_space
from widenet.finite.function_space import is_cheaper, root_of_covariance
from widenet.finite.sampling import _one_function
from widenet.precision import float64
from widenet.program.trace import trace

RNG = np.random.default_rng(0)
TIED = wn.Weight()
BLOCK = wn.serial(wn.relu, wn.dense(sigma_w=1.2, sigma_b=0.5))
NETS = {  # net, shape of a sample
    "dense": (wn.serial(wn.dense(sigma_w=1.3, sigma_b=0.4), wn.relu, wn.dense(sigma_w=0.7), wn.erf, wn.dense()), (3,)),
    "repeated": (wn.serial(wn.dense(), wn.repeat(BLOCK, 3), wn.relu, wn.dense(width=5, sigma_b=0.3)), (3,)),
    "conv": (wn.serial(*[wn.conv(window=2, sigma_w=1.4, sigma_b=0.2), wn.relu] * 2, wn.flatten(), wn.dense()), (3, 2)),
    "tied": (lambda x: wn.dense(wn.relu(wn.dense(wn.erf(wn.dense(wn.dense(x), weight=TIED)), weight=TIED))), (3,)),
}


@pytest.mark.parametrize("name", NETS)
def test_the_law_is_that_of_weights(name):
    net, shape = NETS[name]
    width, m = 12, 3000
    x, y = RNG.normal(size=(2, *shape)), RNG.normal(size=(1, *shape))
    assert is_cheaper(trace(net, x.shape), width, 3)
    drawn, weights = wn.monte_carlo_nngp(net, 0, width, m)(x, y), wn.monte_carlo(net, 1, width, m)(x, y)
    z = (drawn.nngp - weights.nngp) / np.hypot(drawn.nngp_error, weights.nngp_error)
    assert np.abs(z).max() < 4
    assert not np.array_equal(drawn.nngp, weights.nngp)
    # the standard deviation of m kernels of a kurtosis below 15 is known to sqrt(14 / (4 m)) = 3.4%
    np.testing.assert_allclose(drawn.nngp_error / weights.nngp_error, 1, atol=0.2)


def test_samples_of_which_some_are_equal_or_zero_stay_so():
    z = RNG.normal(size=(6, 4)) * np.array([1, 1, 1e-6, 1e6, 0, 1])[:, None]
    z[1] = z[0]
    with float64():
        root = np.asarray(root_of_covariance(jnp.asarray(z), 1.3, 0.0))
    scale = np.linalg.norm(z, axis=1) + (z == 0).all(1)
    np.testing.assert_allclose(
        root @ root.T / scale / scale[:, None], 1.3**2 / 4 * z @ z.T / scale / scale[:, None], atol=1e-12
    )
    assert (root[4] == 0).all()


def test_the_kernel_of_equal_samples_is_symmetric():
    net, _ = NETS["dense"]
    x = RNG.normal(size=(3, 5))
    k = wn.monte_carlo_nngp(net, 0, 64, 4)(x, x).nngp
    np.testing.assert_allclose(k, k.T, rtol=1e-5)


def test_batch_size_does_not_change_the_numbers():
    net, _ = NETS["repeated"]
    x = RNG.normal(size=(2, 3))
    one, *others = (wn.monte_carlo_nngp(net, 5, 16, 20, batch=batch)(x)[:2] for batch in (1, 7, None))
    for other in others:
        np.testing.assert_allclose(np.array(other), np.array(one), rtol=1e-10)


def test_it_stops_at_the_same_network_whatever_the_batch():
    net, _ = NETS["dense"]
    x = RNG.normal(size=(2, 3))
    found = [wn.monte_carlo_nngp(net, 0, 32, 5000, tolerance=0.05, batch=batch)(x) for batch in (5, 64)]
    assert found[0].samples == found[1].samples < 5000
    assert found[0].samples % 16 == 0


def test_weights_are_drawn_where_they_are_fewer_or_tied():
    def drawn(net, shape, width):
        made = jax.eval_shape(
            lambda x: function_space._parameters(trace(net, shape), jax.random.key(0), width, x),
            jax.ShapeDtypeStruct(shape, float),
        )
        return {name for name, entry in made.items() if "key" in entry}

    assert drawn(NETS["tied"][0], (4, 30), 64) == {"dense1", "dense3"}
    assert drawn(wn.serial(wn.dense(), wn.relu, wn.dense()), (4, 2), 64) == {"dense2"}
    assert not drawn(wn.serial(wn.dense(), wn.relu, wn.dense()), (100, 30), 64)


def test_no_weight_of_a_drawn_layer_is_made():
    net, width = wn.serial(*[wn.dense(sigma_b=0.1), wn.relu] * 3, wn.dense(width=2)), 300
    x = jnp.ones((5, 200))
    made = set(arrays_held(partial(_one_function, net, width), jax.random.key(0), 0, x, None))
    assert (5, width) in made
    assert max(np.prod(shape, dtype=int) for shape in made) < 200 * width


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
def test_float32_is_kept(kind):
    net, shape = NETS["dense"]
    x = kind(RNG.normal(size=(3, *shape)).astype(np.float32))
    nngp = wn.monte_carlo_nngp(net, 0, 16, 4)(x).nngp
    assert nngp.dtype == np.float32
    assert isinstance(nngp, jax.Array) == isinstance(x, jax.Array)


def test_every_layer_and_every_copy_has_a_key_of_its_own():
    net, x = wn.serial(wn.dense(), wn.repeat(wn.dense(), 3), wn.dense()), jnp.ones((2, 40))
    keys = jax.tree.leaves(function_space._parameters(trace(net, x.shape), jax.random.key(0), 40, x))
    data = np.concatenate([np.reshape(jax.random.key_data(key), (-1, 2)) for key in keys])
    assert len(np.unique(data, axis=0)) == len(data) == 5
