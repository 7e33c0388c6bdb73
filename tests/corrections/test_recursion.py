"""The tensors against a table, exact identities, limits, and the kernel."""

import numpy as np
import pytest

import widenet as wn
from widenet.corrections.chain import chain_of
from widenet.corrections.result import TENSORS

TANH = wn.zoo.mlp(wn.tanh, 19, sigma_w=1.0)
GELU = wn.zoo.mlp(wn.gelu, 4, sigma_w=1.98305826**0.5, sigma_b=0.17292239**0.5)

# sigma_w^2 = 1 for tanh, the critical point of gelu; lambda_w = 1, lambda_b = 0, |x|^2 = d
BOTH_2 = {"K": 0.394294, "Theta": 0.858697, "P": -0.0956855, "Q": -0.0206345, "R": -0.576005, "S": 0.476642}
BOTH_2 |= {"T": 0.0188127, "U": 0.135133}
TABLE = [
    (TANH, "iid", 2, BOTH_2 | {"V": 0.0975237, "D": -0.0105368, "F": 0.075051, "A": 0.00724178, "B": 0.341509}),
    (
        *(TANH, "orthogonal", 2),
        BOTH_2 | {"V": -0.279513, "D": -0.0118099, "F": -0.108061, "A": 0.00721726, "B": 0.125839},
    ),
    (
        *(TANH, "iid", 5),
        {"K": 0.127905, "Theta": 0.703106, "V": 0.0393984, "D": -0.0081916, "F": 0.0786631, "A": 0.0047662}
        | {"B": 0.744623, "P": -0.244376, "Q": -0.0190114, "R": -1.83959, "S": 1.68265, "T": 0.0149073, "U": 0.172277},
    ),
    (
        *(TANH, "orthogonal", 5),
        {"V": -0.0293216, "D": -0.00320222, "F": -0.0440687, "A": 0.00392124, "B": 0.0911671, "P": -0.135629}
        | {"Q": -0.0131834, "R": -1.2045, "S": 1.07245, "T": 0.0140731, "U": 0.172277},
    ),
    (
        TANH,
        "iid",
        20,
        {"K": 0.0272862, "Theta": 0.573489, "V": 0.00890829, "F": 0.0700438, "B": 2.15002, "P": -0.622728},
    ),
    (TANH, "orthogonal", 20, {"V": -0.00141884, "F": -0.00962482, "B": 0.0273549, "P": -0.110847}),
    (
        *(GELU, "iid", 5),
        {"K": 2.15965, "Theta": 4.76885, "V": 88.9836, "D": 145.045, "F": 42.1109, "A": 281.616, "B": 54.2659}
        | {"P": 2.94243, "Q": 48.3661},
    ),
    (GELU, "orthogonal", 5, {"V": 50.0344, "D": 100.144, "F": 23.2956, "A": 205.349, "B": 28.0976}),
]


@pytest.mark.parametrize(("net", "ensemble", "layer", "values"), TABLE)
def test_the_table(net, ensemble, layer, values):
    c = wn.finite_width(net, ensemble=ensemble, learning_rates=(1.0, 0.0))
    for name, value in values.items():
        np.testing.assert_allclose(getattr(c, name)[layer - 1], value, rtol=1e-5, err_msg=name)


def test_a_linear_network_with_independent_weights():
    c, n, layer = wn.finite_width(wn.zoo.mlp(wn.identity, 9, sigma_w=1.0)), {}, np.arange(1, 11)
    n = c.normalized
    np.testing.assert_allclose(c.Theta, layer)
    np.testing.assert_allclose(n["V"], 2 * (layer - 1))
    np.testing.assert_allclose(n["D"], layer - 1)
    np.testing.assert_allclose(n["F"], (layer - 1) / 2)
    np.testing.assert_allclose(n["B"], (layer - 1) * (2 * layer - 1) / (6 * layer))
    np.testing.assert_allclose(n["A"], 2 * n["B"])
    np.testing.assert_allclose(n["Q"], (layer**2 - 1) / (6 * layer))
    np.testing.assert_allclose(n["S"], (layer**2 - 1) / (12 * layer))
    np.testing.assert_allclose(n["T"], n["S"])
    np.testing.assert_allclose([c.P, c.R, c.U, c.K1], 0, atol=1e-11)


def test_a_linear_network_with_orthogonal_weights():
    c, layer = wn.finite_width(wn.zoo.mlp(wn.identity, 9, sigma_w=1.0), ensemble="orthogonal"), np.arange(1, 11)
    np.testing.assert_allclose(c.V, -2)
    np.testing.assert_allclose([c.D, c.F, c.A, c.B, c.P, c.R, c.U], 0, atol=1e-11)
    np.testing.assert_allclose(c.normalized["Q"], (layer - 1) / (2 * layer), atol=1e-12)


@pytest.mark.parametrize("ensemble", ["iid", "orthogonal"])
def test_the_kernel_of_sin_does_not_fluctuate(ensemble):
    c = wn.finite_width(wn.zoo.mlp(wn.sin, 10, sigma_w=1.0), ensemble=ensemble)
    np.testing.assert_allclose(c.Theta, 1)
    np.testing.assert_allclose([c.D, c.A, c.Q, c.T], 0, atol=1e-13)
    assert abs(c.F[-1]) > 0.01


def test_deep_tanh_networks():
    depth = 400
    net = wn.zoo.mlp(wn.tanh, depth - 1, sigma_w=1.0)
    free, rotated = wn.finite_width(net).normalized, wn.finite_width(net, ensemble="orthogonal").normalized
    slopes = {name: (free[name][-1] - free[name][-101]) / 100 for name in "VFBPRS"}
    expected = {"V": 2 / 3, "F": 1 / 4, "B": 1 / 3, "P": -1 / 12, "R": -1 / 12, "S": 1 / 12}
    for name, slope in expected.items():
        np.testing.assert_allclose(slopes[name], slope, rtol=0.02, err_msg=name)
    for name, limit in {"V": -2, "F": -2 / 3, "P": -1 / 3, "R": -1 / 3, "S": 1 / 3, "B": 0, "A": 0, "U": 0}.items():
        np.testing.assert_allclose(rotated[name][-1], limit, atol=0.02, err_msg=name)


@pytest.mark.parametrize("phi", [wn.tanh, wn.relu, wn.elu()])
def test_the_leading_order_is_the_kernel(phi):
    net = wn.zoo.mlp(phi, 3, sigma_w=1.3, sigma_b=0.4)
    x = np.array([[0.4, -1.7, 0.9]])
    c, k = wn.finite_width(net, q0=float(np.mean(x**2))), wn.kernel(net)(x)
    np.testing.assert_allclose(c.K[-1], k.nngp[0, 0], rtol=1e-10)
    np.testing.assert_allclose(c.Theta[-1], k.ntk[0, 0], rtol=1e-10)


def test_relu_grows_as_five_a_layer_and_has_no_second_derivatives():
    c = wn.finite_width(wn.zoo.mlp(wn.relu, 4))
    np.testing.assert_allclose(np.diff(c.V / c.K**2), 5)
    np.testing.assert_allclose(c.K1, 0, atol=1e-11)
    assert all(np.isnan(getattr(c, name)[1:]).all() for name in "RSTU")
    assert all(np.isfinite(getattr(c, name)).all() for name in TENSORS if name not in "RSTU")


def test_a_smooth_function_near_relu_has_its_tensors():
    """Its distance falls as the width of the bend."""

    def distances(sharpness):
        smooth = wn.activation(lambda u: u * (1 + wn.erf(sharpness * u)) / 2)
        near, kinked = (wn.finite_width(wn.zoo.mlp(phi, 3, sigma_b=0.3)) for phi in (smooth, wn.relu))
        return np.array([getattr(near, name)[-1] - getattr(kinked, name)[-1] for name in "VDFABPQ"]) / kinked.B[-1]

    wide, narrow = distances(10.0), distances(20.0)
    assert abs(narrow).max() < 0.1
    assert abs(2 * narrow - wide).max() < 0.02


def test_twice_as_wide_is_half_as_much():
    net = wn.zoo.mlp(wn.tanh, 3, sigma_w=1.2, sigma_b=0.3)
    one = wn.finite_width(net, ensemble="orthogonal")
    two = wn.finite_width(net, ensemble="orthogonal", widths=[2, 2, 2])
    for name in ("K1", *"VDFABPQRSTU"):
        np.testing.assert_allclose(getattr(two, name), getattr(one, name) / 2, err_msg=name)


def test_the_widest_layer_matters_least():
    net = wn.zoo.mlp(wn.tanh, 2, sigma_w=1.2, sigma_b=0.3)
    both, first, second = (wn.finite_width(net, widths=w).V[-1] for w in ([1, 1], [1, 1e9], [1e9, 1]))
    np.testing.assert_allclose(first + second, both)


@pytest.mark.parametrize("rank", [0.25, 0.5, 1.0])
def test_low_rank_weights_fluctuate_more(rank):
    net = wn.zoo.mlp(wn.tanh, 2, sigma_w=1.2)
    low, free, rotated = (wn.finite_width(net, ensemble=e) for e in (wn.LowRank(rank), "iid", "orthogonal"))
    for name in "VFB":  # linear in kappa
        gap = getattr(free, name) - getattr(rotated, name)
        np.testing.assert_allclose(getattr(low, name), getattr(free, name) + (1 / rank - 1) * gap, err_msg=name)


def test_layers_may_differ():
    def net(x):
        h = wn.tanh(wn.dense(x, 1.1, 0.2))
        return wn.dense(wn.relu(wn.dense(h, 1.5, 0.1)), 0.9)

    c = wn.finite_width(net)
    assert [layer.phi for layer in chain_of(net, "this").layers] == [None, wn.tanh, wn.relu]
    np.testing.assert_allclose(c.K[-1], wn.kernel(net)(np.ones((1, 2))).nngp[0, 0])


@pytest.mark.parametrize(
    ("net", "options", "error", "words"),
    [
        (wn.tanh, {}, TypeError, r"wn.zoo.mlp\(wn.tanh"),
        (wn.zoo.residual(), {}, NotImplementedError, "zoo.mlp"),
        (wn.serial(wn.dense(), wn.layer_norm(), wn.dense()), {}, NotImplementedError, "layer_norm"),
        (wn.serial(wn.dense(width=5), wn.relu, wn.dense()), {}, NotImplementedError, "leave it out"),
        (wn.serial(wn.dense(), wn.relu), {}, NotImplementedError, "add a dense layer"),
        (wn.zoo.mlp(wn.sign, 2), {}, ValueError, "jumps"),
        (TANH, {"ensemble": "haar"}, ValueError, "orthogonal"),
        (TANH, {"ensemble": 3}, ValueError, "orthogonal"),
        (TANH, {"learning_rates": (1.0,)}, ValueError, "two numbers"),
        (TANH, {"widths": [1, 2]}, ValueError, "19 positive numbers"),
        (TANH, {"q0": 0.0}, ValueError, "no variance"),
        (wn.zoo.mlp(wn.tanh, 2, sigma_w=float("inf")), {}, ValueError, "finite"),
    ],
)
def test_what_is_refused(net, options, error, words):
    with pytest.raises(error, match=words):
        wn.finite_width(net, **options)


def test_tied_weights_are_refused():
    w = wn.Weight()
    with pytest.raises(NotImplementedError, match="own"):
        wn.finite_width(lambda x: wn.dense(wn.relu(wn.dense(wn.relu(wn.dense(x)), weight=w)), weight=w))
