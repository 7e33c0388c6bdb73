"""Predictions beyond the peer's numbers: inside jit, where its own are NaN, and against widenet's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
import widenet.compat.neural_tangents as nt
from tests.compat.calls import cross_entropy, regression
from tests.compat.golden import data

predict = nt.predict


@pytest.fixture
def problem():
    x = data()
    kernel_fn, kernels = regression(nt, x)
    return kernel_fn, *kernels, x


@pytest.mark.slow
def test_what_jit_saw_first_can_be_used_eagerly_after(problem):
    """The peer keeps values of the first trace, and fails afterwards."""
    kernel_fn, train, mixed, _, x = problem
    for t in (None, 3.0):
        ensemble = predict.gradient_descent_mse_ensemble(kernel_fn, x["x"], x["y"], diag_reg=1e-3)
        traced = jax.jit(lambda test, f=ensemble, t=t: f(t, test, "ntk"))(x["t"])
        np.testing.assert_allclose(traced, ensemble(t, x["t"], "ntk"), rtol=1e-8)
    for made in (predict.gp_inference(train, x["y"]), predict.gp_inference(train.ntk, x["y"])):
        given = mixed if made("ntk") is not None and hasattr(mixed, "ntk") else mixed.ntk
        np.testing.assert_allclose(jax.jit(lambda k, f=made: f("ntk", k))(given), made("ntk", given), rtol=1e-8)


def test_training_kernels_may_be_traced(problem):
    _, train, mixed, _, x = problem
    for t in (None, 3.0):
        flow = jax.jit(lambda k, t=t: predict.gradient_descent_mse(k, x["y"], 0.3)(t, None, 0.0, mixed.ntk))
        eager = predict.gradient_descent_mse(train.ntk, x["y"], 0.3)(t, None, 0.0, mixed.ntk)
        np.testing.assert_allclose(flow(train.ntk), eager, rtol=1e-8)
    slope = jax.grad(lambda k: predict.gp_inference(k, x["y"], 1e-2)("ntk", mixed.ntk).sum())(train.ntk)
    assert np.isfinite(slope).all()


def test_repeated_samples_are_solved_or_named(problem):
    """The peer gives NaN for all test samples, in silence."""
    kernel_fn, *_, x = problem
    twice = jnp.concatenate([x["x"], x["x"][:1]])
    y = jnp.concatenate([x["y"], x["y"][:1]])
    ensemble = predict.gradient_descent_mse_ensemble(kernel_fn, twice, y)
    with pytest.warns(UserWarning, match="singular to rounding"):
        end = ensemble(x_test=x["t"], get="ntk")
    once = predict.gradient_descent_mse_ensemble(kernel_fn, x["x"], x["y"])(x_test=x["t"], get="ntk")
    np.testing.assert_allclose(end, once, atol=1e-4)
    assert np.isfinite(ensemble(5.0, x["t"], "ntk")).all()
    with pytest.raises(ValueError, match="smallest eigenvalue"):
        predict.gp_inference(jnp.asarray([[1.0, 2.0], [2.0, 1.0]]), jnp.ones((2, 1)))("ntk", jnp.ones((1, 2)))


def test_predictions_are_those_of_widenet(problem):
    _, train, mixed, test, x = problem
    own = predict.gp_inference(train, x["y"], 1e-2, True)("nngp", mixed, test)
    native = wn.predict.gp(train.nngp, x["y"], mixed.nngp, test.nngp, noise=1e-2)
    np.testing.assert_allclose(own.mean, native.mean)
    np.testing.assert_allclose(own.covariance, native.variance, atol=1e-12)
    outputs = x["y"].shape[1]
    flow = wn.predict.gradient_flow(train.ntk, x["y"])  # its loss is the mean over samples, the peer's over outputs too
    theirs = predict.gradient_descent_mse(train.ntk, x["y"], 0.3)(outputs * 20.0, None, 0.0, mixed.ntk)
    np.testing.assert_allclose(theirs, flow.mean(mixed.ntk, 0.3 * 20.0))
    rate = predict.max_learning_rate(train.ntk, x["y"].size)
    np.testing.assert_allclose(rate, outputs * wn.predict.max_learning_rate(train.ntk))


def test_gradient_descent_on_the_squared_error_is_the_closed_form(problem):
    _, train, mixed, _, x = problem
    times = jnp.asarray([0.0, 2.0, 11.0])
    ode = predict.gradient_descent(lambda fx, y: jnp.mean((fx - y) ** 2) / 2, train.ntk, x["y"], 0.3)
    exact = predict.gradient_descent_mse(train.ntk, x["y"], 0.3)
    for made, closed in zip(ode(times, 0.0, 0.0, mixed.ntk), exact(times, 0.0, 0.0, mixed.ntk), strict=True):
        np.testing.assert_allclose(made, closed, atol=1e-5)


@pytest.mark.slow
def test_keyword_arguments_reach_the_kernels_of_train_and_test():
    x = data()
    s = nt.stax
    kernel_fn = s.serial(s.Dense(4), s.Relu(), s.Aggregate(aggregate_axis=1), s.GlobalAvgPool(), s.Dense(1))[2]
    train, test = x["i2"], x["i1"]
    patterns = {"train": (x["p2"], x["p2"]), "test": (x["p1"], x["p1"])}
    predict_fn = predict.gradient_descent_mse_ensemble(kernel_fn, train, x["y"][:3], pattern=patterns["train"])
    k, mixed = kernel_fn(train, None, "ntk", pattern=patterns["train"]), (x["p1"], x["p2"])
    expected = kernel_fn(test, train, "ntk", pattern=mixed) @ jnp.linalg.solve(k, x["y"][:3])
    np.testing.assert_allclose(predict_fn(None, test, "ntk", pattern=patterns["test"]), expected, rtol=1e-6)


K, Y = jnp.eye(3), jnp.ones((3, 2))
REFUSED = {
    "targets without outputs": (lambda: predict.gradient_descent_mse(K, jnp.ones(3)), r"trace_axes=\(\)"),
    "nothing": (lambda: predict.gradient_descent_mse(K, Y)(1.0, None), "nothing is to be predicted"),
    "no kernel": (lambda: predict.gradient_descent_mse(K, Y)(1.0, 0.0, 0.0), "k_test_train"),
    "another mode": (lambda: predict.gp_inference(K, Y)("gp"), "'nngp', 'ntk' or 'ntkgp'"),
    "a state and outputs": (
        lambda: predict.gradient_descent(cross_entropy, K, Y)(1.0, predict.ODEState(0.0), 0.0, K),
        "in the ODEState",
    ),
    "velocities without momentum": (
        lambda: predict.gradient_descent(cross_entropy, K, Y)(1.0, predict.ODEState(Y, None, Y)),
        "momentum=",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_predicted_is_refused_with_its_remedy(case):
    call, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        call()


def test_ntk_covariances_without_the_nngp_are_refused(problem):
    _, train, mixed, test, x = problem
    with pytest.raises(ValueError, match="needs the NNGP as well"):
        predict.gp_inference(train.ntk, x["y"])("ntk", mixed.ntk, test.nngp)
    with pytest.raises(NotImplementedError, match="'nngp' or 'ntk'"):
        predict.gradient_descent_mse_ensemble(lambda *_: None, x["x"], x["y"])(get="ntkgp")
