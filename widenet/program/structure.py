"""What two programs share if compiled code can serve both: everything but their numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import jax
import numpy as np

from widenet.program.ops import Op, Weight
from widenet.program.trace import Program
from widenet.program.var import Var

NUMBERS = ("sigma_w", "sigma_b", "sigma_qk", "coeffs")  # fields whose values are arguments of compiled code


class Structure:
    """A program up to its scales and the parameters of its activations; equal structures are equal keys."""

    def __init__(self, program: Program) -> None:
        self.template = program
        self.key = _key(program, {})

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self.key == other.key

    def program(self, numbers: Sequence[Any]) -> Program:
        """The program with these numbers."""
        return _filled(self.template, iter(numbers))


def numbers_of(program: Program) -> list[Any]:
    """The numbers of a program, in the order in which `Structure.program` takes them."""
    return [number for op, name in _slots(program) for number in _split(name, getattr(op, name))[0]]


def _slots(program: Program) -> Iterator[tuple[Op, str]]:
    """The fields that hold numbers, those of a block after those of what repeats it."""
    for var in program.variables:
        for field in fields(var.op):  # type: ignore[arg-type]
            if field.name == "body":
                yield from _slots(getattr(var.op, field.name))
            elif field.name in (*NUMBERS, "phi"):
                yield var.op, field.name


def _split(name: str, value: Any) -> tuple[list[Any], Any]:
    """The numbers in a field, and what is left: a zero is no number, but says that there is no bias."""
    if name == "phi":
        return jax.tree.flatten(value)
    parts = value if isinstance(value, tuple) else (value,)
    zeros = tuple(isinstance(part, (int, float)) and part == 0 for part in parts)
    return [part for part, zero in zip(parts, zeros, strict=True) if not zero], (isinstance(value, tuple), zeros)


def _joined(name: str, shape: Any, numbers: Iterator[Any]) -> Any:
    """The inverse of `_split`."""
    if name == "phi":
        return jax.tree.unflatten(shape, [next(numbers) for _ in range(shape.num_leaves)])
    is_tuple, zeros = shape
    parts = tuple(0.0 if zero else next(numbers) for zero in zeros)
    return parts if is_tuple else parts[0]


def _filled(program: Program, numbers: Iterator[Any]) -> Program:
    new: dict[Var, Var] = {}
    for var in program.variables:
        changed: dict[str, Any] = {}
        for field in fields(var.op):  # type: ignore[arg-type]
            value = getattr(var.op, field.name)
            if field.name == "body":
                changed["body"] = _filled(value, numbers)
            elif field.name in (*NUMBERS, "phi"):
                changed[field.name] = _joined(field.name, _split(field.name, value)[1], numbers)
        op = replace(var.op, **changed) if changed else var.op  # type: ignore[type-var]
        new[var] = Var(op, tuple(new[arg] for arg in var.args), var.positions, var.channels)
    return Program(new[program.input], new[program.output])


def _key(program: Program, weights: dict[Weight, int]) -> tuple[Any, ...]:
    index = program.index
    return tuple(
        (type(var.op), *_static(var.op, weights), tuple(index[arg] for arg in var.args), var.positions, var.channels)
        for var in program.variables
    )


def _static(op: Op, weights: dict[Weight, int]) -> Iterator[Any]:
    for field in fields(op):  # type: ignore[arg-type]
        value = getattr(op, field.name)
        if field.name == "body":
            yield _key(value, weights)
        elif field.name in (*NUMBERS, "phi"):
            yield _split(field.name, value)[1]
        elif isinstance(value, Weight):
            yield weights.setdefault(value, len(weights)), value.width
        elif field.name != "block":
            yield _content(value)


def _content(value: Any) -> Any:
    """A value that is compared by what it holds."""
    if isinstance(value, tuple):
        return tuple(map(_content, value))
    if hasattr(value, "tocsr"):
        matrix = value.tocsr()
        return ("sparse", matrix.shape, *map(_content, (matrix.data, matrix.indices, matrix.indptr)))
    if isinstance(value, (np.ndarray, jax.Array)):
        array = np.ascontiguousarray(value)
        return array.shape, array.dtype.str, hashlib.blake2b(array.tobytes()).digest()
    return value
