"""Fitted powers."""

import numpy as np
import pytest

from widenet.limits import error_slope

SIZES = (10, 100, 1000)


def test_a_power_is_found():
    slope = error_slope(SIZES, 3 * np.array(SIZES, float) ** -0.7)
    assert slope.value == pytest.approx(-0.7)
    assert slope.half_width < 1e-6


def test_the_interval_holds_the_power_as_often_as_it_says():
    rng = np.random.default_rng(0)
    spread = np.array(SIZES)[:, None] ** -0.5
    slopes = [error_slope(SIZES, spread * rng.normal(size=(3, 60))) for _ in range(400)]
    inside = np.mean([abs(slope.value + 0.5) < slope.half_width for slope in slopes])
    assert 0.91 < inside < 0.98


def test_what_has_no_slope_is_refused():
    with pytest.raises(ValueError, match="three where each has one draw"):
        error_slope((10, 100), [1.0, 2.0])
    with pytest.raises(ValueError, match="finite and not all zero"):
        error_slope(SIZES, np.zeros((3, 2)))
