"""Which positions a kernel is computed for: all pairs, or equal ones only.  The peer's small algebra of requests."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any


class Bool(enum.IntEnum):
    """No, maybe, yes; `&` is the smaller one."""

    NO = 0
    MAYBE = 1
    YES = 2

    def __and__(self, other: Any) -> Bool:
        return Bool(min(int(self), int(other)))

    __rand__ = __and__


@dataclass(frozen=True)
class Diagonal:
    """May a layer be given equal positions only (`input`), and is that all that is left after it (`output`)?

    `a & b` is for branches side by side, `a >> b` for b after a.  Here only the layout of an output that still has
    positions depends on it: inside a network the kernel reading finds by itself which pairs are needed.
    """

    input: Bool = Bool.YES
    output: Bool = Bool.NO

    def __rshift__(self, after: Diagonal) -> Diagonal:
        if self.output == Bool.YES:
            return self
        if self.output > Bool.NO and after.input > Bool.NO:
            allowed = self.input
        elif self.output == Bool.NO and after.input < Bool.YES:
            allowed = Bool.NO
        else:
            allowed = Bool(min(self.input, after.input))
        return Diagonal(allowed, after.output)

    def __lshift__(self, before: Diagonal) -> Diagonal:
        return before >> self

    def __and__(self, other: Diagonal) -> Diagonal:
        return Diagonal(self.input & other.input, self.output & other.output)

    __rand__ = __and__

    def __bool__(self) -> bool:
        return self.input == Bool.YES and self.output > Bool.NO
