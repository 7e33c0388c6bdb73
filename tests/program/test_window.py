"""The geometry of windows, against convolutions by jax itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import widenet as wn
from widenet.precision import float64
from widenet.program.window import make_window

RNG = np.random.default_rng(0)
SHAPES = {1: (7,), 2: (6, 5), 3: (4, 5, 3)}


def axes(d):
    spatial = "xyz"[:d]
    return ("N" + spatial + "C", spatial + "IO", "N" + spatial + "C")


@pytest.mark.parametrize("d", SHAPES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", ["VALID", "SAME", 1])
def test_a_convolution_is_that_of_jax(d, stride, dilation, padding):
    size = 2 if d == 3 else 3
    if padding == "VALID" and dilation * (size - 1) >= min(SHAPES[d]):
        pytest.skip("the window is larger than the positions")
    x = RNG.normal(size=(2, *SHAPES[d], 3))
    net = wn.conv(size, stride=stride, dilation=dilation, padding=padding)
    params = wn.init(net, 0, x.shape, 4)
    (layer,) = params.values()
    w = np.asarray(layer["w"]).reshape(*[size] * d, 3, 4) / np.sqrt(3 * size**d)
    pads = [(padding, padding)] * d if padding == 1 else padding
    with float64():
        expected = jax.lax.conv_general_dilated(
            jnp.asarray(x), jnp.asarray(w), [stride] * d, pads, rhs_dilation=[dilation] * d, dimension_numbers=axes(d)
        )
    np.testing.assert_allclose(wn.apply(net, params, x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_circular_windows_wrap(size):
    window = make_window("conv", (5,), size, padding="CIRCULAR")
    taps = window.axis_taps(0, 5)
    assert ((taps >= 0) & (taps < 5)).all()
    np.testing.assert_array_equal((taps[1:] - taps[:-1]) % 5, 1)


@pytest.mark.parametrize(
    ("stride", "size", "padding"), [(2, 3, "SAME"), (2, 3, "VALID"), (3, 2, "SAME"), (1, 4, "VALID")]
)
def test_a_transposed_convolution_is_that_of_jax(stride, size, padding):
    x = RNG.normal(size=(2, 5, 3))
    net = wn.conv_transpose(size, stride=stride, padding=padding)
    params = wn.init(net, 0, x.shape, 4)
    (layer,) = params.values()
    with float64():
        w = jnp.asarray(np.asarray(layer["w"]).reshape(size, 3, 4))
        expected = jax.lax.conv_transpose(jnp.asarray(x), w, [stride], padding, dimension_numbers=axes(1))
    made = np.asarray(wn.apply(net, params, x))
    ratio = made.ravel() @ np.asarray(expected).ravel() / np.sum(np.asarray(expected) ** 2)
    np.testing.assert_allclose(made, ratio * expected, rtol=1e-5, atol=1e-6)
