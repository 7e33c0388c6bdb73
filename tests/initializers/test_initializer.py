"""The signature of jax: keys, dtypes, shardings, transformations, layouts."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from widenet import initializers as wi

KEY = 3
SHAPE = (3, 3, 8, 8)
ALL = {
    "normal": wi.normal(1.3),
    "truncated_normal": wi.truncated_normal(1.3),
    "uniform": wi.uniform(1.3),
    "orthogonal": wi.orthogonal(1.3),
    "delta_orthogonal": wi.delta_orthogonal(1.3),
    "low_rank": wi.low_rank(0.5, 1.3),
    "block_sparse": wi.block_sparse(0.5, 2, 1.3),
    "permuted": wi.permuted(np.random.default_rng(0).random((72, 8)) < 0.4, 1.3),
    "cayley": wi.cayley(1.3, batch_axis=(0, 1)),
    "constant": wi.constant(0.3),
    "bias": wi.bias(0.3),
}
FAST = {"normal", "delta_orthogonal", "permuted"}
every = pytest.mark.parametrize("name", ALL)
most_slow = pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in ALL])


@every
def test_the_signature_is_that_of_jax(name):
    theirs = inspect.signature(jax.nn.initializers.normal())
    ours = inspect.signature(type(ALL[name]).__call__)
    assert list(ours.parameters)[1:] == list(theirs.parameters)
    assert [p.default for p in ours.parameters.values()][-2:] == [None, None]


@every
def test_the_dtype_is_what_was_asked_for(name):
    dtype = jnp.bfloat16
    w = ALL[name](KEY, SHAPE, dtype)
    assert (w.dtype, w.shape) == (dtype, SHAPE)
    assert np.isfinite(np.asarray(w, float)).all()
    wide = ALL[name](KEY, SHAPE, jnp.promote_types(dtype, jnp.float32))
    np.testing.assert_array_equal(w, wide.astype(dtype))


@most_slow
def test_without_a_dtype_it_is_jax_s_default(name):
    assert ALL[name](KEY, SHAPE).dtype == jnp.zeros(()).dtype == jnp.float64


@pytest.mark.float32
@most_slow
def test_in_single_precision_too(name):
    assert ALL[name](KEY, SHAPE).dtype == jnp.float32


@every
@pytest.mark.parametrize("dtype", [jnp.int32, jnp.complex64, bool])
def test_other_dtypes_are_refused(name, dtype):
    with pytest.raises(TypeError, match="give a floating one"):
        ALL[name](KEY, SHAPE, dtype)


@most_slow
def test_jit_vmap_and_eval_shape(name):
    initializer, key = ALL[name], jax.random.key(KEY)
    eager = initializer(key, SHAPE)
    jitted = jax.jit(initializer, static_argnums=(1, 2))(key, SHAPE, jnp.float64)
    np.testing.assert_allclose(jitted, eager, atol=1e-12)
    keys = jax.random.split(key, 3)
    many = jax.vmap(lambda key: initializer(key, SHAPE))(keys)
    for one, w in zip(keys, many, strict=True):
        np.testing.assert_allclose(w, initializer(one, SHAPE), atol=1e-12)
    shape = jax.eval_shape(lambda key: initializer(key, SHAPE, jnp.float32), key)
    assert (shape.shape, shape.dtype) == (SHAPE, jnp.float32)


@most_slow
def test_keys_are_typed_raw_or_numbers(name):
    w = ALL[name](KEY, SHAPE)
    np.testing.assert_array_equal(ALL[name](jax.random.key(KEY), SHAPE), w)
    np.testing.assert_array_equal(ALL[name](jax.random.PRNGKey(KEY), SHAPE), w)
    if name != "constant":
        assert (np.asarray(ALL[name](KEY + 1, SHAPE)) != np.asarray(w)).any()


@every
def test_equal_initializers_are_equal_and_hashable(name):
    assert hash(ALL[name]) == hash(ALL[name])
    assert wi.orthogonal(1.3) == ALL["orthogonal"]
    assert wi.orthogonal(1.3) != wi.orthogonal(1.3, variance_preserving=False)


@most_slow
def test_the_sharding_is_what_was_asked_for(name):
    mesh = jax.make_mesh((1,), ("model",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(None, None, None, "model"))
    w = ALL[name](KEY, SHAPE, jnp.float32, out_sharding=sharding)
    assert w.sharding.is_equivalent_to(sharding, 4)
    np.testing.assert_array_equal(w, ALL[name](KEY, SHAPE, jnp.float32))


def test_weights_are_spread_over_devices():
    code = """
        import jax, numpy as np
        from jax.sharding import NamedSharding, PartitionSpec as P
        from widenet import initializers as wi
        mesh = jax.make_mesh((2,), ("model",))
        spread = NamedSharding(mesh, P(None, "model"))
        for make in (wi.normal(), wi.orthogonal(), wi.bias(0.1)):
            w = make(0, (6, 8), None, spread)
            assert [s.data.shape for s in w.addressable_shards] == [(6, 4), (6, 4)]
            assert (np.asarray(w) == np.asarray(make(0, (6, 8)))).all()
            inside = jax.jit(lambda key: make(key, (6, 8), None, spread), out_shardings=spread)(jax.random.key(0))
            assert inside.sharding.is_equivalent_to(spread, 2)
    """
    options = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}

    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, **options},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_numbers_are_those_of_jax_where_the_laws_agree():
    theirs, key = jax.nn.initializers, jax.random.key(0)
    for ours, other in (
        (wi.normal(np.sqrt(2)), theirs.variance_scaling(2, "fan_in", "normal")),
        (wi.truncated_normal(np.sqrt(2)), theirs.he_normal()),
        (wi.uniform(mode="fan_avg"), theirs.glorot_uniform()),
    ):
        np.testing.assert_allclose(ours(key, SHAPE), other(key, SHAPE), rtol=1e-12)


@pytest.mark.parametrize("shape", [(3, 3, 6, 8), (5, 6, 6), (2, 2, 2, 3, 4)])
def test_delta_orthogonal_is_a_matrix_at_the_centre(shape):
    w = np.asarray(wi.delta_orthogonal(1.3)(0, shape))
    centre = tuple((size - 1) // 2 for size in shape[:-2])
    tap = w[centre]
    assert np.count_nonzero(w) == np.count_nonzero(tap)
    np.testing.assert_allclose(tap @ tap.T, 1.3**2 * shape[-1] / shape[-2] * np.eye(shape[-2]), atol=1e-13)
    theirs = jax.nn.initializers.delta_orthogonal()(jax.random.key(0), shape)
    assert (np.flatnonzero(np.abs(theirs).sum((-1, -2))) == np.flatnonzero(np.abs(w).sum((-1, -2)))).all()


def test_a_deep_linear_delta_orthogonal_network_is_an_isometry_of_images():
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 4))

    def layer(h, key):
        w = wi.delta_orthogonal()(key, (3, 3, 4, 4))
        padded = jnp.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
        return jax.lax.conv_general_dilated(
            padded, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        ), None

    keys = jax.random.split(jax.random.key(0), 64)
    jacobian = jax.jacobian(lambda x: jax.lax.scan(layer, x, keys)[0])(jnp.asarray(x)).reshape(144, 144)
    np.testing.assert_allclose(np.linalg.svd(jacobian, compute_uv=False), 1, atol=1e-10)


def test_delta_orthogonal_refuses_what_it_cannot_keep():
    with pytest.raises(ValueError, match="needs a window"):
        wi.delta_orthogonal()(0, (4, 4))
    with pytest.raises(ValueError, match="8 -> 4: use"):
        wi.delta_orthogonal()(0, (3, 3, 8, 4))


def test_copies_are_independent_matrices():
    w = np.asarray(wi.orthogonal(in_axis=0, out_axis=2, batch_axis=1)(0, (6, 4, 6)))
    for i in range(4):
        np.testing.assert_allclose(w[:, i] @ w[:, i].T, np.eye(6), atol=1e-13)
    assert np.abs(w[:, 0] - w[:, 1]).max() > 0.1


def test_a_gain_may_be_traced_or_an_activation():
    scale = jax.grad(lambda gain: jnp.sum(wi.normal(gain)(0, (4, 4)) ** 2))(2.0)
    np.testing.assert_allclose(scale, 2 * jnp.sum(wi.normal(2.0)(0, (4, 4)) ** 2) / 2, rtol=1e-12)
    np.testing.assert_allclose(wi.normal(wn.relu).gain, np.sqrt(2), rtol=1e-12)
    np.testing.assert_allclose(wi.orthogonal(jax.nn.relu).c_w, 2, rtol=1e-12)


@pytest.mark.parametrize("gain", [0.0, -1.0, np.inf, np.nan])
def test_a_gain_that_is_not_positive_is_refused(gain):
    with pytest.raises(ValueError, match="must be positive and finite"):
        wi.normal(gain)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: wi.low_rank(0.0), "must be in"),
        (lambda: wi.low_rank(1.5), "must be in"),
        (lambda: wi.block_sparse(0.0), "must be in"),
        (lambda: wi.block_sparse(0.5, 0), "at least 1"),
        (lambda: wi.truncated_normal(bound=0.0), "positive and finite"),
        (lambda: wi.permuted(np.zeros((3, 3))), "true entry"),
        (lambda: wi.permuted(np.ones(3)), "matrix"),
        (lambda: wi.cayley()(0, (3, 5)), "square"),
        (lambda: wi.normal(wn.sigmoid), "no critical point"),
        (lambda: wi.normal(wn.gelu), "critical only with biases: sigma_w = 1.40821 and sigma_b = 0.415839"),
        (lambda: wi.orthogonal(wn.softplus), "no critical point"),
    ],
)
def test_bad_requests_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
