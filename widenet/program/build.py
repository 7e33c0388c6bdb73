"""Building an elementwise variable, with the check that theory needs."""

from __future__ import annotations

from typing import Any

from widenet.program.ops import Attend, Concat, Dropout, Flatten, Input, LinComb, Mix, Nonlin, Normalize, SampleMix
from widenet.program.var import Var, below_structure, describe, is_gaussian

PASSED = (LinComb, Mix, SampleMix, Flatten, Concat, Normalize, Attend)  # Gaussian if their arguments are


def nonlin(phi: Any, x: Var) -> Var:
    """phi(x), coordinate by coordinate.

    Raises: ValueError if x is not Gaussian in the limit, naming the layer in the way.
    """
    if not is_gaussian(x):
        raise ValueError(_not_gaussian(phi, x))
    return below_structure(lambda h: Var(Nonlin(phi), (h,), h.positions, h.channels), x)


def _not_gaussian(phi: Any, x: Var) -> str:
    culprit = x
    while isinstance(culprit.op, PASSED) and not all(map(is_gaussian, culprit.args)):
        culprit = next(arg for arg in culprit.args if not is_gaussian(arg))
    if isinstance(culprit.op, Input):
        return f"{phi.name} was applied to {x}, which is data and not Gaussian: put a dense layer before it."
    remedy = "put dropout after the activation" if isinstance(culprit.op, Dropout) else "or compose the two functions"
    return (
        f"{phi.name} was applied to {x}, which is not Gaussian because of {describe(culprit)}: "
        f"put a dense layer in between, {remedy}."
    )
