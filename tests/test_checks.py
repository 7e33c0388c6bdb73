"""What is asked of data before anything is computed."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from widenet import checks

NET = wn.zoo.mlp(wn.relu, 1)


@pytest.mark.parametrize(
    ("x1", "x2", "error", "message"),
    [
        (np.ones((3, 8)), np.ones((3, 5)), ValueError, "x1 has 8 features, x2 has 5"),
        (np.ones((3, 8)), np.ones((3, 8, 2)), ValueError, "samples of x1 have shape"),
        (np.ones(8), None, ValueError, r"for one sample write x1\[None\]"),
        (np.ones((0, 8)), None, ValueError, "x1 is empty"),
        (np.array([[1.0], [np.nan], [2.0], [np.inf]]), None, ValueError, r"2 of 4 rows \(1, 3\)"),
        ([[1, 2], [3]], None, TypeError, "not a rectangular array"),
        ([["a", "b"]], None, TypeError, "real numbers"),
        (np.ones((2, 2), complex), None, TypeError, "real numbers"),
    ],
)
def test_bad_batches_are_refused_by_name(x1, x2, error, message):
    with pytest.raises(error, match=message):
        wn.kernel(NET)(x1, x2)


def test_lists_and_integers_are_taken_as_float64():
    expected = wn.kernel(NET)(np.array([[1.0, 2.0], [3.0, 4.0]])).ntk
    for x in ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]], np.int8), jnp.array([[1, 2], [3, 4]])):
        k = wn.kernel(NET)(x).ntk
        assert k.dtype == np.float64
        np.testing.assert_array_equal(k, expected)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32, jnp.float64])
def test_floating_dtypes_are_kept(dtype):
    for x in (jnp.ones((2, 2), dtype), np.ones((2, 2), dtype)):
        assert checks.batch(x, "x").dtype == dtype


@pytest.mark.parametrize("dtype", [">f8", np.longdouble])
def test_dtypes_that_jax_does_not_know_become_float64(dtype):
    x = checks.batch(np.ones((2, 2), dtype), "x")
    assert x.dtype == np.float64
    assert x.dtype.isnative


@pytest.mark.float32
def test_numbers_beyond_float32_are_finite_in_float64():
    x = np.array([[1e300, -1e300]])
    np.testing.assert_array_equal(checks.batch(x, "x"), x)


def test_traced_values_pass():
    x = jnp.ones((3, 2, 2))
    np.testing.assert_array_equal(jax.vmap(lambda row: checks.batch(row, "x"))(x), x)
    np.testing.assert_array_equal(jax.jit(lambda a: checks.batch(a, "x"))(x), x)
