"""Numbers for the forward pass that go with a parametrization."""

from __future__ import annotations

import math

from widenet.parametrizations.depth import Depth
from widenet.parametrizations.parametrization import Parametrization


def attention_scale(d_head: int, base_d_head: int | None = None) -> float:
    """What queries times keys are multiplied by: 1 / d_head, where keys and queries become correlated in training.

    base_d_head: that of the base model, which keeps its 1 / sqrt(base_d_head); sqrt(base_d_head) / d_head then.
    Source: yang2022, definition 4.1.
    """
    _check_sizes(d_head, 1 if base_d_head is None else base_d_head)
    return 1 / d_head if base_d_head is None else math.sqrt(base_d_head) / d_head


def branch_scale(blocks: int, depth: Depth, base_blocks: int = 1) -> float:
    """What residual branches are multiplied by: (blocks / base_blocks)^-alpha; depth is that of a parametrization."""
    _check_sizes(blocks, base_blocks)
    if not isinstance(depth, Depth):
        raise ValueError(f"depth is an object, such as depth_sqrt or depth_mup.depth; got {depth!r}.")
    return (blocks / base_blocks) ** -float(depth.alpha)


def readout_scale(width: int, parametrization: Parametrization, base_width: int = 1) -> float:
    """What the logits are multiplied by, where the readout is a matrix that has other uses too, as a tied embedding.

    The multiplier n^-a of the readout, n = width / base_width, over that of the embedding.
    """
    _check_sizes(width, base_width)
    a = parametrization.a
    return (width / base_width) ** -float(a.output - a.input)


def _check_sizes(*sizes: int) -> None:
    """Raises: ValueError for a size below one."""
    if not min(sizes) >= 1:
        raise ValueError(f"sizes of models are 1 or more; got {' and '.join(map(str, sizes))}.")
