"""The picture."""

import matplotlib.image
import pytest

import widenet as wn


@pytest.mark.parametrize(("phi", "panels"), [(wn.tanh, 4), (wn.relu, 3)])
def test_a_picture_is_written(phi, panels, tmp_path):
    wn.finite_width(wn.zoo.mlp(phi, 5)).plot(tmp_path / "tensors.png")
    height, width, _ = matplotlib.image.imread(tmp_path / "tensors.png").shape
    assert (height, width) == (510, 525 * panels)
