"""float64 for a while, without changing anybody's configuration."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from widenet.precision import float64

pytestmark = pytest.mark.float32


def test_precision_is_double_inside_and_single_again_outside():
    with float64():
        assert jnp.ones(1).dtype == np.float64
    assert jnp.ones(1).dtype == np.float32


def test_precision_is_single_again_after_an_error():
    with pytest.raises(ZeroDivisionError), float64():
        raise ZeroDivisionError
    assert jnp.ones(1).dtype == np.float32


def test_kernels_of_numpy_arrays_are_double_without_asking():
    x = np.random.default_rng(0).normal(size=(4, 3))
    k = wn.kernel(wn.zoo.mlp(wn.relu, 2))(x)
    with float64():
        exact = wn.kernel(wn.zoo.mlp(wn.relu, 2))(x)
    assert k.ntk.dtype == np.float64
    np.testing.assert_array_equal(k.ntk, exact.ntk)
    assert not jax.config.jax_enable_x64
