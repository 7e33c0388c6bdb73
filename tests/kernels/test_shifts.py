"""Pooling by shifts of the second image against all pairs of positions at once (C9), and what it holds."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import widenet as wn
from widenet.kernels import kernel, shifts
from widenet.kernels.schedule import Mode
from widenet.precision import float64

LAYER = {"sigma_w": 1.3, "sigma_b": 0.2}


def conv(**options):
    return wn.conv(**({"window": 3} | LAYER | options))


def ending(*layers):
    return wn.serial(*layers, wn.position_mean(), wn.dense(**LAYER))


NETS = {
    "relu": (ending(conv(), wn.relu, conv(), wn.relu), (6, 4, 2)),
    "erf": (ending(conv(), wn.erf, conv(), wn.erf), (4, 6, 2)),
    "windows of several sizes": (ending(conv(window=5), wn.relu, conv(window=(1, 4)), wn.relu), (6, 4, 1)),
    "strides": (ending(conv(stride=2), wn.relu, conv(), wn.gelu, conv(stride=(1, 2)), wn.relu), (8, 8, 1)),
    "circular": (ending(conv(padding="CIRCULAR"), wn.relu, conv(padding="CIRCULAR", stride=2), wn.relu), (8, 4, 1)),
    "dilated, one axis": (ending(conv(dilation=2), wn.relu, conv(), wn.relu), (10, 20)),
    "dense first": (ending(wn.dense(**LAYER), wn.relu, conv(), wn.relu), (4, 4, 3)),
    "residual": (ending(conv(), wn.residual(wn.serial(wn.relu, conv()))), (4, 4, 3)),
    "equal layers": (ending(*[conv(), wn.relu] * 4), (4, 4, 1)),
    "a pool in between": (ending(conv(), wn.relu, wn.average_pool(2), conv(), wn.relu), (8, 4, 2)),
    "two pools": (
        ending(conv(), wn.relu, wn.average_pool((3, 2)), conv(), wn.relu, wn.average_pool(2), conv(), wn.relu),
        (12, 8, 1),
    ),
    "a sum, one axis": (ending(conv(), wn.relu, wn.sum_pool(2), conv(), wn.relu), (12, 2)),
    "a hidden layer after it": (
        wn.serial(conv(), wn.relu, conv(), wn.relu, wn.position_mean(), wn.dense(**LAYER), wn.relu, wn.dense()),
        (6, 4, 2),
    ),
}


@pytest.fixture
def all_pairs(monkeypatch):
    """A function that computes a kernel at all pairs of positions at once."""

    def compute(net, *data):
        with monkeypatch.context() as patched:
            patched.setattr(shifts, "shifted_step", lambda *_: None)
            kernel.compiled.cache_clear()
            made = wn.kernel(net)(*data)
        kernel.compiled.cache_clear()
        return made

    return compute


def shifted_stages(net, shape):
    program = kernel.program_of(net, (1, *shape))
    plan = kernel.plan_of(program, Mode(True, kernel.uses_distance(program), variances=False))
    return [stage for stage in plan.stages if stage.step.copies]


@pytest.mark.parametrize("name", NETS)
def test_shifts_give_what_all_pairs_give(name, all_pairs):
    net, shape = NETS[name]
    assert shifted_stages(net, shape)
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(n, *shape)) for n in (3, 2))
    y[0] = x[1]
    y[1] = 2 * x[2]
    for data in ((x, y), (x,)):
        for by_shifts, at_once in zip(wn.kernel(net)(*data), all_pairs(net, *data), strict=True):
            np.testing.assert_allclose(by_shifts, at_once, rtol=1e-8)  # parallel images: half the digits


@pytest.mark.parametrize(
    "layers",
    [
        (conv(padding="VALID"), wn.relu),  # planes of different sizes
        (conv(stride=2), wn.relu),  # of 5 positions
        (wn.conv_transpose(window=2, stride=2, **LAYER), wn.relu),
        (wn.dense(**LAYER), wn.relu),
        (conv(), wn.relu, wn.conv_local(window=3, padding="SAME", **LAYER), wn.relu),
        (conv(), wn.relu, wn.self_attention(scaling="linear"), wn.relu),
    ],
)
def test_what_shifts_do_not_fit_is_computed_at_all_pairs(layers):
    net = ending(*layers)
    stages = shifted_stages(net, (5, 1))
    assert not any(stage.pair.u.op.name == "position_mean" for stage in stages)
    assert np.isfinite(wn.kernel(net)(np.random.default_rng(0).normal(size=(2, 5, 1)))).all()


def test_a_float32_diagonal_is_exact():
    net, shape = NETS["a pool in between"]
    x = np.random.default_rng(1).normal(size=(3, *shape))
    for fast, exact in zip(wn.kernel(net)(x.astype("float32")), wn.kernel(net)(x), strict=True):
        np.testing.assert_allclose(np.diag(fast), np.diag(exact), rtol=2e-6)


def test_gradients_pass_through_shifts():
    net, shape = NETS["relu"]
    x, y, to = (np.random.default_rng(i).normal(size=(1, *shape)) for i in range(3))

    def value(t):
        return wn.ntk(net)(x + t * to, y)[0, 0]

    with float64():
        slope = jax.grad(value)(0.3)
        assert abs(slope - (value(0.3 + 1e-5) - value(0.3 - 1e-5)) / 2e-5) < 1e-7 * abs(slope) + 1e-8


def test_memory_grows_with_positions_and_not_with_their_pairs():
    net, _ = NETS["relu"]

    def held(size):
        program = kernel.program_of(net, (4, size, size, 1))
        task = kernel.Task(
            kernel.Structure(program), Mode(True, True, variances=False), kernel.layout_of(program, None)
        )
        x = np.zeros((4, size, size, 1), np.float32)
        compiled = kernel.compiled(task).lower(kernel.numbers_of(program), x, x, None).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert held(32) < 16 * held(16)  # all pairs: 16 times; positions: 4 times
    assert held(32) < 0.2 * 2 * 4 * 16 * 32**4  # of the two covariances at all pairs
