"""Which reading knows which primitive: every cell of docs/support.md is run; what is refused is refused in words.

`python -m tests.test_support` writes the page anew.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import widenet as wn
from widenet.precision import float64
from widenet.program import ops

PAGE = Path(__file__).parents[1] / "docs" / "support.md"
DENSE = wn.dense(sigma_w=1.2, sigma_b=0.1)
ROLL = np.roll(np.eye(4), 1, axis=0) / 2 + np.eye(4) / 2

# A layer around each primitive, of a Gaussian variable h, with a weight that may be shared.
LAYERS: dict[type[ops.Op], Callable[[Any, ops.Weight], Any]] = {
    ops.Input: lambda h, _: h,
    ops.Embed: lambda h, w: wn.embed(h, 5, weight=w),
    ops.Table: lambda h, w: h + wn.position_table(h, weight=w),
    ops.Linear: lambda h, w: wn.dense(h, 1.2, 0.1, weight=w),
    ops.Conv: lambda h, w: wn.conv(h, 3, 1.2, 0.1, weight=w),
    ops.LocalConv: lambda h, w: wn.conv_local(h, 3, 1.2, 0.1, weight=w),
    ops.DepthwiseConv: lambda h, w: wn.conv_depthwise(h, 3, 1.2, 0.1, weight=w),
    ops.Nonlin: lambda h, _: wn.relu(h),
    ops.LinComb: lambda h, _: h + 0.5 * wn.erf(h),
    ops.Mix: lambda h, _: wn.mix_positions(h, ROLL, (4,)),
    ops.SampleMix: lambda h, _: wn.masked(h),
    ops.Flatten: lambda h, _: wn.flatten(h),
    ops.Concat: lambda h, _: wn.concatenate(h, wn.relu(h)),
    ops.Product: lambda h, _: wn.tanh(h) * h,
    ops.Dropout: lambda h, _: wn.dropout(wn.relu(h), 0.2),
    ops.Repeat: lambda h, _: wn.repeat(wn.serial(wn.erf, DENSE), 2)(h),
    ops.Normalize: lambda h, _: wn.layer_norm(h),
    ops.BatchNorm: lambda h, _: wn.batch_norm(h),
    ops.Attend: lambda h, _: wn.attend(h, h, h),
    ops.Heads: lambda h, _: wn.self_attention(h, heads=4),
}
FAST = {ops.Embed, ops.DepthwiseConv, ops.SampleMix, ops.BatchNorm, ops.Heads}  # the others in `make test-all`
DATA = np.random.default_rng(0).normal(size=(4, 4, 3))
TOKENS = np.arange(16.0).reshape(4, 4) % 5
MASK = np.arange(4) < np.array([[4], [3], [2], [4]])


def data_of(op):
    """Data for a network around `op`: sequences, with masks, or tokens."""
    return TOKENS if op is ops.Embed else wn.samples(DATA, mask=MASK) if op is ops.SampleMix else DATA


def start(op, x):
    """What the layer acts on: the data themselves, or a Gaussian variable."""
    return x if op in (ops.Input, ops.Embed) else DENSE(x)


def readout(h):
    return DENSE(wn.position_mean(h) if h.positions else h)


def once(op):
    return lambda x: readout(LAYERS[op](start(op, x), ops.Weight()))


def twice(op):
    """The layer on two correlated variables, with one weight."""

    def net(x):
        h, w = start(op, x), ops.Weight()
        other = h if h is x else h + DENSE(x)
        return readout(LAYERS[op](h, w) + LAYERS[op](other, w))

    return net


def repeated(op):
    block = lambda h: DENSE(LAYERS[op](h, ops.Weight()))  # noqa: E731
    return lambda x: readout(wn.repeat(block, 2)(start(op, x)))


def unread(op):
    return lambda x: DENSE(LAYERS[op](start(op, x), ops.Weight()))


def finite(net, x):
    params = wn.init(net, 0, x.shape, 8)
    return wn.apply(net, params, x)


READINGS: dict[str, Callable[[Any, Any], Any]] = {
    "show": lambda op, x: wn.show(once(op), x.shape),
    "describe": lambda op, x: str(wn.describe(once(op), x.shape)),
    "kernel": lambda op, x: wn.kernel(once(op), points=64)(x),
    "with another": lambda op, x: wn.kernel(twice(op), points=64)(x),
    "repeated": lambda op, x: wn.kernel(repeated(op), points=64)(x),
    "all positions": lambda op, x: wn.kernel(unread(op), positions="all", points=64)(x),
    "in jit": lambda op, x: jax.jit(wn.kernel(once(op), points=64))(x),
    "init, apply": lambda op, x: finite(once(op), x),
    "empirical_ntk": lambda op, x: wn.empirical_ntk(once(op), wn.init(once(op), 0, x.shape, 8))(x),
    "monte_carlo": lambda op, x: wn.monte_carlo_nngp(once(op), 0, 8, 2)(x),
    "batch_kernel": lambda op, x: wn.batch_kernel(once(op), points=64, scrambles=2)(x),
}


def cell(op, reading) -> str:
    """ "yes", or why not."""
    try:
        with float64():
            made = READINGS[reading](op, data_of(op))
    except (ValueError, NotImplementedError, TypeError) as refusal:
        return str(refusal)
    for leaf in jax.tree.leaves(made):
        assert isinstance(leaf, str) or np.isfinite(leaf).all(), (op, reading)
    return "yes"


def section(op) -> str:
    """The row of the table and the refusals below it."""
    cells = {reading: cell(op, reading) for reading in READINGS}
    row = " | ".join("yes" if text == "yes" else "no" for text in cells.values())
    reasons = [f"  - {reading}: {text}" for reading, text in cells.items() if text != "yes"]
    return "\n".join([f"| {op.__name__} | {row} |", *reasons])


def page() -> str:
    sections = [section(op).splitlines() for op in LAYERS]
    table = [lines[0] for lines in sections]
    reasons = [
        f"- {op.__name__}\n" + "\n".join(lines[1:]) for op, lines in zip(LAYERS, sections, strict=True) if lines[1:]
    ]
    return "\n".join(
        [
            "# What each reading knows",
            "",
            "One row a primitive, one column a reading; made by `python -m tests.test_support`, which runs every cell.",
            '"with another": two correlated variables through the same layer; "repeated": inside a `repeat`;',
            '"all positions": `kernel(net, positions="all")` of a net without readout.',
            "",
            f"| primitive | {' | '.join(READINGS)} |",
            f"|---{'|---' * len(READINGS)}|",
            *table,
            "",
            "What is refused, and what it says:",
            "",
            *reasons,
            "",
        ]
    )


def every_primitive(base=ops.Op):
    for kind in base.__subclasses__():
        yield kind
        yield from every_primitive(kind)


def test_every_primitive_has_a_row():
    assert {op for op in every_primitive() if op.__module__ == ops.__name__} == set(LAYERS)


@pytest.mark.parametrize(
    "op",
    [op if op in FAST else pytest.param(op, marks=pytest.mark.slow) for op in LAYERS],
    ids=lambda op: op.__name__,
)
def test_every_cell_is_as_the_page_says(op):
    text = PAGE.read_text()
    row, *reasons = section(op).splitlines()
    assert row in text
    for reason in reasons:
        assert reason in text
        assert len(reason) > 60, "a refusal says what to do instead"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page())
