"""Networks, differentiated up to three times, against the recursion."""

import math

import numpy as np
import pytest

import widenet as wn
from widenet.corrections.estimators import Estimate

X = np.array([[1.1, -0.6]])
Q0 = float(np.mean(X**2))


def scores(net, ensemble, widths, draws, order=1, **options):
    """How many standard errors the extrapolated tensors are from the recursion."""
    measured = [
        wn.empirical_finite_width(net, X, key=n, width=n, draws=draws, ensemble=ensemble, **options) for n in widths
    ]
    limit, theory = wn.extrapolate_width(measured, order), wn.finite_width(net, ensemble=ensemble, q0=Q0)
    return {name: (limit.value[name] - getattr(theory, name)[-1]) / limit.error[name] for name in limit.value}


@pytest.mark.parametrize("ensemble", [pytest.param("iid", marks=pytest.mark.slow), "orthogonal"])
def test_all_tensors_of_a_shallow_network(ensemble):
    found = scores(wn.zoo.mlp(wn.tanh, 1, sigma_w=1.3, sigma_b=0.4), ensemble, (8, 24), 1500)
    assert set(found) == {"K", "Theta", *"VDFABPQRSTU"}
    assert max(map(abs, found.values())) < 4, found


@pytest.mark.slow
@pytest.mark.parametrize("phi", [wn.tanh, wn.gelu])
@pytest.mark.parametrize(("ensemble", "order"), [("iid", 1), ("orthogonal", 1), (wn.LowRank(0.5), 2)])
def test_all_tensors_of_a_deeper_network(phi, ensemble, order):
    net = wn.zoo.mlp(phi, 2, sigma_w=1.2, sigma_b=0.3)
    found = scores(net, ensemble, (12, 24, 48), 8000, order)
    assert max(map(abs, found.values())) < 4, found


def test_first_derivatives_alone():
    found = wn.empirical_finite_width(wn.zoo.mlp(wn.relu, 1), X, key=0, width=16, draws=400, higher=False, outputs=8)
    assert set(found.value) == {"K", "Theta", *"VDFAB"}
    theory = wn.finite_width(wn.zoo.mlp(wn.relu, 1), q0=Q0)
    for name in "VDFAB":
        bias = 2 * abs(getattr(theory, name)[-1]) / 16
        assert abs(found.value[name] - getattr(theory, name)[-1]) < 5 * found.error[name] + bias, name


@pytest.mark.slow
def test_the_shift_of_the_variance():
    """E z^2 = K + K1/n; orthogonal weights, whose variance fluctuates least."""
    net, width = wn.zoo.mlp(wn.tanh, 2, sigma_w=1.5), 12
    theory = wn.finite_width(net, ensemble="orthogonal", q0=Q0)
    options = {"width": width, "draws": 20_000, "ensemble": "orthogonal", "higher": False, "outputs": 12}
    found = wn.empirical_finite_width(net, X, key=1, **options)
    shift, error = (found.value["K"] - theory.K[-1]) * width, found.error["K"] * width
    assert abs(shift - theory.K1[-1]) < 4 * error + 0.15 * theory.K1[-1]
    assert theory.K1[-1] > 4 * error


def test_any_architecture_can_be_measured():
    found = wn.empirical_finite_width(wn.zoo.residual(wn.tanh, 2), X, key=0, width=8, draws=50, outputs=2, higher=False)
    assert all(map(math.isfinite, found.value.values()))


def test_extrapolation_is_exact_for_polynomials():
    made = [Estimate(n, {"V": 3 + 2 / n - 5 / n**2}, {"V": 0.1 / n}) for n in (8, 16, 32, 64)]
    np.testing.assert_allclose(wn.extrapolate_width(made, 2).value["V"], 3)
    line = [Estimate(n, {"V": 3 + 2 / n}, {"V": 0.1}) for n in (10, 20)]
    limit = wn.extrapolate_width(line)
    np.testing.assert_allclose([limit.value["V"], limit.error["V"]], [3, 0.1 * np.sqrt(5)])  # 2 b - a


def test_what_is_refused():
    net = wn.zoo.mlp(wn.tanh, 1)
    with pytest.raises(ValueError, match="one input"):
        wn.empirical_finite_width(net, np.ones((2, 3)), key=0, width=8)
    with pytest.raises(ValueError, match="two outputs"):
        wn.empirical_finite_width(net, X, key=0, width=8, outputs=1)
    with pytest.raises(ValueError, match="readout"):
        wn.empirical_finite_width(wn.serial(wn.dense(), wn.tanh, wn.dense(width=1)), X, key=0, width=8)
    with pytest.raises(ValueError, match="widths"):
        wn.extrapolate_width([Estimate(8, {}, {})])
