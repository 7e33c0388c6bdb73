"""Signal reports: numbers against direct computation, theory against many networks, verdicts, pictures, pages."""

from __future__ import annotations

import base64
import re
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from widenet.diagnostics.statistics import Signals
from widenet.diagnostics.verdict import findings

X = np.random.default_rng(0).normal(size=(9, 7)) * 1.4 + 0.2
WIDTHS = (7, 12, 11, 3)


def params(seed=0):
    rng = np.random.default_rng(seed)
    return [
        {"w": rng.normal(size=(a, b)) * (1.3 / np.sqrt(a)), "b": 0.4 * rng.normal(size=b)} for a, b in pairwise(WIDTHS)
    ]


def apply(params, x):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def products(params, x):
    """What the weights are given and make, by hand."""
    given, made = [], []
    for layer in params:
        given.append(x)
        made.append(x @ layer["w"])
        x = np.maximum(made[-1] + layer["b"], 0)
    return given, made


def exact(p, x):
    """J and the gradient norms from whole Jacobians."""

    outs = [jnp.zeros((len(x), b)) for b in WIDTHS[1:]]

    def f(outs, p):
        h = x
        for i, layer in enumerate(p):
            h = h @ layer["w"] + layer["b"] + outs[i]
            h = jax.nn.relu(h) if i < len(p) - 1 else h
        return h

    in_outs, in_params = jax.jacrev(f, argnums=(0, 1))(outs, p)
    size = len(x) * WIDTHS[-1]
    return (
        [float(jnp.sum(g**2)) / size for g in in_outs],
        [float(jnp.sum(g["w"] ** 2) / size) ** 0.5 for g in in_params],
    )


def test_values_are_those_of_a_direct_computation():
    report = wn.signal_report(apply, params(), X)
    given, made = products(params(), X)
    got = report.measured
    np.testing.assert_allclose(got.q, [np.mean(h**2) for h in made])
    units = [h / np.linalg.norm(h, axis=1, keepdims=True) for h in made]
    np.testing.assert_allclose(got.c, [np.mean((u @ u.T)[np.triu_indices(9, 1)]) for u in units])
    np.testing.assert_allclose(got.zero[1:], [np.mean(a == 0) for a in given[1:]])
    np.testing.assert_allclose(got.dead[1:], [np.mean((a == a[:1]).all(0)) for a in given[1:]])
    assert np.isnan(got.zero[0])
    gram = made[1] @ made[1].T
    np.testing.assert_allclose(got.gap[1], np.log(np.trace(gram) / 9) - np.linalg.slogdet(gram)[1] / 9)
    assert np.isnan(got.gap[2])  # nine samples in three dimensions


def test_gradients_are_those_of_whole_jacobians():
    jacobian, gradient = exact(params(), X)
    got = wn.signal_report(apply, params(), X, probes=4000).measured
    np.testing.assert_allclose(got.jacobian, jacobian, rtol=0.05)
    np.testing.assert_allclose(got.gradient, gradient, rtol=0.05)


def test_a_torch_module_has_the_same_report():
    torch = pytest.importorskip("torch")
    layers = [torch.nn.Linear(a, b, dtype=torch.float64) for a, b in pairwise(WIDTHS)]
    with torch.no_grad():
        for layer, ours in zip(layers, params(), strict=True):
            layer.weight.copy_(torch.tensor(ours["w"].T))
            layer.bias.copy_(torch.tensor(ours["b"]))
    relu = torch.nn.ReLU(inplace=True)
    module = torch.nn.Sequential(layers[0], relu, layers[1], relu, layers[2])
    report = wn.signal_report(module, None, X, probes=2000)
    expected = wn.signal_report(apply, params(), X).measured
    jacobian, gradient = exact(params(), X)
    for name in ("q", "c", "zero", "dead", "saturated", "gap"):
        np.testing.assert_allclose(getattr(report.measured, name), getattr(expected, name), err_msg=name)
    np.testing.assert_allclose(report.measured.jacobian, jacobian, rtol=0.06)
    np.testing.assert_allclose(report.measured.gradient, gradient, rtol=0.06)
    assert report.names == ("0.weight", "2.weight", "4.weight")
    assert all(p.grad is None for p in module.parameters())
    with pytest.raises(ValueError, match="has its parameters in it"):
        wn.signal_report(module, {}, X)


def test_a_torch_convolution_with_frozen_weights_is_reported():
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv1d(2, 5, 3), torch.nn.Tanh(), torch.nn.Flatten(), torch.nn.Linear(25, 2))
    module.requires_grad_(False)
    got = wn.signal_report(module, None, torch.randn(4, 2, 7)).measured
    assert np.isfinite(got.jacobian).all()
    assert np.isnan(got.gradient).all()


NETS = {
    "tanh with biases": wn.zoo.mlp(wn.tanh, 5, sigma_w=1.5, sigma_b=0.4),
    "residual relu": wn.zoo.residual(wn.relu, 4, sigma_w=1.2, sigma_b=0.3),
    "erf": wn.zoo.mlp(wn.erf, 3, sigma_w=0.8, sigma_b=0.5),
}


@pytest.mark.parametrize("name", NETS)
def test_theory_is_the_mean_of_wide_networks(name):
    net, width, samples = NETS[name], 256, 6
    shape = X.shape
    reports = [wn.signal_report(net, wn.init(net, s, shape, width=width), X, s, probes=4) for s in range(samples)]
    for column in ("q", "c", "jacobian"):
        values = np.array([getattr(r.measured, column) for r in reports])
        expected = getattr(reports[0].theory, column)
        sem = values.std(0, ddof=1) / np.sqrt(samples)
        bias = 4 * len(expected) / width * np.abs(expected)
        assert (np.abs(values.mean(0) - expected) < 5 * sem + bias).all(), column
    squares = np.array([r.measured.gradient**2 for r in reports])
    expected = reports[0].theory.gradient ** 2
    bias = 4 * len(expected) / width * expected
    assert (np.abs(squares.mean(0) - expected) < 5 * squares.std(0, ddof=1) / np.sqrt(samples) + bias).all()


def test_the_gradient_through_a_sum_with_a_function_of_itself_is_not_predicted():
    @wn.serial
    def crossed(x):
        h = wn.dense(x)
        return wn.dense(h + wn.tanh(h), width=2)

    report = wn.signal_report(crossed, wn.init(crossed, 0, X.shape, width=32), X)
    np.testing.assert_array_equal(np.isnan(report.theory.jacobian), [True, False])
    assert np.isfinite(report.theory.q).all()


def test_an_architecture_beyond_the_theory_is_still_measured():
    net = wn.serial(wn.dense(), wn.batch_norm(), wn.relu, wn.dense(width=2))
    report = wn.signal_report(net, wn.init(net, 0, X.shape, width=32), X)
    assert report.theory is None
    assert np.isfinite(report.measured.jacobian).all()


def test_a_function_is_compared_with_an_architecture_of_as_many_layers():
    net = wn.zoo.mlp(wn.relu, 2, sigma_w=1.3, sigma_b=0.4)
    report = wn.signal_report(apply, params(), X, theory=net)
    assert np.isnan(report.theory.gradient).all()
    np.testing.assert_allclose(report.theory.jacobian, [(1.69 / 2) ** 2, 1.69 / 2, 1])
    with pytest.raises(ValueError, match="theory has 5 layers with weights, but 3"):
        wn.signal_report(apply, params(), X, theory=wn.zoo.mlp(wn.relu, 4))


def test_images_are_reported():
    net = wn.serial(wn.conv((3, 3)), wn.relu, wn.conv((3, 3)), wn.relu, wn.flatten(), wn.dense(width=3))
    x = np.random.default_rng(1).normal(size=(4, 5, 5, 2))
    report = wn.signal_report(net, wn.init(net, 0, x.shape, width=256), x)
    np.testing.assert_allclose(report.measured.q, report.theory.q, rtol=0.25)
    assert np.isnan(report.theory.jacobian[:2]).all()


@pytest.mark.parametrize(
    ("sigma_w", "verdict"), [(3.0, "exploding"), (0.7, "vanishing"), (2**0.5, "fine"), (1e30, "exploding")]
)
def test_verdicts_of_relu_networks(sigma_w, verdict):
    net = wn.zoo.mlp(wn.relu, 20, sigma_w=sigma_w)
    report = wn.signal_report(net, wn.init(net, 0, X.shape, width=64), X)
    assert report.verdict == verdict, report.reason
    assert report.verdict in str(report)


def test_dead_and_saturated_units_are_seen():
    low = [{"w": layer["w"], "b": layer["b"] - 10} for layer in params()[:1]] + params()[1:]
    report = wn.signal_report(apply, low, X)
    assert "dead units" in {found.verdict for found in report.findings}
    assert report.measured.dead[1] == 1

    def steep(params, x):
        return jnp.tanh(300 * (x @ params[0]["w"])) @ jnp.ones((12, 7)) @ params[0]["w"]

    report = wn.signal_report(steep, params()[:1], X)
    assert report.measured.saturated[1] > 0.5


def test_collapse_is_told_by_the_distance_of_samples():
    layers = 30
    same = np.ones(layers)
    c = 1 - np.geomspace(1, 1e-5, layers)
    none = np.zeros(layers)
    made = findings(tuple(map(str, range(layers))), Signals(same, c, same, same, none, none, none, none))
    assert [found.verdict for found in made] == ["collapsing correlations"]


def test_the_picture_and_the_page_are_written(tmp_path):
    report = wn.signal_report(apply, params(), X, theory=wn.zoo.mlp(wn.relu, 2))
    assert report.plot(tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")
    page = report.html(tmp_path / "report.html").read_text()
    (coded,) = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert base64.b64decode(coded).startswith(b"\x89PNG")
    assert "http" not in page
    assert "[0][&#x27;w&#x27;]" in page
    for write, name in ((report.plot, "report.txt"), (report.html, "report.png")):
        with pytest.raises(ValueError, match="must be"):
            write(tmp_path / name)


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="give two or more"):
        wn.signal_report(apply, params(), X[:1])
    with pytest.raises(ValueError, match="probes"):
        wn.signal_report(apply, params(), X, probes=0)
    with pytest.raises(ValueError, match="no dense layer"):
        wn.signal_report(lambda x: 2.0 * x, {}, X)
    with pytest.raises(ValueError, match="no weight was seen"):
        wn.signal_report(lambda p, x: x + p, np.ones((9, 7)), X)


def test_isometry_gap():
    rng = np.random.default_rng(0)
    rows = np.linalg.qr(rng.normal(size=(6, 4)))[0].T
    assert abs(wn.isometry_gap(5 * rows)) < 1e-12
    assert wn.isometry_gap(np.ones((2, 5))) == np.inf
    assert np.isnan(wn.isometry_gap(rng.normal(size=(5, 3))))
    with pytest.raises(ValueError, match="flatten the rest"):
        wn.isometry_gap(np.ones(3))
