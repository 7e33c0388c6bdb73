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
    from widenet.program.window import Window


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
class Embed(Op):
    """h[.., t] = sigma E[token] + sigma_b b, token = feature t of the data; E has one row of normals a token (E1)."""

    weight: Weight
    vocabulary: int
    sigma_w: Any = 1.0


@dataclass(frozen=True, eq=False)
class Table(Op):
    """h[p] = sigma sum_r root[p, r] E[r], the same for every sample; E has one row of normals for each r (E2)."""

    weight: Weight
    root: np.ndarray
    sigma_w: Any = 1.0

    @property
    def label(self) -> str:
        """What error messages call it."""
        return "position table"


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
class Conv(Linear):
    """h[p] = sigma_w / sqrt(T fan_in) sum_t W_t x[tap t of p] + sigma_b b, T taps in the window (C1).

    groups: output channels of group g read input channels of group g only; the limit does not see it.
    """

    window: Window = None  # type: ignore[assignment]
    groups: int = 1

    @property
    def label(self) -> str:
        """What error messages call it."""
        return "conv"


@dataclass(frozen=True, eq=False)
class LocalConv(Conv):
    """The same with weights and biases of its own at every position (C2)."""

    @property
    def label(self) -> str:
        """What error messages call it."""
        return "local conv"


@dataclass(frozen=True, eq=False)
class DepthwiseConv(Conv):
    """Each channel on its own: h_i[p] = sigma_w / sqrt(T) sum_t w_ti x_i[tap t of p] + sigma_b b_i (C3)."""

    @property
    def label(self) -> str:
        """What error messages call it."""
        return "depthwise conv"


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
    """z = (M_1 x M_2 x ...) x over positions: pooling, selection, resizing, aggregation.

    matrices: `[out, in]` for each position axis, or a single one over flattened positions; numpy or scipy.sparse.
    """

    matrices: tuple[Any, ...]
    name: str = "mix"

    @property
    def label(self) -> str:
        """What error messages call it."""
        return self.name

    @property
    def sizes(self) -> tuple[int, ...]:
        """The positions that it acts on, as its matrices see them."""
        return tuple(matrix.shape[1] for matrix in self.matrices)


@dataclass(frozen=True, eq=False)
class SampleMix(Op):
    """z = A x over flattened positions, with an operator A of each sample: what `samples` was given with the data.

    kind: "mask" (A keeps the positions of the mask), "mean" (over these) or "graph" (A is the sample's matrix).
    """

    kind: str

    @property
    def label(self) -> str:
        """What error messages call it."""
        return {"mask": "masked", "mean": "masked_mean", "graph": "aggregate"}[self.kind]


@dataclass(frozen=True, eq=False)
class Normalize(Op):
    """z = (x - m) / sqrt(v + eps), v = mean (x - m)^2 over channels, or over channels and positions (N1).

    centred: m is the mean over the same; else m = 0 (RMS norm).
    """

    centred: bool
    positions: bool
    eps: float

    @property
    def label(self) -> str:
        """What error messages call it."""
        return "layer_norm" if self.centred else "rms_norm"


@dataclass(frozen=True, eq=False)
class BatchNorm(Op):
    """z = (x - m) / sqrt(v + eps), m and v the mean and variance of each channel over batch and positions (B1)."""

    eps: float

    @property
    def label(self) -> str:
        """What error messages call it."""
        return "batch_norm"


@dataclass(frozen=True, eq=False)
class Attend(Op):
    """z[p] = sum_q weights(query[p] . key[q] / n)_q value[q]: deterministic scores (A1).

    Arguments: value, query, key.  weights: "softmax", "identity", "relu" or "abs" of the scores; `causal` and `masked`
    leave out positions q > p, and those outside of the sample's mask.
    """

    weights: str
    causal: bool = False
    masked: bool = False

    @property
    def label(self) -> str:
        """What error messages call it."""
        return "attention"


@dataclass(frozen=True, eq=False)
class Heads(Op):
    """Infinitely many attention heads with scores query . key / sqrt(n), then their output matrix (A2).

    h = sigma_w / sqrt(H) sum_heads W_o W_v [weights(G) y] + sigma_b b, with scores
    G[p, q] = sigma_qk (W_q x)[p] . (W_k y)[q] / sqrt(n), Gaussian in the limit.  Arguments: x (it asks), y (keys and
    values).  heads: how many a finite network has.
    """

    weight: Weight
    sigma_qk: Any
    sigma_w: Any  # of values and output together
    sigma_b: Any
    weights: str
    causal: bool = False
    masked: bool = False
    heads: int = 64

    @property
    def label(self) -> str:
        """What error messages call it."""
        return "attention heads"


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
