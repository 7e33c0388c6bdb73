"""Building an elementwise variable, with the check that theory needs."""

from __future__ import annotations

from typing import Any

from widenet.program.ops import (
    Attend,
    BatchNorm,
    Concat,
    Dropout,
    Flatten,
    Input,
    LinComb,
    Mix,
    Nonlin,
    Normalize,
    Product,
    SampleMix,
)
from widenet.program.var import Var, below_structure, describe, is_gaussian

PASSED = (LinComb, Mix, SampleMix, Flatten, Concat, Normalize, Attend)  # Gaussian if their arguments are


def nonlin(phi: Any, x: Var) -> Var:
    """phi(x), coordinate by coordinate.

    x must be Gaussian in the limit, or a sum or product of functions of Gaussian variables (the cell of an LSTM), or
    just normalized over the batch.
    Raises: ValueError if x is neither, naming the layer in the way.
    """
    if not (is_gaussian(x) or isinstance(x.op, BatchNorm) or _combines_functions(x)):
        raise ValueError(_not_gaussian(phi, x))
    return below_structure(lambda h: Var(Nonlin(phi), (h,), h.positions, h.channels), x)


def _combines_functions(x: Var) -> bool:
    """Is x a sum or a product of elementwise functions of Gaussian variables?  One alone should be composed."""
    return isinstance(x.op, (LinComb, Product)) and _is_elementwise(x)


def _is_elementwise(x: Var) -> bool:
    if is_gaussian(x):
        return True
    return isinstance(x.op, (Nonlin, LinComb, Product)) and all(map(_is_elementwise, x.args))


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
