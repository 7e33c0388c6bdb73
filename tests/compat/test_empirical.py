"""Kernels of one network: against Jacobians, in every implementation, and what arguments mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
import widenet.compat.neural_tangents as nt
from tests.compat.calls import function, grid
from tests.compat.golden import data
from widenet.precision import float64

with float64():
    PARAMS = tuple(data()[f"w{i}"] for i in range(3))
    X1, X2 = data()["v1"], data()["v2"]


def full_kernel(f, x1, x2):
    """All pairs of outputs, by Jacobians: [n1, 2, 3, n2, 2, 3]."""
    left, right = (jax.tree.leaves(jax.jacrev(f)(PARAMS, x)) for x in (x1, x2))
    flat = [(a.reshape(*a.shape[:3], -1), b.reshape(*b.shape[:3], -1)) for a, b in zip(left, right, strict=True)]
    return sum(jnp.einsum("abcz,defz->abcdef", a, b) for a, b in flat)


@pytest.mark.parametrize("implementation", nt.NtkImplementation)
def test_every_implementation_is_the_product_of_jacobians(implementation):
    exact = full_kernel(grid, X1, X2)
    options = {"implementation": implementation}
    made = nt.empirical_ntk_fn(grid, trace_axes=(), **options)(X1, X2, PARAMS)
    np.testing.assert_allclose(made, np.einsum("abcdef->adbecf", exact), rtol=1e-10)
    mixed = nt.empirical_ntk_fn(grid, (1,), (2,), **options)(X1, X2, PARAMS)
    np.testing.assert_allclose(mixed, np.einsum("abcdbc->adc", exact) / 2, rtol=1e-10)
    sliced = nt.empirical_ntk_fn(grid, (1, 2), (), 0, **options)(X1, X2, PARAMS)
    np.testing.assert_allclose(sliced, np.einsum("abcdbc->ad", exact) / 6, rtol=1e-10)


def test_the_mean_over_outputs_is_widenets_own_kernel():
    own = nt.empirical_ntk_fn(grid, (1, 2))(X1, X2, PARAMS)
    np.testing.assert_allclose(own, wn.empirical_ntk(grid, PARAMS)(X1, X2), rtol=1e-10)
    nngp = nt.empirical_nngp_fn(grid, (1, 2))(X1, X2, PARAMS)
    np.testing.assert_allclose(nngp, wn.empirical_nngp(grid, PARAMS)(X1, X2), rtol=1e-10)


def test_products_with_a_vector_need_no_kernel():
    vector = jnp.cos(grid(PARAMS, X2))
    made = nt.empirical_ntk_vp_fn(grid, X1, X2, PARAMS)(vector)
    np.testing.assert_allclose(made, jnp.einsum("abcdef,def->abc", full_kernel(grid, X1, X2), vector), rtol=1e-10)


def scaled(params, x, *, shift, rng=None):
    """A function with keyword arguments, one of them a key."""
    noise = 0.0 if rng is None else jax.random.normal(rng, x.shape)
    return grid(params, x + shift + noise)


def test_pairs_of_keyword_arguments_are_one_for_each_batch():
    one, two = 0.1 * jnp.ones_like(X1), 0.2 * jnp.ones_like(X2)
    made = nt.empirical_ntk_fn(scaled, (1, 2))(X1, X2, PARAMS, shift=(one, two))
    np.testing.assert_allclose(made, nt.empirical_ntk_fn(grid, (1, 2))(X1 + one, X2 + two, PARAMS))
    sliced = nt.empirical_ntk_fn(scaled, (1, 2), vmap_axes=(0, 0, {"shift": 0}))(X1, X2, PARAMS, shift=(one, two))
    np.testing.assert_allclose(sliced, made, rtol=1e-10)


def test_a_key_is_one_draw_for_equal_batches_and_two_for_others():
    nngp_fn, key = nt.empirical_nngp_fn(scaled, (1, 2)), jax.random.PRNGKey(0)
    same = nngp_fn(X1, X1, PARAMS, shift=0.0, rng=key)
    np.testing.assert_allclose(same, nngp_fn(X1, None, PARAMS, shift=0.0, rng=key))
    np.testing.assert_allclose(same, same.T)
    moved = nngp_fn(X1, X1 + 1e-9, PARAMS, shift=0.0, rng=key)
    assert abs(moved - same).max() > 1e-3


def test_both_kernels_come_in_the_containers_of_the_peer():
    kernel_fn = nt.empirical_kernel_fn(function, trace_axes=())
    both = kernel_fn(X1, X2, None, PARAMS)
    assert set(both) == {"grid", "sum"}
    assert both["sum"]._fields == ("nngp", "ntk")
    assert type(both["grid"]).__name__ == "EmpiricalKernel"
    np.testing.assert_array_equal(kernel_fn(X1, X2, "ntk", PARAMS)["sum"], both["sum"].ntk)
    with pytest.raises(KeyError, match="'nngp', 'ntk' or both"):
        kernel_fn(X1, X2, "cov1", PARAMS)


def test_outputs_without_channels_are_refused_with_the_remedy():
    for implementation in (1, 2):
        with pytest.raises(ValueError, match=r"trace_axes=\(\) for outputs"):
            nt.empirical_ntk_fn(lambda p, x: grid(p, x)[:, 0, 0], implementation=implementation)(X1, X2, PARAMS)
