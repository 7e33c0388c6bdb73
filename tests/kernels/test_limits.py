"""Kernels that nobody else computes, against random networks of two widths.

The mean over networks of width n is off by a / n + O(1 / n^2), so (r m(r n) - m(n)) / (r - 1) is off by O(1 / n^2).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

import widenet as wn
from tests.limits import LIMITS, data

NARROW, WIDE, RATIO = 24, 72, 3
FAST = {"tied gate", "SwiGLU", "LSTM, tied", "layer norm of relu", "attention, softmax"}
every_limit = pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.slow) for name in LIMITS]
)


class Check(NamedTuple):
    """Differences to the limit, and standard errors, of both widths and of their extrapolation."""

    narrow: np.ndarray
    wide: np.ndarray
    extrapolated: np.ndarray
    error: np.ndarray


def check(exact, narrow, wide, bar) -> Check:
    (m, e), (m2, e2) = narrow, wide
    far = (RATIO * m2 - m) / (RATIO - 1)
    error = np.sqrt((RATIO * e2) ** 2 + e**2) / (RATIO - 1)
    return Check(m - exact, m2 - exact, far - exact, np.hypot(error, bar))


@every_limit
def test_kernel_is_the_limit_of_wide_networks(name):
    net, x = LIMITS[name][0], data(name)
    kernel, bars = wn.kernel(net)(x), wn.kernel_error(net)(x)
    narrow, wide = wn.monte_carlo(net, 0, NARROW, 600)(x), wn.monte_carlo(net, 1, WIDE, 300)(x)
    for part in ("nngp", "ntk"):
        ends = [(getattr(mc, part), getattr(mc, f"{part}_error")) for mc in (narrow, wide)]
        exact = getattr(kernel, part)
        found, size = check(exact, *ends, 2 * getattr(bars, part)), np.abs(exact).max()
        z = np.abs(found.extrapolated) / found.error
        assert z.max() < 4.5, (part, z)  # of six independent entries
        assert found.error.max() < 0.15 * size, "too few networks to tell"
        gained = np.linalg.norm(found.narrow) - np.linalg.norm(found.wide)
        assert gained > -3 * np.linalg.norm(found.error), (part, gained)


@every_limit
def test_kernel_is_positive_and_its_parts_agree(name):
    net, x = LIMITS[name][0], data(name)
    whole = wn.kernel(net)(x)
    corner = wn.kernel(net)(x[:1], x[1:])
    for k, part, bar in zip(whole, corner, wn.kernel_error(net)(x), strict=True):
        np.testing.assert_allclose(k, k.T, rtol=1e-12, atol=1e-14)
        assert np.linalg.eigvalsh(k).min() > -1e-9 - 8 * bar.max()
        np.testing.assert_allclose(k[:1, 1:], part, rtol=1e-9, atol=1e-12)
