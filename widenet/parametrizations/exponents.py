"""Powers of width, one for each kind of weight matrix."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

Power = Fraction | float  # float: infinite only


class Exponents(NamedTuple):
    """Exact exponents of the width n: of the input layer, hidden layers and the readout."""

    input: Power
    hidden: Power
    output: Power

    def plus(self, other: Exponents) -> Exponents:
        """Role by role."""
        return Exponents(*(x + y for x, y in zip(self, other, strict=True)))

    def times(self, factor: Power) -> Exponents:
        """Each times the same factor; 0 times anything is 0."""
        return Exponents(*(factor * x if x else x for x in self))

    def __str__(self) -> str:
        """As (-1/2, 0, 1/2)."""
        return f"({', '.join(map(str, self))})"


ZERO = Exponents(Fraction(0), Fraction(0), Fraction(0))


def exponents(values: Iterable[float | Fraction | str] | float | str | Fraction, name: str = "exponents") -> Exponents:
    """Exact exponents of three numbers (input, hidden, output), or of one for all; "1/2" and 0.5 are 1/2.

    Raises: ValueError for anything else.
    """
    given = (values,) * 3 if isinstance(values, (int, float, str, Fraction)) else tuple(values)
    if len(given) != 3:
        raise ValueError(f"{name} are three numbers, for input, hidden and output layers; got {given!r}.")
    return Exponents(*(power(value, name) for value in given))


def power(value: float | Fraction | str, name: str = "an exponent") -> Power:
    """One exact exponent; a float becomes the fraction that it is within 1e-9, infinity stays.

    Raises: ValueError if it is no number.
    """
    try:
        if isinstance(value, float) and math.isinf(value):
            return value
        return Fraction(value).limit_denominator(10**6) if isinstance(value, float) else Fraction(value)
    except (ValueError, TypeError, OverflowError) as error:
        raise ValueError(f"{name}: {value!r} is not a number, such as 1, 0.5 or '1/2'.") from error
