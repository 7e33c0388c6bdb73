"""The primitive operations of a program: frozen data, compared by identity.

A primitive computes nothing.  Each reading has one rule per primitive, in a file of its own; the
layers are functions that compose primitives and need no rule anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from widenet.program.trace import Program
    from widenet.program.var import Var


@dataclass(frozen=True, eq=False)
class Weight:
    """One Gaussian weight matrix with its bias.  Passing the same `Weight` twice ties two layers.

    width: number of output channels; None is the hidden width n, which goes to infinity.
    """

    width: int | None = None
    name: str | None = None

    def __post_init__(self) -> None:
        if self.width is not None and self.width < 1:
            raise ValueError(f"a width must be a positive integer or None (infinite); got {self.width}")


class Op:
    """A primitive operation."""

    @property
    def label(self) -> str:
        """What error messages and `show` call it."""
        return type(self).__name__.lower()


@dataclass(frozen=True, eq=False)
class Input(Op):
    """The data, or the variable that a repeated block starts from (then perhaps Gaussian)."""

    gaussian: bool = False


@dataclass(frozen=True, eq=False)
class Linear(Op):
    """h = sigma_w / sqrt(fan_in) W x + sigma_b b at every position, W and b standard normal (T1)."""

    weight: Weight
    sigma_w: Any = 1.0
    sigma_b: Any = 0.0

    @property
    def label(self) -> str:
        """What error messages call it."""
        return "dense"

    @property
    def has_bias(self) -> bool:
        """False only where sigma_b is the plain number zero, never for a traced value."""
        return not (isinstance(self.sigma_b, (int, float)) and self.sigma_b == 0)


@dataclass(frozen=True, eq=False)
class Nonlin(Op):
    """z = phi(h), coordinate by coordinate; h must be Gaussian (T2)."""

    phi: Any

    @property
    def label(self) -> str:
        """What error messages call it."""
        return str(self.phi.name)


@dataclass(frozen=True, eq=False)
class LinComb(Op):
    """z = sum_i coeffs[i] x_i."""

    coeffs: tuple[Any, ...]

    @property
    def label(self) -> str:
        """What error messages call it."""
        return "sum" if len(self.coeffs) > 1 else "scale"


@dataclass(frozen=True, eq=False)
class Mix(Op):
    """z[p] = sum_q matrix[p, q] x[q] over (flattened) positions: pooling, selection, aggregation."""

    matrix: np.ndarray
    name: str = "mix"

    @property
    def label(self) -> str:
        """What error messages call it."""
        return self.name


@dataclass(frozen=True, eq=False)
class Flatten(Op):
    """Positions become channels."""


@dataclass(frozen=True, eq=False)
class Concat(Op):
    """The channels of all arguments, side by side."""

    @property
    def label(self) -> str:
        """What error messages call it."""
        return "concatenate"


@dataclass(frozen=True, eq=False)
class Product(Op):
    """z = x y, coordinate by coordinate: a gate."""


@dataclass(frozen=True, eq=False)
class Dropout(Op):
    """z = m x / (1 - rate) with m ~ Bernoulli(1 - rate), drawn anew for every sample and coordinate."""

    rate: float


@dataclass(frozen=True, eq=False)
class Repeat(Op):
    """`times` copies of a block in sequence, each with weights of its own."""

    block: Callable[[Var], Var]
    body: Program
    times: int
