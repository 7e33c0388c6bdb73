"""What is true of every activation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.activations.rows import CASES, ROWS, both, gradients
from widenet.activations import derivative, hermite_series, split_rule
from widenet.activations import dual as duals
from widenet.activations.activation import with_dtype

STEP = 1e-5
each = pytest.mark.parametrize("phi", ROWS.values(), ids=ROWS.keys())
# gradients compile for seconds: every third activation here, all of them in `make test-all`
every_third = pytest.mark.parametrize(
    "phi",
    [phi if i % 3 == 0 else pytest.param(phi, marks=pytest.mark.slow) for i, phi in enumerate(ROWS.values())],
    ids=ROWS.keys(),
)


def quadrature(phi, psi, q1, q2, k):
    if phi.breakpoints or psi.breakpoints:
        return split_rule.rule(phi, psi, q1, q2, k)
    return hermite_series.series_dual(phi, psi, q1, q2, k)


@each
def test_closed_forms_agree_with_quadrature(phi):
    if phi.closed is None:
        pytest.skip("see test_golden.py")
    phi, (q1, q2, k) = with_dtype(phi, jnp.float64), jnp.asarray(CASES).T
    prime = derivative(phi)
    value, slope = both(phi, q1, q2, k)
    usual = slice(0, 8)  # at zero variance a jump is what one says it is
    np.testing.assert_allclose(value[usual], quadrature(phi, phi, q1, q2, k)[usual], rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(slope[usual], quadrature(prime, prime, q1, q2, k)[usual], rtol=1e-11, atol=1e-12)


@each
def test_moments_are_the_dual_of_a_variable_with_itself_and_with_a_constant(phi):
    from widenet.activations import constant

    q = jnp.asarray([0.4, 1.0, 2.3])
    np.testing.assert_allclose(duals.second_moment(phi, q), duals.dual(phi, q, q, q), rtol=1e-12, atol=1e-14)
    mean = quadrature(with_dtype(phi, q.dtype), constant(1.0), q, q, 0 * q)
    np.testing.assert_allclose(duals.mean(phi, q), mean, rtol=1e-11, atol=1e-12)


@every_third
def test_gradients_agree_with_finite_differences(phi):
    leaves, treedef = jax.tree.flatten((with_dtype(phi, jnp.float64), *jnp.asarray(CASES).T))
    exact = [jax.tree.leaves(part) for part in gradients(*treedef.unflatten(leaves))]
    for i, leaf in enumerate(leaves):
        moved = [both(*treedef.unflatten([*leaves[:i], leaf + h, *leaves[i + 1 :]])) for h in (STEP, -STEP)]
        for part in (0, 1):
            difference = (moved[0][part] - moved[1][part]) / (2 * STEP)
            inside = (difference.sum(), ...) if leaf.ndim == 0 else (difference[:2], slice(0, 2))
            np.testing.assert_allclose(exact[part][i][inside[1]], inside[0], rtol=1e-7, atol=1e-8)


@every_third
def test_values_and_gradients_are_finite_everywhere(phi):
    phi, (q1, q2, k) = with_dtype(phi, jnp.float64), jnp.asarray(CASES).T
    for part in jax.tree.leaves((both(phi, q1, q2, k), gradients(phi, q1, q2, k))):
        assert part.dtype == jnp.float64
        assert np.isfinite(part).all()


@every_third
def test_price_derivative_in_k_is_the_slope(phi):
    if not phi.continuous:
        pytest.skip("the derivative of a jump is a delta, which the slope leaves out")
    phi = with_dtype(phi, jnp.float64)
    q1, q2, k = jnp.asarray(CASES).T
    of_dual = gradients(phi, q1, q2, k)[0][3]
    np.testing.assert_allclose(of_dual, both(phi, q1, q2, k)[1], rtol=1e-10, atol=1e-12)


@each
def test_function_and_derivative_agree_almost_everywhere(phi):
    u = jnp.asarray([-2.1, -0.3, 0.4, 1.9])
    difference = (phi.fn(u + STEP, *phi.params) - phi.fn(u - STEP, *phi.params)) / (2 * STEP)
    prime = derivative(phi)
    np.testing.assert_allclose(prime.fn(u, *prime.params), difference, rtol=1e-6, atol=1e-8)
    automatic = jax.vmap(jax.grad(lambda x: phi.fn(x, *phi.params)))(u)
    np.testing.assert_allclose(automatic, difference, rtol=1e-6, atol=1e-8)


@each
def test_single_precision_is_accurate(phi):
    q1, q2, k = CASES.astype(np.float32).T
    exact = both(with_dtype(phi, jnp.float64), *(jnp.asarray(x, jnp.float64) for x in (q1, q2, k)))
    kept = np.array([0, 1, 2, 3, 4, 7])  # rounding k at unequal variances and |c| = 1 moves the angle
    for single, double in zip(both(with_dtype(phi, jnp.float32), *map(jnp.asarray, (q1, q2, k))), exact, strict=True):
        assert single.dtype == jnp.float32
        assert np.isfinite(single).all()
        np.testing.assert_allclose(single[kept], double[kept], rtol=3e-6, atol=3e-6)


@each
def test_duals_broadcast(phi):
    arrays = (jax.ShapeDtypeStruct(shape, jnp.float64) for shape in ((2, 1), (1, 3), (2, 3)))
    value, slope = jax.eval_shape(both.__wrapped__, with_dtype(phi, jnp.float64), *arrays)
    assert value.shape == slope.shape == (2, 3)
