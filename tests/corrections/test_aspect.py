"""Depth over width."""

import numpy as np
import pytest

import widenet as wn


@pytest.mark.parametrize(
    ("nu", "outputs", "ratio"), [(5, 1, 0.0348), (2, 1, 0.0870), (2 / 3, 1, 0.2609), (2 / 3, 10, 0.12)]
)
def test_the_ratios_of_the_book(nu, outputs, ratio):
    np.testing.assert_allclose(wn.optimal_aspect_ratio(nu, outputs), ratio, atol=5e-5)


def test_the_constant_of_a_log_normal_scale():
    assert wn.optimal_aspect_ratio(5, constant=14) > wn.optimal_aspect_ratio(5)


def test_what_is_refused():
    c = wn.finite_width(wn.zoo.mlp(wn.tanh, 60, sigma_w=1.0), ensemble="orthogonal")
    with pytest.raises(ValueError, match="positive"):
        wn.optimal_aspect_ratio(np.diff(c.V / c.K**2)[-1])
    with pytest.raises(ValueError, match="outputs"):
        wn.optimal_aspect_ratio(5, 0)
