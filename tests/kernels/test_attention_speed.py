"""Attention on the data stays low rank (A4): right, exact where samples are close, and cheap.  Counted, not timed."""

import jax
import numpy as np
import pytest

import widenet as wn
from widenet.kernels.kernel import Mode, Task, compiled, layout_of, program_of, uses_distance
from widenet.program.structure import Structure, numbers_of

SIGMAS = {"sigma_q": 1.8, "sigma_k": 1.2, "sigma_v": 0.9, "sigma_o": 1.1, "sigma_b": 0.4, "scaling": "linear"}
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(4, 5, 3)), RNG.normal(size=(3, 5, 3))
MASKED = wn.samples(X, mask=np.array([[1, 1, 1, 1, 1], [1, 1, 0, 1, 0], [1, 0, 0, 0, 0], [0, 1, 1, 1, 1]], bool))
GRAPHS = wn.samples(X, graph=RNG.random((4, 5, 5)))


def attention(**options):
    """Self-attention with deterministic scores and a bias."""
    return wn.self_attention(**SIGMAS, **options)


def formed(v):
    """The same variable, the covariance of which is formed: it has another reader."""
    return 0.5 * v + 0.5 * v


def deep(between, layers=2, **options):
    """Attention layers with something between them, and a readout."""
    return wn.serial(wn.dense(sigma_b=0.3), *[between, attention(**options)] * layers, wn.relu, wn.position_mean())


@pytest.mark.parametrize(
    ("options", "data"),
    [({}, (X,)), ({"causal": True}, (X, Y)), ({"weights": "identity"}, (X,))],
    ids=["softmax", "causal", "identity"],
)
def test_features_give_the_kernel_of_the_recursion(options, data):
    low, full = (wn.kernel(deep(between, **options))(*data) for between in (lambda v: v, formed))
    for made, expected in zip(low, full, strict=True):
        np.testing.assert_allclose(made, expected, rtol=1e-7)


def test_masks_act_on_features():
    low, full = (wn.kernel(deep(between, masked=True))(MASKED) for between in (lambda v: v, formed))
    np.testing.assert_allclose(low, full, rtol=1e-7)


@pytest.mark.parametrize(
    ("mix", "data", "last"), [(wn.aggregate(), GRAPHS, wn.relu), (wn.masked, MASKED, wn.erf)], ids=["graph", "mask"]
)
def test_operators_of_samples_act_on_features(mix, data, last):
    def net(between):
        return wn.serial(
            *[wn.dense(sigma_b=0.3), between, mix, wn.dense(sigma_b=0.5), mix, wn.dense(), last], wn.position_mean()
        )

    low, full = (wn.kernel(net(between))(data) for between in (lambda v: v, formed))
    np.testing.assert_allclose(low, full, rtol=1e-7)


def test_equal_samples_have_the_kernel_of_one():
    net = wn.serial(attention(), wn.relu, wn.position_mean())
    own = wn.kernel(net)(X)
    for dtype, accuracy in (("float64", 1e-14), ("float32", 2e-6)):
        apart = wn.kernel(net)(X.astype(dtype), X[::-1].astype(dtype))
        for made, expected in zip(apart, own, strict=True):
            np.testing.assert_allclose(made, expected[:, ::-1], rtol=accuracy)


def test_gradients_are_those_of_differences():
    net, step, direction = wn.serial(attention(), wn.relu, wn.position_mean()), 1e-6, RNG.normal(size=X.shape)

    def total(x):
        return wn.kernel(net)(x).ntk.sum()

    with jax.enable_x64(True):
        slope = np.sum(np.asarray(jax.grad(total)(jax.numpy.asarray(X))) * direction)
    difference = (total(X + step * direction) - total(X - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-6)


def flops(net, x):
    """Of the compiled kernel of a batch with itself."""
    program = program_of(net, x.shape)
    task = Task(Structure(program), Mode(True, uses_distance(program)), layout_of(program, None))
    lowered = compiled(task).lower(numbers_of(program), x, x, np.eye(len(x), dtype=bool))
    return lowered.compile().cost_analysis()["flops"]


def test_no_pair_of_samples_is_multiplied_by_attention_weights():
    x = RNG.normal(size=(2, 48, 4)).astype("float32")
    low, full = (flops(deep(between, layers=1), x) for between in (lambda v: v, formed))
    entries, products = (2 * 48) ** 2, 2 * 2 * 2 * 48  # A K B^T for K and Theta
    assert full - low > products * entries
    assert low < full / 3
