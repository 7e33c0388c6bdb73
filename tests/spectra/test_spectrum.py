"""Spectra of networks: published variances, networks of finite width, and what is refused."""

import matplotlib.image
import numpy as np
import pytest
from scipy.optimize import brentq

import widenet as wn
from widenet.corrections.ensembles import draw_params
from widenet.corrections.moments import moments

MLP = wn.zoo.mlp


def critical_tanh(sigma_b2, depth):
    """(dense, tanh) `depth` times, at chi_1 = 1."""

    def gap(q):
        m = moments(wn.tanh, np.asarray(q))
        return float(q - m.s2 / m.p2) - sigma_b2

    sigma_w = float(moments(wn.tanh, np.asarray(brentq(gap, 1e-4, 5))).p2) ** -0.5
    return wn.serial(
        *[layer for _ in range(depth) for layer in (wn.dense(sigma_w=sigma_w, sigma_b=sigma_b2**0.5), wn.tanh)]
    )


@pytest.mark.parametrize(
    ("net", "ensemble", "variance"),
    [
        (MLP(wn.identity, 15, sigma_w=1.0), "iid", 16.0),
        (wn.serial(MLP(wn.relu, 3), wn.relu), "iid", 8.0),
        (wn.serial(MLP(wn.relu, 3), wn.relu), "orthogonal", 4.0),
        ((0.0025, 4), "orthogonal", 0.293),
        ((0.0025, 16), "orthogonal", 1.170),
        ((0.0025, 4), "iid", 4.29),
        ((0.05, 4), "orthogonal", 1.369),
    ],
)
def test_the_variances_of_the_paper(net, ensemble, variance):
    net = critical_tanh(*net) if isinstance(net, tuple) else net
    spectrum = wn.jacobian_spectrum(net, ensemble=ensemble)
    np.testing.assert_allclose(spectrum.variance, variance, atol=6e-3 if variance == 4.29 else 2e-3)
    np.testing.assert_allclose(spectrum.mean, 1, rtol=1e-6)


@pytest.mark.parametrize("ensemble", ["iid", "orthogonal"])
@pytest.mark.parametrize("phi", [wn.tanh, wn.relu])
def test_networks_have_it(phi, ensemble):
    """The largest distance of two distribution functions; fractions of 800 slopes have a standard error of 0.018."""
    net, width = MLP(phi, 2, sigma_w=1.3, sigma_b=0.4), 100
    q0 = 0.7
    spectrum = wn.jacobian_spectrum(net, ensemble=ensemble, q0=q0)
    x = np.random.default_rng(0).normal(size=(1, width))
    x *= np.sqrt(q0 / np.mean(x**2))
    drawn = [wn.empirical_spectrum(net, draw_params(net, key, x.shape, width, ensemble), x) for key in range(8)]
    values = np.sort(np.ravel(drawn) ** 2)
    angle = (np.arange(200) + 0.5) * np.pi / 200  # points crowd at the edges, where a density may have a pole
    grid = 1.0001 * spectrum.upper_edge * np.sin(angle / 2) ** 2
    mass = spectrum.density(grid) * 1.0001 * spectrum.upper_edge * np.sin(angle) / 2 * np.pi / 200
    above = np.cumsum(mass[::-1])[::-1] - mass / 2
    empirical = 1 - np.searchsorted(values, grid) / len(values)
    assert abs(above - empirical).max() < 0.06, abs(above - empirical).max()
    np.testing.assert_allclose(values.mean(), spectrum.mean, rtol=0.15)


def test_densities_of_eigenvalues_and_singular_values():
    spectrum = wn.jacobian_spectrum(MLP(wn.tanh, 2, sigma_w=1.3, sigma_b=0.4))
    s = np.linspace(1e-3, 1.01 * np.sqrt(spectrum.upper_edge), 400)
    np.testing.assert_allclose(np.trapezoid(s**2 * spectrum.singular_density(s), s), spectrum.mean, rtol=2e-3)
    np.testing.assert_allclose(spectrum.moments(3)[0], spectrum.mean)
    np.testing.assert_allclose(spectrum.moments(3)[1], spectrum.mean**2 * (1 + spectrum.variance))


def test_at_the_fixed_point_all_layers_are_one():
    net = MLP(wn.tanh, 4, sigma_w=1.3, sigma_b=0.4)
    ((_, times),) = wn.jacobian_spectrum(net).factors.laws
    assert times == 4
    assert len(wn.jacobian_spectrum(net, q0=5.0).factors.laws) == 4


def test_a_picture_is_written(tmp_path):
    spectrum = wn.jacobian_spectrum(MLP(wn.relu, 2), ensemble="orthogonal")
    spectrum.plot(tmp_path / "density.png", np.array([0.0, 0.0, 1.0, 1.5]))
    assert matplotlib.image.imread(tmp_path / "density.png").shape == (540, 750, 4)


@pytest.mark.parametrize(
    ("net", "options", "error", "words"),
    [
        (wn.relu, {}, TypeError, "zoo.mlp"),
        (MLP(wn.tanh, 2), {"ensemble": "gaussian"}, ValueError, "'iid'"),
        (wn.serial(wn.dense(), wn.tanh, wn.dense(width=1)), {"ensemble": "orthogonal"}, NotImplementedError, "square"),
        (MLP(wn.sign, 2), {}, ValueError, "no Jacobian"),
        (MLP(wn.tanh, 2, sigma_w=0.5), {}, ValueError, "fixed point"),
        (MLP(wn.relu, 2, sigma_w=2.0), {}, ValueError, "fixed point"),
        (wn.serial(wn.dense(sigma_w=2.0), wn.tanh, wn.dense()), {}, ValueError, "layers differ"),
        (MLP(wn.relu, 5000, sigma_w=0.5), {"q0": 1.0}, ValueError, "fewer layers"),
        (MLP(wn.tanh, 2), {"q0": 0.0}, ValueError, "no variance"),
    ],
)
def test_what_is_refused(net, options, error, words):
    with pytest.raises(error, match=words):
        wn.jacobian_spectrum(net, **options)


def test_eigenvalues_are_positive():
    spectrum = wn.jacobian_spectrum(MLP(wn.tanh, 2))
    with pytest.raises(ValueError, match="positive"):
        spectrum.density([0.0, 1.0])
    with pytest.raises(ValueError, match="two or more"):
        spectrum.moments(1)
