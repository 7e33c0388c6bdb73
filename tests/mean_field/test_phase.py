"""Phase diagrams."""

from __future__ import annotations

import numpy as np
import pytest

import widenet as wn
from widenet.cli import main

SIGMA_W, SIGMA_B = np.linspace(0.6, 2.4, 10), np.array([0.0, 0.3])


def test_a_diagram_agrees_with_single_points_and_the_critical_line():
    diagram = wn.phase(wn.erf, sigma_w=SIGMA_W, sigma_b=SIGMA_B)
    assert diagram.q.shape == diagram.xi_c.shape == (10, 2)
    for i in (2, 8):
        block = wn.serial(wn.dense(sigma_w=SIGMA_W[i], sigma_b=0.3), wn.erf)
        (point,) = wn.fixed_points(block)
        scales = wn.depth_scales(block)
        found = [part[i, 1] for part in (diagram.q, diagram.chi_1, diagram.chi_par, diagram.c, diagram.xi_c)]
        np.testing.assert_allclose(found, [point.q, point.chi_perp, point.chi_par, scales.c, scales.xi_c])
    lines = [wn.critical(wn.erf, sigma_b=bias).sigma_w for bias in SIGMA_B]
    np.testing.assert_allclose(diagram.critical_sigma_w, lines, atol=1e-5)
    ordered = SIGMA_W[:, None] < lines
    np.testing.assert_array_equal(diagram.c == 1, ordered)
    np.testing.assert_array_equal(diagram.chi_1 < 1, ordered)


def test_relu_diverges_above_two_whatever_the_bias():
    diagram = wn.phase(wn.relu, sigma_w=[1.0, 2.0], sigma_b=[0.0, 0.5])
    np.testing.assert_allclose(diagram.critical_sigma_w, 2**0.5)
    np.testing.assert_allclose(diagram.chi_1, [[0.5, 0.5], [2.0, 2.0]])
    np.testing.assert_allclose(diagram.q, [[0.0, 0.5], [np.inf, np.inf]])
    np.testing.assert_array_equal(np.isnan(diagram.c), np.isinf(diagram.q))


def test_blocks_have_phases():
    damped = wn.phase(lambda x: 0.5 * x + wn.dense(wn.erf(x)), sigma_w=[0.5, 1.0, 2.0], sigma_b=[0.2])
    w = damped.critical_sigma_w[0]
    (point,) = wn.fixed_points(lambda x: 0.5 * x + wn.dense(wn.erf(x), w, 0.2))
    np.testing.assert_allclose(point.chi_perp, 1, atol=1e-8)
    np.testing.assert_allclose(0.25 + w**2 * 4 / np.pi / np.sqrt(1 + 4 * point.q), 1, atol=1e-8)
    conv = wn.serial(wn.erf, wn.conv(3, padding="CIRCULAR"))
    uniform = wn.phase(conv, sigma_w=[0.5, 2.0], sigma_b=[0.3], positions=(4,))
    np.testing.assert_allclose(uniform.critical_sigma_w, wn.critical(wn.erf, sigma_b=0.3).sigma_w)
    repeated = wn.phase(
        wn.serial(*[wn.erf, wn.dense()] * 3), sigma_w=[0.5, 2.0], sigma_b=[0.3]
    )  # three layers a period
    np.testing.assert_allclose(repeated.critical_sigma_w, uniform.critical_sigma_w)


@pytest.mark.parametrize(
    ("net", "sigma_w", "sigma_b", "message"),
    [
        (lambda x: 0.5 * x, [1.0], [0.0], "no dense or convolutional layer"),
        (wn.tanh, [0.0, 1.0], [0.0], "begin the grid above"),
        (wn.tanh, [1.0, 0.5], [0.0], "ascending"),
        (wn.tanh, [1.0, np.nan], [0.0], "finite"),
        (wn.tanh, [1.0], [-0.1], "standard deviation"),
        (wn.tanh, [1.0], [], "at least one number"),
        (wn.tanh, 1.0, [0.0], "must be a grid"),
    ],
)
def test_bad_input_names_the_remedy(net, sigma_w, sigma_b, message):
    with pytest.raises(ValueError, match=message):
        wn.phase(net, sigma_w=sigma_w, sigma_b=sigma_b)


def test_the_command_line_draws(tmp_path, capsys):
    out = tmp_path / "relu.png"
    command = ["phase", "relu", "--points", "5", "--sigma-w", "0:3", "--sigma-b", "0:1", "--out", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "scale-invariant, sigma_w = 1.41421, sigma_b = 0" in printed
    assert "0.5       1.41421" in printed
    assert out.read_bytes().startswith(b"\x89PNG")
    assert main(command) == 2
    assert "exists and is kept" in capsys.readouterr().err
    assert main(["phase", "sigmod"]) == 2
    assert "did you mean 'sigmoid'" in capsys.readouterr().err
    assert main(["phase", "relu", "--out", str(tmp_path / "relu.doc")]) == 2
    with pytest.raises(SystemExit):
        main(["phase", "relu", "--sigma-w", "3:1"])
