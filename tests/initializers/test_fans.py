"""Which axes are summed over."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from widenet.initializers import normal, orthogonal
from widenet.initializers.fans import Axes, fans


@pytest.mark.parametrize(
    ("shape", "axes", "expected"),
    [
        ((5, 7), Axes(), (1, 5, 7)),
        ((3, 2, 5, 7), Axes(), (1, 30, 42)),
        ((7, 5), Axes.of(1, 0), (1, 5, 7)),
        ((7, 5, 3, 2), Axes.of(1, 0), (1, 30, 42)),
        ((4, 5, 7), Axes.of(-2, -1, 0), (4, 5, 7)),
        ((5, 4, 6), Axes.of(0, (1, 2)), (1, 5, 24)),
        ((4, 6, 5), Axes.of((0, 1), -1), (1, 24, 5)),
    ],
)
def test_fans_are_the_terms_of_an_output_and_the_uses_of_an_input(shape, axes, expected):
    layout = fans(shape, axes)
    assert (layout.batch, layout.fan_in, layout.fan_out) == expected


@pytest.mark.parametrize("axes", [Axes(), Axes.of(1, 0), Axes.of(3, 1, (0,)), Axes.of((0, 2), (1, 3))])
def test_a_weight_is_the_matrices_of_its_layout(axes):
    weight = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    layout = fans(weight.shape, axes)
    matrices = layout.matrices(weight)
    assert matrices.shape == (layout.batch, layout.fan_in, layout.n_out)
    np.testing.assert_array_equal(layout.weight(matrices), weight)


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg", "fan_geo_avg"])
@pytest.mark.parametrize(("shape", "axes"), [((3, 3, 5, 7), {}), ((7, 5), {"in_axis": 1, "out_axis": 0})])
def test_modes_are_those_of_jax(mode, shape, axes):
    key = jax.random.key(0)
    theirs = jax.nn.initializers.variance_scaling(1.7**2, mode, "normal", **axes)(key, shape)
    ours = normal(1.7, mode=mode, **axes)(key, shape)
    if axes:  # the same numbers in another order
        theirs, ours = np.std(theirs), np.std(ours)
        np.testing.assert_allclose(ours, theirs, rtol=0.5)
    else:
        np.testing.assert_allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (3, 0, 5)])
def test_a_fan_of_zero_is_refused(shape):
    for initializer in (normal(), orthogonal()):
        with pytest.raises(ValueError, match="no fan: give at least one input"):
            initializer(0, shape)


def test_a_vector_is_refused_with_a_remedy():
    with pytest.raises(ValueError, match=r"for a vector .* use initializers.constant"):
        normal()(0, (5,))


def test_an_axis_has_one_role():
    with pytest.raises(ValueError, match="named twice"):
        normal(in_axis=-1)(0, (5, 7))


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="use one of fan_in, fan_out"):
        normal(mode="fan_both")
