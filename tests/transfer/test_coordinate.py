"""Coordinate checks: what must pass passes, what must fail fails, and says why."""

from __future__ import annotations

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import widenet as wn
from tests.transfer.models import WIDTHS, X, Y, mlp, mlp_apply
from widenet import optimizers as wo
from widenet import parametrizations as wp

WIDE = (64, 128, 256, 512, 1024)
GLOBAL = wp.abc(0, (0, "1/2", "1/2"), 1)  # standard initialization, the same rate 1/n everywhere


def slopes(report, *pairs):
    return [report.slope(layer, quantity).value for layer, quantity in pairs]


def test_mup_passes_and_is_drawn(tmp_path):
    report = wn.coordinate_check(mlp, WIDTHS, (X, Y), seeds=2)
    assert report.passed, str(report)
    assert report.exit_code == 0
    assert report.plot(tmp_path / "check.png").stat().st_size > 10_000
    assert report.values["w2", "dW x"].shape == (3, 2, 1)
    assert "pass" in str(report)


def test_standard_parametrization_fails_at_the_readout_first():
    report = wn.coordinate_check(mlp, WIDTHS, (X, Y), parametrization=GLOBAL)
    assert report.exit_code == 1
    np.testing.assert_allclose(slopes(report, ("w1", "dW x"), ("w3", "W0 dx"), ("w3", "dW x")), (-1, 0.43, 0), atol=0.2)
    assert report.reasons[0].startswith("the initial readout w3 makes changes of features n^0.")


@pytest.mark.parametrize(
    ("optimizer", "core", "reason"),
    [
        (wp.adam, lambda _: wo.scale_by_adam(eps=0.01), "an epsilon that does not go as gradients do"),
        pytest.param(
            wp.muon(),
            lambda _: wo.scale_by_muon(scale="keller"),
            "a scale of its own that is not stated",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["constant epsilon", "wrong Muon scale"],
)
def test_wrong_optimizers_are_told_from_wrong_learning_rates(optimizer, core, reason):
    report = wn.coordinate_check(mlp, WIDTHS, (X, Y), optimizer=optimizer, core=core, seeds=2)
    assert not report.passed
    assert report.verdict == "the optimizer's own directions depend on width"
    assert reason in report.reasons[0]


@pytest.mark.slow
def test_a_scale_that_is_stated_is_undone():
    assert wn.coordinate_check(mlp, WIDTHS, (X, Y), optimizer=wp.muon("keller"), seeds=2).passed


@pytest.mark.slow
def test_the_kernel_limit_is_lazy_unless_that_is_expected():
    report = wn.coordinate_check(mlp, WIDTHS, (X, Y), parametrization=wp.ntp, seeds=2)
    assert report.verdict.startswith("lazy: features move as n^-0.")
    net = wn.serial(wn.dense(), wn.tanh, wn.repeat(wn.serial(wn.dense(), wn.tanh), 1), wn.dense(width=4))
    assert wn.coordinate_check(net, WIDTHS, (X, Y), parametrization=wp.ntp, seeds=2, expect="kernel").passed


def test_a_users_own_training_is_checked_as_it_is():
    def make(width):
        init, apply = mlp(width)
        return SimpleNamespace(init=init, apply=apply, optimizer=optax.sgd(0.1))

    report = wn.coordinate_check(make, WIDTHS, (X, Y), seeds=2, steps=1)
    assert not report.passed
    assert any("the initial readout w3" in reason for reason in report.reasons)
    assert report.slope("w2", "dW x").value == pytest.approx(0.5, abs=0.25)


def never(*_):
    raise AssertionError("this is checked before")


def shapeless(width):
    return lambda _: {"w": jnp.ones((8, 4))}, lambda params, x: x @ params["w"]


def infinite(width):
    return mlp(width)[0], lambda params, x: mlp_apply(params, x) / 0


@pytest.mark.parametrize(
    ("model", "widths", "options", "message"),
    [
        (never, (8, 16), {}, "3 widths or more"),
        (never, (8, 16, 16), {}, "must be positive and increase"),
        (never, (8, 16, 32.5), {}, "whole numbers"),
        (never, (8, 16, 32), {"learning_rate": 0.0}, "learning_rate"),
        (never, (8, 16, 32), {"learning_rate": float("nan")}, "learning_rate"),
        (never, (8, 16, 32), {"seeds": 0}, "seeds"),
        (never, (8, 16, 32), {"drop": 1}, "less than three"),
        (never, (8, 16, 32), {"expect": "lazy"}, "expect is one of"),
        (never, (8, 16, 32), {"tolerance": -1}, "tolerance"),
        (shapeless, (8, 16, 32), {}, "must use its width"),
        (infinite, (8, 16, 32), {}, "before any step"),
        (mlp, (8, 16, 32), {"optimizer": wp.kfac(), "zero_readout": True}, "zero readout"),
        (mlp, (8, 16, 32), {"optimizer": wp.shampoo(0.3, 0.2)}, "give core="),
        (mlp, (8, 16, 32), {"batch": (X, Y[:, :1])}, "labels y have shape"),
        (mlp, (8, 16, 32), {"batch": (X, Y[:3])}, "3 labels"),
    ],
)
def test_bad_input_is_named_before_anything_is_trained(model, widths, options, message):
    with pytest.raises(ValueError, match=message):
        wn.coordinate_check(model, widths, **{"batch": (X, Y), **options})


def test_a_model_is_a_function():
    with pytest.raises(TypeError, match="function of the width"):
        wn.coordinate_check(3, WIDTHS, (X, Y))
    with pytest.raises(TypeError, match="a pair"):
        wn.coordinate_check(lambda _: 3, WIDTHS, (X, Y))


SECOND_ORDER = (32, 64, 128, 256)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("widths", "options"),
    [
        (WIDE, {"optimizer": wp.sgd, "learning_rate": 0.1}),
        (WIDE, {"optimizer": wp.adam}),
        (SECOND_ORDER, {"optimizer": wp.muon()}),
        (SECOND_ORDER, {"optimizer": wp.shampoo()}),
        (SECOND_ORDER, {"optimizer": wp.shampoo(0.5)}),
        (SECOND_ORDER, {"optimizer": wp.kfac()}),
    ],
    ids=lambda value: str(value.get("optimizer")) if isinstance(value, dict) else "",
)
def test_mup_passes_under_every_optimizer(widths, options):
    report = wn.coordinate_check(mlp, widths, (X, Y), seeds=5, drop=len(widths) - 3, **options)
    assert report.passed, str(report)
    for found in report.findings:
        if found.quantity in ("dW x", "dx"):
            assert abs(found.slope.value) < 0.15, found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (
            {"parametrization": wp.sp, "optimizer": wp.sgd, "learning_rate": 0.1},
            {("w1", "dW x"): 1.06, ("w2", "dW x"): 2.14},
        ),
        ({"parametrization": GLOBAL, "optimizer": wp.sgd}, {("w3", "dx"): -0.5}),
        ({"parametrization": wp.ntp, "optimizer": wp.sgd}, {("w3", "dx"): -0.5, ("output", "df"): 0}),
        ({"parametrization": wp.ntp, "optimizer": wp.adam}, {("w3", "dx"): -0.5, ("output", "df"): 0}),
        ({"parametrization": GLOBAL, "optimizer": wp.adam}, {("w1", "dW x"): -1.04, ("w3", "W0 dx"): 0.43}),
        (
            {"optimizer": wp.adam, "core": lambda _: wo.scale_by_adam(eps=0.01)},
            {("w1", "dW x"): -0.75, ("w2", "dW x"): -0.75},
        ),
    ],
    ids=["SP SGD", "SP SGD 1/n", "NTP SGD", "NTP Adam", "SP Adam 1/n", "constant epsilon"],
)
def test_slopes_of_what_fails_are_the_reference_numbers(options, wanted):
    report = wn.coordinate_check(mlp, WIDE, (X, Y), seeds=4, drop=2, **options)
    assert not report.passed
    for (layer, quantity), value in wanted.items():
        assert report.slope(layer, quantity).value == pytest.approx(value, abs=0.25), str(report)


@pytest.mark.slow
def test_constant_damping_fails():
    def core(_):
        return lambda apply, loss: wo.kfac(apply, loss, damping=wo.constant(1e-2))

    report = wn.coordinate_check(mlp, SECOND_ORDER, (X, Y), optimizer=wp.kfac(), core=core)
    assert not report.passed
    assert "damping" in "".join(report.reasons)


def test_flax_like_modules_that_take_data_in_init_are_models():
    class Module:
        def __init__(self, width):
            self.width = width

        def init(self, rngs, *args):
            assert args[0].shape == (6, 8)
            return {"params": mlp(self.width)[0](rngs)}

        def apply(self, variables, x):
            return mlp_apply(variables["params"], x)

    found = wn.transfer.outputs_shape(Module, 16, X)
    assert found == (6, 4)
