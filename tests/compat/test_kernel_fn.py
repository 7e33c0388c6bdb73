"""The `get=` protocol, Kernel objects, blocks, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet.compat.neural_tangents as nt
from tests.compat.golden import data
from widenet.compat.neural_tangents import stax
from widenet.precision import float64

MLP = stax.serial(stax.Dense(8, 1.3, 0.4), stax.Relu(), stax.Dense(2))
CNN = stax.serial(stax.Conv(8, (3,)), stax.Relu(), stax.GlobalAvgPool(), stax.Dense(2))
KERNEL = MLP[2]


def test_get_chooses_what_is_returned():
    x1, x2 = data()["v1"], data()["v2"]
    everything = KERNEL(x1, x2)
    assert isinstance(everything, nt.Kernel)
    swapped = KERNEL(x1, x2, get=("ntk", "nngp"))
    assert swapped._fields == ("ntk", "nngp")
    assert type(swapped).__name__ == "AnalyticKernel"
    for name, value in swapped._asdict().items():
        np.testing.assert_allclose(value, getattr(everything, name), rtol=1e-12)
        np.testing.assert_allclose(value, KERNEL(x1, x2, name), rtol=1e-12)
    assert KERNEL(x1, x2, "nngp").shape == (3, 2)
    assert KERNEL(x1, x2, "cov2").shape == (2,)
    assert KERNEL(x1, None, ("is_gaussian", "shape1")) == (True, (3, 2))
    assert everything.asdict()["nngp"] is everything.astuple()[0]
    assert everything.replace(ntk=None).ntk is None


def test_kernels_are_pytrees_whose_arrays_can_be_traced():
    doubled = jax.jit(lambda kernel: 2.0 * kernel)(KERNEL(data()["v1"]))
    np.testing.assert_allclose(doubled.ntk, 4 * KERNEL(data()["v1"], get="ntk"))
    assert doubled.shape1 == (3, 2)


def test_the_same_data_twice_is_known_to_be_the_same():
    x = data()["v1"]
    assert KERNEL(x, x).x1_is_x2
    assert not KERNEL(x, x + 1.0).x1_is_x2
    np.testing.assert_array_equal(KERNEL(x, x, "ntk"), KERNEL(x, None, "ntk"))


def test_a_slice_off_the_diagonal_is_no_longer_one_batch():
    kernel = KERNEL(data()["x"])
    off = kernel.slice(slice(0, 3), slice(3, 6))
    assert not off.x1_is_x2
    assert kernel.slice(slice(0, 3), slice(0, 3)).x1_is_x2
    after = stax.serial(stax.Erf(), stax.Dense(1))[2]
    np.testing.assert_allclose(after(off).ntk, after(kernel).ntk[:3, 3:], rtol=1e-12)


def test_kernel_fn_works_inside_the_transformations_of_jax():
    x1, x2 = data()["v1"], data()["v2"]
    np.testing.assert_allclose(jax.jit(KERNEL, static_argnames="get")(x1, x2, get="ntk"), KERNEL(x1, x2, "ntk"))
    slope = jax.grad(lambda w: stax.serial(stax.Dense(1, w), stax.Erf())[2](x1, x2, "nngp").sum())(1.2)
    step = 1e-6
    ends = [stax.serial(stax.Dense(1, 1.2 + h), stax.Erf())[2](x1, x2, "nngp").sum() for h in (step, -step)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / (2 * step), rtol=1e-6)


@pytest.mark.float32
def test_results_have_the_default_float_of_jax():
    assert KERNEL(np.ones((2, 3), np.float64), get="ntk").dtype == jnp.float32
    assert KERNEL(np.ones((2, 3), np.int32), get="ntk").dtype == jnp.float32


@pytest.mark.parametrize("size", [pytest.param(2, marks=pytest.mark.slow), 100])
def test_blocks_give_what_the_whole_gives(size):
    x1, x2 = data()["x"][:5], data()["t"][:3]
    whole, blocks = KERNEL(x1, x2), nt.batch(KERNEL, size, store_on_device=False)(x1, x2)
    for name in ("nngp", "ntk", "cov1", "cov2"):
        np.testing.assert_allclose(getattr(blocks, name), getattr(whole, name), rtol=1e-12)
    assert (blocks.shape1, blocks.shape2, bool(blocks.x1_is_x2)) == (whole.shape1, whole.shape2, False)
    alone = nt.batch(KERNEL, size)(x1, None, ("nngp", "ntk"))
    np.testing.assert_allclose(alone.ntk, KERNEL(x1, None, "ntk"), rtol=1e-12)
    assert nt.batch(KERNEL, size)(x1).x1_is_x2


@pytest.mark.slow
def test_blocks_of_kernels_graphs_and_empirical_kernels():
    after = stax.serial(stax.Relu(), stax.Dense(1))[2]
    kernel = KERNEL(data()["x"], data()["t"])
    np.testing.assert_allclose(nt.batch(after, 2)(kernel).ntk, after(kernel).ntk, rtol=1e-12)
    graph = stax.serial(stax.Dense(4), stax.Aggregate(aggregate_axis=1), stax.GlobalSumPool())[2]
    x1, x2, pattern = data()["i1"][:, :, 0], data()["i2"][:, :, 0], (data()["p1"], data()["p2"])
    whole = graph(x1, x2, "ntk", pattern=pattern)
    np.testing.assert_allclose(nt.batch(graph, 1)(x1, x2, "ntk", pattern=pattern), whole, rtol=1e-12)
    init_fn, apply_fn, _ = MLP
    params = init_fn(jax.random.PRNGKey(0), (1, 5))[1]
    ntk_fn = nt.empirical_ntk_fn(apply_fn)
    made = nt.batch(ntk_fn, 2)(data()["x"], data()["t"], params)
    np.testing.assert_allclose(made, ntk_fn(data()["x"], data()["t"], params), rtol=1e-10)


def test_what_the_peer_cannot_is_computed():
    x = data()["v1"]
    twice = stax.serial(stax.Dense(8), stax.FanOut(2), stax.parallel(stax.Identity(), stax.Identity()), stax.FanInSum())
    np.testing.assert_allclose(twice[2](x, get="nngp"), 4 * stax.Dense(8)[2](x, get="nngp"))
    deep = stax.serial(
        stax.Dense(8), stax.RectifiedMonomial(2), stax.Dense(8), stax.RectifiedMonomial(1), stax.Dense(1)
    )
    assert np.isfinite(deep[2](x, get="ntk")).all()
    after_activation = stax.serial(
        stax.Dense(8),
        stax.Relu(),
        stax.FanOut(2),
        stax.parallel(stax.Identity(), stax.serial(stax.Dense(8), stax.Relu())),
        stax.FanInSum(),
        stax.Dense(1),
    )
    assert np.isfinite(after_activation[2](x, get="ntk")).all()


def test_covariances_of_sign_between_positions_are_right():
    """The peer sets them to one."""
    s = stax
    kernel = s.serial(s.Conv(4, (2,)), s.Sign(), s.AvgPool((2,)))[2](data()["s1"])
    np.testing.assert_allclose(kernel.cov1, np.diagonal(kernel.nngp).transpose(2, 0, 1))
    before = s.Conv(4, (2,))[2](data()["s1"]).cov1
    correlation = before / np.sqrt(np.einsum("nii->ni", before)[:, :, None] * np.einsum("nii->ni", before)[:, None])
    exact = 2 / np.pi * np.arcsin(correlation)
    pooled = (exact[:, 1:, 1:] + exact[:, 1:, :-1] + exact[:, :-1, 1:] + exact[:, :-1, :-1]) / 4
    np.testing.assert_allclose(kernel.cov1, pooled, rtol=1e-8)


def test_hermite_polynomials_are_right_for_any_variance():
    """E[(u^2 - 1)(v^2 - 1)] / 2; the peer takes the variances for one."""
    before = stax.Dense(4, 1.5, 0.2)[2](data()["v1"])
    q, k = before.cov1, before.nngp
    exact = (q[:, None] * q + 2 * k**2 - q[:, None] - q + 1) / 2
    np.testing.assert_allclose(stax.Hermite(2)[2](before).nngp, exact)


def someone_elses():
    """A layer that maps kernels to kernels."""
    return (lambda _, shape: (shape, ())), (lambda _, x, **__: x), (lambda kernel, **_: kernel)


def test_a_layer_put_together_by_the_decorators_works_and_others_are_refused():
    @stax.layer
    @stax.supports_masking(remask_kernel=False)
    def block(width):
        return stax.serial(stax.Dense(width), stax.Relu())

    kernel_fn = stax.requires(diagonal_spatial=False)(stax.serial(block(4), stax.Dense(1))[2])
    assert kernel_fn(data()["v1"], get="ntk").shape == (3, 3)
    with pytest.raises(NotImplementedError, match=r"stax\.from_net"):
        stax.layer(someone_elses)()
    with pytest.raises(NotImplementedError, match=r"stax\.from_net"):
        stax.serial(stax.Dense(1), someone_elses())


with float64():
    X, S = data()["v1"], data()["s1"]
REFUSED = {
    "get nothing": (lambda: KERNEL(X, get=()), ValueError, "('nngp', 'ntk')"),
    "get a name twice": (lambda: KERNEL(X, get=("ntk", "ntk")), ValueError, "different names"),
    "get something else": (lambda: KERNEL(X, get="nkt"), KeyError, "get one of nngp, ntk"),
    "a list of lists": (lambda: KERNEL([[1.0, 2.0]]), TypeError, "jnp.asarray"),
    "one sample": (lambda: KERNEL(X[0]), ValueError, "batch axis and a channel axis"),
    "other features": (lambda: KERNEL(X, X[:, :3]), ValueError, "5 features, x2 has 3"),
    "x2 beside a kernel": (lambda: KERNEL(KERNEL(X), X), ValueError, "a Kernel knows both batches"),
    "several kernels": (lambda: KERNEL((KERNEL(X), KERNEL(X))), NotImplementedError, "serial and parallel"),
    "a masked kernel": (lambda: KERNEL(stax.Dense(8)[2](S, mask_constant=0.0)), NotImplementedError, "masked Kernel"),
    "too few positions": (
        lambda: CNN[2](stax.Conv(8, (2,))[2](S, diagonal_spatial=True)),
        ValueError,
        "diagonal_spatial=False",
    ),
    "half a pattern": (lambda: KERNEL(X, X, pattern=(None, S)), NotImplementedError, "both graphs"),
    "masks of different windows": (
        lambda: stax.serial(
            stax.FanOut(2), stax.parallel(stax.Conv(4, (2,), (2,)), stax.Conv(4, (3,), (2,), "SAME")), stax.FanInSum()
        )[2](S, mask_constant=0.0),
        NotImplementedError,
        "different windows",
    ),
    "masks through resizing": (
        lambda: stax.ImageResize((-1, 3, -1), "linear")[2](S, mask_constant=0.0),
        NotImplementedError,
        "leave out mask_constant",
    ),
    "one kernel index too many": (lambda: KERNEL(X)[0, 0], NotImplementedError, "samples by a slice"),
    "masking afterwards": (lambda: KERNEL(X).mask(None, None), NotImplementedError, "mask_constant"),
    "dot_general afterwards": (lambda: KERNEL(X).dot_general(), NotImplementedError, "stax.DotGeneral"),
    "all samples in blocks": (lambda: nt.batch(KERNEL, 2)(X, diagonal_batch=False), NotImplementedError, "leave out"),
    "an activation beside its input": (
        lambda: stax.serial(stax.FanOut(2), stax.parallel(MLP, stax.Identity(), MLP))[2](X),
        ValueError,
        "FanOut(3)",
    ),
    "several inputs of one layer": (lambda: stax.serial(stax.FanOut(2), stax.Relu())[2](X), TypeError, "parallel"),
    "channels elsewhere": (
        lambda: stax.serial(stax.Conv(4, (3,)), stax.GlobalAvgPool(channel_axis=1))[2](S),
        ValueError,
        "give all layers the same axes",
    ),
    "a norm without channels": (lambda: stax.LayerNorm(axis=1)[2](S), ValueError, "leaves out the channels"),
    "keeping with probability two": (lambda: stax.Dropout(2.0), ValueError, "probability of keeping"),
    "another parametrization": (lambda: stax.Dense(1, parameterization="mup"), ValueError, "'ntk' or 'standard'"),
    "no function": (lambda: stax.Elementwise(), ValueError, "give fn"),
    "an index of channels": (lambda: stax.Index((slice(None), slice(None), 0))[2](S), NotImplementedError, "channels"),
    "a constant on channels": (
        lambda: stax.DotGeneral(rhs=np.ones(3), dimension_numbers=(((2,), (0,)), ((), ())))[2](S),
        ValueError,
        "channel axis",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_refused_with_its_remedy(case):
    call, error, words = REFUSED[case]
    with pytest.raises(error) as raised:
        call()
    assert words in str(raised.value)
