"""A variable of a program: what one primitive makes of earlier variables.

Its value is `[n, *positions, channels]`: positions are finite and static, channels go to infinity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from widenet.program.ops import (
    Attend,
    BatchNorm,
    Concat,
    DepthwiseConv,
    Dropout,
    Flatten,
    Input,
    LinComb,
    Mix,
    Nonlin,
    Normalize,
    Op,
    Product,
    Repeat,
    SampleMix,
)

_made = count()


@dataclass(frozen=True)
class Channels:
    """A number of channels, `wide * n + fixed`, where n is the hidden width."""

    wide: int
    fixed: int

    def __add__(self, other: Channels) -> Channels:
        return Channels(self.wide + other.wide, self.fixed + other.fixed)

    def times(self, copies: int) -> Channels:
        """The channels of `copies` positions side by side."""
        return Channels(self.wide * copies, self.fixed * copies)

    def count(self, width: int) -> int:
        """How many there are at hidden width `width`."""
        return self.wide * width + self.fixed

    def fraction(self, total: Channels) -> float:
        """The share of `total` as n goes to infinity."""
        return self.wide / total.wide if total.wide else self.fixed / total.fixed

    def __str__(self) -> str:
        wide = {0: "", 1: "n"}.get(self.wide, f"{self.wide}n")
        return "+".join(part for part in (wide, str(self.fixed) if self.fixed else "") if part)


@dataclass(frozen=True, eq=False)
class Var:
    """A variable; `+`, `-` and multiplication by a number or by another variable make new ones."""

    op: Op
    args: tuple[Var, ...]
    positions: tuple[int, ...]
    channels: Channels
    age: int = field(default_factory=_made.__next__, init=False)  # arguments are older, that is, smaller

    def __add__(self, other: Var) -> Var:
        return linear_combination((1.0, 1.0), (self, other))

    def __sub__(self, other: Var) -> Var:
        return linear_combination((1.0, -1.0), (self, other))

    def __neg__(self) -> Var:
        return linear_combination((-1.0,), (self,))

    def __mul__(self, other: Any) -> Var:
        if isinstance(other, Var):
            return product(self, other)
        return linear_combination((other,), (self,))

    __rmul__ = __mul__

    def __truediv__(self, scale: Any) -> Var:
        return linear_combination((1 / scale,), (self,))

    def __str__(self) -> str:
        return f"{describe(self)} of shape {shape_text(self)}"


def order(output: Var) -> list[Var]:
    """All variables that `output` is made of, in the order in which they were made."""
    seen, stack = {output}, [output]
    while stack:
        new = set(stack.pop().args) - seen
        seen |= new
        stack.extend(new)
    return sorted(seen, key=lambda var: var.age)


def describe(var: Var) -> str:
    """Which layer of the network made `var`, for messages: 'relu (layer 4)'."""
    if isinstance(var.op, Input):
        return "the input"
    return f"{var.op.label} (layer {sum(not isinstance(v.op, Input) for v in order(var))})"


def shape_text(var: Var) -> str:
    """The shape of the value of `var` as text: '[n, 8, 8, n]' is written '[batch, 8, 8, n]'."""
    return "[" + ", ".join(["batch", *map(str, var.positions), str(var.channels)]) + "]"


def is_gaussian(var: Var) -> bool:
    """Are the coordinates of `var` jointly Gaussian in the limit, so that an activation may follow?"""
    if isinstance(var.op, Input):
        return var.op.gaussian
    if isinstance(var.op, Repeat):
        return is_gaussian(var.op.body.output)
    if isinstance(var.op, (Nonlin, Product, Dropout, DepthwiseConv, BatchNorm)):
        return False
    if isinstance(var.op, (Normalize, Attend)):  # one scale or weight for all channels, which must be of one kind
        return is_gaussian(var.args[0]) and not isinstance(var.args[0].op, (Flatten, Concat))
    passes_through = isinstance(var.op, (LinComb, Mix, SampleMix, Flatten, Concat))
    return not passes_through or all(is_gaussian(arg) for arg in var.args)


def below_structure(build: Callable[..., Var], *args: Var) -> Var:
    """Apply `build` to each block of channels, so that Flatten and Concat stay outermost.

    The channels of a flattened or concatenated variable are not exchangeable; those of its blocks are.
    """
    kinds = {type(arg.op) for arg in args}
    if not kinds & {Flatten, Concat}:
        return build(*args)
    if len(kinds) > 1 or len({len(arg.args) for arg in args}) > 1:
        raise ValueError(
            f"cannot combine {' with '.join(map(str, args))}: their channels are laid out differently; "
            "put a dense layer after the flatten or concatenate first."
        )
    blocks = [below_structure(build, *parts) for parts in zip(*(arg.args for arg in args), strict=True)]
    return flatten(blocks[0]) if Flatten in kinds else concatenate(*blocks)


def linear_combination(coeffs: Sequence[Any], args: Sequence[Var]) -> Var:
    """sum_i coeffs[i] args[i], of variables of one shape."""
    for other in args[1:]:
        _check_same_shape("sum", args[0], other)

    def build(*parts: Var) -> Var:
        return Var(LinComb(tuple(coeffs)), parts, parts[0].positions, parts[0].channels)

    return below_structure(build, *args)


def product(x: Var, y: Var) -> Var:
    """The coordinatewise product x y; where their coordinates are dependent, a reading may refuse it."""
    _check_same_shape("product", x, y)
    return below_structure(lambda a, b: Var(Product(), (a, b), a.positions, a.channels), x, y)


def flatten(x: Var) -> Var:
    """Positions become channels."""
    copies = 1
    for size in x.positions:
        copies *= size
    return Var(Flatten(), (x,), (), x.channels.times(copies))


def concatenate(*args: Var) -> Var:
    """The channels of all `args`, side by side, at equal positions."""
    if len({arg.positions for arg in args}) > 1:
        raise ValueError(
            f"concatenate joins channels at equal positions, but was given {', '.join(map(str, args))}: "
            "pool, select or flatten first so that the positions agree."
        )
    channels = sum((arg.channels for arg in args[1:]), args[0].channels)
    return Var(Concat(), args, args[0].positions, channels)


def _check_same_shape(what: str, x: Var, y: Var) -> None:
    for arg in (x, y):
        if not isinstance(arg, Var):
            raise TypeError(f"a {what} needs variables, but was given {arg!r}: write scale * variable for a number.")
    if x.positions != y.positions:
        raise ValueError(
            f"a {what} needs equal positions, but was given {x} and {y}: "
            "pool, select or flatten one of them, or use the same input for both branches."
        )
    if x.channels != y.channels:
        raise ValueError(
            f"a {what} needs equally many channels, but was given {x} and {y}: "
            "give both dense layers the same width, or put a dense layer on one branch."
        )
