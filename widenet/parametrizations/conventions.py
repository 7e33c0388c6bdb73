"""Which axes of an array are fan-in and fan-out, by the habits of frameworks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from widenet.parametrizations.leaf import WORDS

Axes = tuple[str, ...]


@dataclass(frozen=True)
class Convention:
    """rules: (pattern of paths, axes), the first that fits in pattern and number of axes; else matrices by `last_out`.

    last_out: are kernels [*window, in, out], as in flax and haiku, or [out, in, *window], as in torch and equinox?
    """

    name: str
    last_out: bool
    rules: tuple[tuple[str, Axes], ...] = ()

    def axes(self, path: str, ndim: int) -> Axes:
        """What the axes of the array at `path` are."""
        for pattern, axes in self.rules:
            if len(axes) == ndim and re.search(pattern, path):
                return axes
        if ndim < 2:
            return ("out",) * ndim
        taps = ("tap",) * (ndim - 2)
        return (*taps, "in", "out") if self.last_out else ("out", "in", *taps)


_ATTENTION = (
    (r"(query|key|value)/kernel$", ("in", "out", "out")),  # [d, heads, d of a head]
    (r"(query|key|value)/bias$", ("out", "out")),
    (r"out/kernel$", ("in", "in", "out")),
)
_EMBEDDING = ((r"(emb|wte|wpe)[^/]*(/weight)?$", ("in", "out")),)

FLAX = Convention("flax", last_out=True, rules=_ATTENTION)
HAIKU = Convention("haiku", last_out=True)
EQUINOX = Convention("equinox", last_out=False, rules=_EMBEDDING)
TORCH = Convention("torch", last_out=False, rules=_EMBEDDING)
WIDENET = Convention("widenet", last_out=True, rules=((r"/(query|key|value|out)$", ("stack", "in", "out")),))
CONVENTIONS = {convention.name: convention for convention in (FLAX, HAIKU, EQUINOX, TORCH, WIDENET)}


def convention_of(convention: str | Convention, axes: Mapping[str, str] | None = None) -> Convention:
    """A convention by name, with rules of one's own before its rules: {"pattern of paths": "in out"}.

    Raises: ValueError for an unknown name or word.
    """
    if isinstance(convention, str):
        if convention not in CONVENTIONS:
            raise ValueError(f"conventions are {', '.join(CONVENTIONS)}; got {convention!r}. Or make a Convention.")
        convention = CONVENTIONS[convention]
    own = []
    for pattern, words in (axes or {}).items():
        named = tuple(words.split())
        if set(named) - set(WORDS):
            raise ValueError(f"axes of {pattern!r}: {words!r} has words other than {', '.join(WORDS)}.")
        own.append((pattern, named))
    return Convention(convention.name, convention.last_out, (*own, *convention.rules))
