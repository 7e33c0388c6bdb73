"""What a program computes, as a short text: equal for equal networks, in every process and on every machine."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import singledispatchmethod
from typing import Any

import jax
import numpy as np

from widenet import checks
from widenet.precision import float64
from widenet.program.ops import Nonlin, Op, Repeat, Weight
from widenet.program.trace import Program

DIGITS = 32  # hexadecimal: two networks collide by chance once in 10^19
STABLE = ("widenet.", "jax.")  # packages whose functions are known by their names
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(program: Program) -> str:
    """A hash of the operations of `program`, their parameters, and the shapes of its variables.

    Names do not count, and which layers share a weight does.  A function of the user counts by the operations that
    jax traces, so an edit of its body is seen, and so is another version of jax.
    Raises: TypeError for parameters that are traced, or of a kind that has no stable text.
    """
    text = "\n".join(_Writer().program(program))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


class _Writer:
    """Texts of the parts of a program; weights are numbered by their first use."""

    def __init__(self) -> None:
        self.numbers: dict[Weight, int] = {}

    def program(self, program: Program) -> Iterator[str]:
        for var in program.variables:
            args = ",".join(str(program.index[arg]) for arg in var.args)
            yield f"{self.text(var.op)} of {args}: {var.positions} {var.channels}"

    @singledispatchmethod
    def text(self, part: Any) -> str:
        """The content of a part, such that different ones differ."""
        if part is None or isinstance(part, (bool, str)):
            return repr(part)
        if is_dataclass(part):
            return self.record(part)
        if hasattr(part, "tocoo"):  # scipy.sparse
            part = part.tocoo()
            return "sparse" + self.text((part.shape, part.row, part.col, part.data))
        if checks.is_traced(part):
            raise TypeError("a network with traced parameters has no fingerprint: take it outside of jit and grad.")
        array = np.asarray(part)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"no fingerprint of {part!r}, of type {type(part).__name__}: use numbers and arrays.")
        return _array(array)

    def record(self, part: Any) -> str:
        own = ((field.name, getattr(part, field.name)) for field in fields(part))
        return f"{type(part).__name__}({', '.join(f'{name}={self.text(value)}' for name, value in own)})"

    @text.register
    def _(self, part: tuple) -> str:
        return f"({', '.join(map(self.text, part))})"

    @text.register
    def _(self, part: Op) -> str:
        return self.record(part)

    @text.register
    def _(self, part: Repeat) -> str:
        return f"repeat {part.times} of [{'; '.join(self.program(part.body))}]"

    @text.register
    def _(self, part: Weight) -> str:
        return f"W{self.numbers.setdefault(part, len(self.numbers))}[{part.width}]"

    @text.register
    def _(self, part: Nonlin) -> str:
        phi = part.phi  # fn says what it is; its closed form and its mean are facts about fn
        return f"{_function(phi)} {self.text((phi.params, phi.breakpoints, phi.continuous))}"


def _array(array: np.ndarray) -> str:
    wide = np.ascontiguousarray(array, np.float64)  # 1 and 1.0 are one number
    if not array.ndim:
        return float(array).hex()
    return f"{array.shape} {hashlib.sha256(wide.tobytes()).hexdigest()}"


def _function(phi: Any) -> str:
    """The name of a library's function, or the operations of the user's."""
    home, name = getattr(phi.fn, "__module__", ""), getattr(phi.fn, "__qualname__", "<")
    if f"{home}.".startswith(STABLE) and "<" not in name:
        return f"{home}.{name}"
    with float64():
        number = jax.ShapeDtypeStruct((), np.float64)
        traced = jax.make_jaxpr(phi.fn)(number, *(number for _ in phi.params))
    return ADDRESS.sub("", str(traced)) + "".join(_array(np.asarray(value)) for value in traced.consts)
