"""Empirical kernels against dense Jacobians."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from tests.finite.artefacts import arrays_held
from tests.nets import NETS
from widenet.finite import blocks, empirical_ntk_diagonal, empirical_ntk_full
from widenet.finite.empirical import is_architecture
from widenet.finite.structured import Layer, by_gradients, by_pairs, factors_are_cheaper, gradient_of
from widenet.precision import float64

RNG = np.random.default_rng(0)
FORMS = {wn.empirical_ntk: "mean", empirical_ntk_diagonal: "diagonal", empirical_ntk_full: "full"}
every_form = pytest.mark.parametrize("form", FORMS, ids=FORMS.values())


def dense_jacobian(f, params, x):
    jacobian = jax.jacobian(f, allow_int=True)(params, x)
    shape = f(params, x).shape
    leaves = [leaf for leaf in jax.tree.leaves(jacobian) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return np.concatenate([np.reshape(leaf, (shape[0], int(np.prod(shape[1:])), -1)) for leaf in leaves], -1)


def oracle(form, f, params, x1, x2):
    full = np.einsum("iop,jqp->ijoq", *(dense_jacobian(f, params, jnp.asarray(x)) for x in (x1, x2)))
    diagonal = np.einsum("ijoo->ijo", full)
    return {"full": full, "diagonal": diagonal, "mean": diagonal.mean(-1)}[FORMS[form]]


def own(params, x):
    """A network of somebody else's: nested parameters, an embedding, an integer leaf, 3 outputs."""
    h = jnp.tanh(x @ params["layers"][0]["w"] + params["layers"][0]["b"]) + params["table"][params["row"]]
    return jnp.sin(h @ params["layers"][1])


def own_params(dtype=np.float64):
    w, b, v, t = (RNG.normal(size=s).astype(dtype) for s in ((5, 6), (6,), (6, 3), (4, 6)))
    return {"layers": [{"w": w, "b": b}, v], "table": t, "row": 2}


@every_form
@pytest.mark.parametrize("numbers", [2**24, 300, 60, 1])
def test_blocks_of_any_size_give_the_dense_kernel(form, numbers, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_NUMBERS", numbers)
    params, x, y = own_params(), RNG.normal(size=(7, 5)), RNG.normal(size=(4, 5))
    np.testing.assert_allclose(form(own, params)(x, y), oracle(form, own, params, x, y), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(form(own, params)(x), oracle(form, own, params, x, x), rtol=1e-11, atol=1e-12)


@every_form
@pytest.mark.parametrize("numbers", [2**24, 150])
def test_traced_data_and_parameters_give_the_same(form, numbers, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_NUMBERS", numbers)
    params, x, y = own_params(), jnp.asarray(RNG.normal(size=(7, 5))), jnp.asarray(RNG.normal(size=(4, 5)))
    traced = jax.jit(lambda p, a, b: form(own, p | {"row": 2})(a, b))({k: params[k] for k in ("layers", "table")}, x, y)
    np.testing.assert_allclose(traced, oracle(form, own, params, x, y), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    "name",
    [
        "repeated_rows",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("rnn", "gate_and_skip", "concatenated_rows")),
    ],
)
def test_the_structured_kernel_of_our_nets_is_the_dense_one(name):
    net, shape = NETS[name]
    x, y = RNG.normal(size=(3, *shape)), RNG.normal(size=(2, *shape))
    f, params = wn.function_of(net), wn.init(net, 0, x.shape, 4)
    full = oracle(empirical_ntk_full, f, params, x, y)
    np.testing.assert_allclose(empirical_ntk_full(net, params)(x, y), full, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(empirical_ntk_full(f, params)(x, y), full, rtol=1e-11, atol=1e-12)
    diagonal = empirical_ntk_diagonal(net, params)(x, y)
    np.testing.assert_allclose(diagonal, np.einsum("ijoo->ijo", full), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(wn.empirical_ntk(net, params)(x, y), diagonal.mean(-1), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("numbers", [2**24, 500])
def test_the_structured_kernel_in_blocks_is_the_whole(numbers, monkeypatch):
    net, shape = NETS["repeated_rows"]
    x = RNG.normal(size=(5, *shape))
    params = wn.init(net, 0, x.shape, 6)
    whole = wn.empirical_ntk(net, params)(x)
    monkeypatch.setattr(blocks, "BLOCK_NUMBERS", numbers)
    np.testing.assert_allclose(wn.empirical_ntk(net, params)(x), whole, rtol=1e-12)
    traced = jax.jit(lambda p, x: wn.empirical_ntk(net, p)(x))(params, jnp.asarray(x))
    np.testing.assert_allclose(traced, whole, rtol=1e-12)


@pytest.mark.parametrize("axes", [0, 1, 2])
def test_pairs_of_positions_and_gradients_of_weights_agree(axes):
    a, b = (Layer(RNG.normal(size=(r, t, 4)), RNG.normal(size=(r, 2, t, 3))) for r, t in ((3, 5), (2, 7)))
    products = by_gradients(gradient_of(a), gradient_of(b), axes)
    np.testing.assert_allclose(by_pairs(a, b, axes), products, rtol=1e-11, atol=1e-12)


def test_the_cheaper_contraction_is_chosen():
    def layer(positions, width):
        shape = jax.ShapeDtypeStruct
        return Layer(shape((4, positions, width), float), shape((4, 1, positions, width), float))

    assert factors_are_cheaper(layer(1, 64))
    assert not factors_are_cheaper(layer(1024, 8))


def test_outputs_of_several_axes_keep_their_shape():
    f = lambda p, x: (x @ p).reshape(-1, 3, 2)  # noqa: E731
    p, x = RNG.normal(size=(5, 6)), RNG.normal(size=(4, 5))
    assert empirical_ntk_full(f, p)(x).shape == (4, 4, 3, 2, 3, 2)
    expected = np.broadcast_to((x @ x.T)[..., None, None], (4, 4, 3, 2))
    np.testing.assert_allclose(empirical_ntk_diagonal(f, p)(x), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dtype_and_kind_of_the_data_are_kept(dtype):
    params, x = own_params(dtype), RNG.normal(size=(3, 5)).astype(dtype)
    for data in (x, jnp.asarray(x)):
        for kernel in (wn.empirical_ntk, wn.empirical_nngp):
            k = kernel(own, params)(data)
            assert k.dtype == dtype
            assert isinstance(k, np.ndarray) == isinstance(data, np.ndarray)


def test_integer_data_reach_an_embedding_as_integers():
    table, tokens = RNG.normal(size=(6, 3)), np.array([[0, 1], [1, 5], [2, 3]])
    theta = wn.empirical_ntk(lambda p, x: p[x].sum(1), table)(tokens)
    np.testing.assert_allclose(theta, [[2, 1, 0], [1, 2, 0], [0, 0, 2]])


def test_nngp_is_the_second_moment_of_the_outputs():
    net = wn.serial(wn.dense(), wn.relu, wn.dense(width=3))
    x, y = RNG.normal(size=(4, 5)), RNG.normal(size=(2, 5))
    params = wn.init(net, 0, x.shape, 8)
    fx, fy = wn.apply(net, params, x), wn.apply(net, params, y)
    np.testing.assert_allclose(wn.empirical_nngp(net, params)(x, y), fx @ fy.T / 3, rtol=1e-12)
    np.testing.assert_allclose(wn.empirical_nngp(wn.function_of(net), params)(x), fx @ fx.T / 3, rtol=1e-12)


def with_an_option(x, scale=2.0):
    return scale * x


def with_more_arguments(params, *args):
    return own(params, args[0])


def test_architectures_are_told_from_functions_of_parameters():
    assert all(map(is_architecture, (wn.relu, wn.dense(), wn.dense, wn.zoo.rnn(), with_an_option)))
    assert not any(map(is_architecture, (own, jax.jit(own), wn.function_of(wn.relu), with_more_arguments)))


def test_bad_data_are_refused():
    kernel = wn.empirical_ntk(own, own_params())
    with pytest.raises(ValueError, match="x1 has 5 features, x2 has 4"):
        kernel(np.ones((2, 5)), np.ones((2, 4)))
    with pytest.raises(ValueError, match="at least one sample"):
        kernel(np.ones((0, 5)))


@pytest.mark.parametrize("wrap", [lambda net: net, wn.function_of], ids=["architecture", "function"])
def test_batch_norm_couples_the_samples_of_a_tangent_kernel(wrap):
    x = np.random.default_rng(0).normal(size=(5, 4))
    block = wn.repeat(wn.serial(wn.relu, wn.dense(), wn.batch_norm()), 1)
    net = wn.serial(wn.dense(), block, wn.relu, wn.dense(width=2))
    params = wn.init(net, 0, x.shape, width=32)
    with float64():
        jacobian = jax.jacobian(lambda p: wn.apply(net, p, x))(params)
    flat = np.concatenate([np.asarray(leaf).reshape(5, 2, -1) for leaf in jax.tree.leaves(jacobian)], axis=-1)
    exact = np.einsum("iop,jop->ij", flat, flat) / 2
    ntk = wn.empirical_ntk(wrap(net), params)
    np.testing.assert_allclose(ntk(x), exact, rtol=1e-10)
    np.testing.assert_allclose(ntk(x[:2], x[2:]), exact[:2, 2:], rtol=1e-10)


def test_no_gradient_of_a_dense_layer_is_formed():
    n, d, width, outputs = 7, 30, 50, 3
    net = wn.serial(wn.dense(sigma_b=0.1), wn.erf, wn.repeat(wn.serial(wn.dense(), wn.erf), 2), wn.dense(width=outputs))
    x = np.ones((n, d))
    params = wn.init(net, 0, x.shape, width)
    ntk = wn.empirical_ntk(net, params)
    made = set(arrays_held(ntk, jnp.asarray(x)))
    assert (n, outputs, 1, width) in made  # derivatives in what the layer makes
    assert max(math.prod(shape) for shape in made) < n * outputs * width * min(d, width)


def test_nothing_of_a_convolution_grows_with_the_pairs_of_positions():
    n, side, width = 5, 12, 4
    net = wn.serial(wn.conv(window=3), wn.relu, wn.conv(window=3), wn.relu, wn.position_mean(), wn.dense(width=2))
    x = np.ones((n, side, side, 3))
    ntk = wn.empirical_ntk(net, wn.init(net, 0, x.shape, width))
    made = arrays_held(ntk, jnp.asarray(x))
    assert max(math.prod(shape) for shape in made) < n * side**4
