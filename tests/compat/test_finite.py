"""Finite networks: shapes, outputs at the peer's parameters, and statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
import widenet.compat.neural_tangents as nt
from tests.compat import nets
from tests.compat.golden import DATA, GOLDEN, agree, data
from widenet.compat.neural_tangents import stax

FINITE = nets.finite(stax)
KEY = jax.random.PRNGKey(0)
Z = 4.5  # standard errors; and of a mean over 4 outputs of width 256, the bias:
BIAS = 0.03


def peer_params(name, init_fn):
    """The parameters of the peer in our places."""
    _, params = init_fn(KEY, DATA["f"].shape)
    out = {}
    for i, (layer, entry) in enumerate(params.items()):
        given = {"w": GOLDEN[f"{name}/w{i}"], "b": GOLDEN[f"{name}/b{i}"]}
        out[layer] = {part: jnp.asarray(given[part].reshape(value.shape)) for part, value in entry.items()}
    return out


@pytest.mark.parametrize("name", FINITE)
def test_outputs_and_tangent_kernels_at_the_peers_parameters_are_the_peers(name):
    init_fn, apply_fn, _ = FINITE[name]
    params, x = peer_params(name, init_fn), data()["f"]
    agree(jax.jit(apply_fn)(params, x), GOLDEN[f"{name}/out"])
    ntk_fn = nt.empirical_ntk_fn(apply_fn, trace_axes=())
    agree(jax.jit(lambda p: ntk_fn(x, None, p))(params), GOLDEN[f"{name}/ntk"])


SHAPED = {name: (net, "s1") for name, net in nets.sequences(stax).items()}
SHAPED |= {name: (net, "v1") for name, net in nets.vectors(stax).items() if name != "exp_normalized"}  # kernel only


@pytest.mark.parametrize("name", SHAPED)
def test_init_fn_tells_the_shape_that_apply_fn_gives(name):
    net, kind = SHAPED[name]
    x = data()[kind]
    x = jnp.moveaxis(x, -1, 1) if name == "channels_first" else x
    shape, params = net[0](KEY, (-1, *x.shape[1:]))
    y = jax.eval_shape(lambda p, v: net[1](p, v, rng=KEY), params, x)
    assert y.shape == tuple(len(x) if size == -1 else size for size in shape)
    assert net[2](x, get="shape1") == y.shape


def wide(s):
    """Networks of one kind of weight each, of width 256."""
    width, end = 256, (s.Flatten(), s.Dense(4))
    conv = s.Conv(width, (3,), padding="SAME", b_std=0.3)
    standard = s.Conv(width, (2,), W_std=1.2, b_std=0.3, parameterization="standard", s=(1, 2))
    embedded = s.GlobalSelfAttention(width, 64, 64, 4, pos_emb_type="SUM", W_pos_emb_std=0.7, b_std=0.2)
    return {
        "pool": s.serial(
            conv, s.Relu(), s.AvgPool((2,), padding="SAME"), conv, s.Gelu(), s.GlobalAvgPool(), s.Dense(4)
        ),
        "local": s.serial(conv, s.Erf(), s.ConvLocal(width, (2,), b_std=0.3), s.Relu(), *end),
        "transposed": s.serial(conv, s.Erf(), s.ConvTranspose(width, (3,), (2,), "SAME", b_std=0.3), s.Relu(), *end),
        "standard": s.serial(standard, s.Relu(), s.GlobalSumPool(), s.Dense(4, 1.1, 0.2, parameterization="standard")),
        "attention": s.serial(conv, embedded, s.Relu(), *end),
        "branches": s.serial(
            s.FanOut(2),
            s.parallel(s.serial(conv, s.Relu()), s.serial(s.Dense(3 * width, 0.7), s.Sin())),
            s.FanInConcat(-1),
            s.LayerNorm(),
            *end,
        ),
        "dropout": s.serial(conv, s.Relu(), s.Dropout(0.7), conv, s.Relu(), *end),
        "repeat": s.serial(conv, s.repeat(s.serial(s.Relu(), conv), 3), *end),
        "prod": s.serial(
            s.FanOut(2), s.parallel(s.serial(conv, s.Relu()), s.serial(conv, s.Erf())), s.FanInProd(), *end
        ),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", wide(stax))
def test_the_kernel_is_the_mean_over_random_networks(name):
    net, x = wide(stax)[name], data()["s1"][:2]
    sample = nt.monte_carlo_kernel_fn(*net[:2], KEY, 100, trace_axes=(-1,))
    exact = net[2](x, None, ("nngp", "ntk") if name != "dropout" else "nngp")
    mean, error = (fn(x, None, "nngp") for fn in (sample, sample.standard_error))
    nngp = exact if name == "dropout" else exact.nngp
    assert np.all(abs(mean - nngp) < Z * error + BIAS * abs(nngp).max())


def test_the_tangent_kernel_is_the_mean_over_random_networks():
    net, x = wide(stax)["standard"], data()["s1"][:2]
    sample = nt.monte_carlo_kernel_fn(*net[:2], KEY, 40, trace_axes=(-1,))
    (mean, error), exact = (fn(x, None, "ntk") for fn in (sample, sample.standard_error)), net[2](x, None, "ntk")
    assert np.all(abs(mean - exact) < Z * error + BIAS * abs(exact).max())


def test_monte_carlo_yields_running_means_in_the_peers_containers():
    init_fn, apply_fn, _ = stax.serial(stax.Dense(16), stax.Relu(), stax.Dense(2))
    x1, x2 = data()["v1"], data()["v2"]
    one, two, four = nt.monte_carlo_kernel_fn(init_fn, apply_fn, KEY, [1, 2, 4])(x1, x2)
    assert type(four).__name__ == "MonteCarloKernel"
    assert four._fields == ("nngp", "ntk")
    single = nt.monte_carlo_kernel_fn(init_fn, apply_fn, KEY, np.int64(2))(x1, x2, ("nngp", "ntk"))
    np.testing.assert_allclose(single.ntk, two.ntk)
    assert abs(one.ntk - two.ntk).max() > 0
    blocks = nt.monte_carlo_kernel_fn(init_fn, apply_fn, KEY, 2, batch_size=2)(x1, x2, "ntk")
    np.testing.assert_allclose(blocks, two.ntk, rtol=1e-12)
    with pytest.raises(ValueError, match="whole number >= 1"):
        nt.monte_carlo_kernel_fn(init_fn, apply_fn, KEY, 0)


def test_finite_networks_draw_the_masks_of_dropout():
    init_fn, apply_fn, _ = stax.serial(stax.Dense(64), stax.Dropout(0.5), stax.Dense(2))
    x = data()["v1"]
    _, params = init_fn(KEY, x.shape)
    one, two = (apply_fn(params, x, rng=jax.random.PRNGKey(i)) for i in (0, 1))
    assert abs(one - two).max() > 0
    with pytest.raises(ValueError, match="rng=key"):
        apply_fn(params, x)
    still = stax.serial(stax.Dense(64), stax.Dropout(0.5, mode="test"), stax.Dense(2))
    np.testing.assert_array_equal(still[1](params, x), still[1](params, x))


def test_masked_inputs_do_not_matter():
    s, x = stax, data()["s1"]
    net = s.serial(s.Conv(8, (3,), padding="SAME", b_std=0.3), s.Cos(), s.GlobalAvgPool(), s.Dense(3))
    _, params = net[0](KEY, x.shape)
    cut = net[1](params, x.at[:, 4:].set(100.0), mask_constant=100.0)
    assert isinstance(cut, s.MaskedArray)
    short = net[1](params, x[:, :4])
    np.testing.assert_allclose(s.unmask_fn(lambda: cut)(), short, rtol=1e-12)
    hidden = s.Dense(2)[1](s.Dense(2)[0](KEY, x.shape)[1], x.at[1, 4:].set(np.nan), mask_constant=np.nan)
    assert hidden.mask.shape == (3, 6, 1)
    np.testing.assert_array_equal(hidden.mask[..., 0], np.arange(6) >= np.array([[6], [4], [6]]))


def test_a_layer_is_made_of_any_function_of_a_variable():
    swish = stax.serial(stax.Dense(256), stax.from_net(wn.silu), stax.Dense(3))
    x = data()["v1"]
    native = wn.serial(wn.dense(), wn.silu, wn.dense())
    np.testing.assert_allclose(swish[2](x, get="ntk"), wn.ntk(native)(DATA["v1"]), rtol=1e-10)
    shape, params = swish[0](KEY, x.shape)
    assert swish[1](params, x).shape == shape == (3, 3)
