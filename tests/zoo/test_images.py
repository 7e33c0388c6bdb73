"""What networks for images accept; their kernels are in test_peer.py."""

from __future__ import annotations

import numpy as np
import pytest

import widenet as wn
from widenet.program.ops import Repeat
from widenet.program.trace import trace


@pytest.mark.parametrize(
    ("spec", "shape", "message"),
    [
        ("myrtle5", (2, 8, 8), r"x\[..., None\]"),
        ("vit", (2, 64), "vit reads images"),
        ("lenet", (2, 8, 8, 1), "12 x 12 or more; got .*: try window=3"),
        ("myrtle:6", (2, 8, 8, 1), "has depth 5, 7, 10"),
        ("wide_resnet:29", (2, 8, 8, 1), "is 6 k \\+ 4, .*; got 29: try 28"),
        ("resnet:18", (2, 8, 8, 1), "is 6 k \\+ 2, .*; got 18: try 20"),
        ("resnet:1", (2, 8, 8, 1), "try 8"),
        ("convnext:patch=16", (2, 8, 8, 1), "larger than the positions"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(spec, shape, message):
    with pytest.raises(ValueError, match=message):
        trace(wn.zoo.parse(spec), shape)


@pytest.mark.parametrize(("name", "depths"), [("wide_resnet", (22, 40)), ("resnet", (20, 38)), ("convnext", (2, 20))])
def test_programs_do_not_grow_with_depth(name, depths):
    programs = [trace(wn.zoo.parse(f"{name}:{depth}"), (2, 16, 16, 3)) for depth in depths]
    assert len({len(program.variables) for program in programs}) == 1
    times = [sum(var.op.times for var in program.variables if isinstance(var.op, Repeat)) for program in programs]
    assert times[0] < times[1]


def test_one_repeated_block_is_the_block_written_out():
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 1))

    def block(h):
        normal = wn.layer_norm(wn.conv_depthwise(h, 3))
        return h + wn.dense(wn.gelu(wn.dense(normal)))

    def net(h):
        h = wn.conv(h, 2, stride=2, padding="VALID")
        for _ in range(3):
            h = block(h)
        return wn.dense(wn.layer_norm(wn.position_mean(h)))

    for ours, written in zip(wn.kernel(wn.zoo.convnext(depth=3, patch=2, window=3))(x), wn.kernel(net)(x), strict=True):
        np.testing.assert_allclose(ours, written, rtol=1e-12)
