"""Which axes of an array are fan-in and fan-out, by the habits of frameworks."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax

from widenet.parametrizations.leaf import WORDS
from widenet.parametrizations.trees import Shapes, path_of

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
_WINDOWS = [("tap",) * axes for axes in (1, 2, 3)]

HAIKU = Convention("haiku", last_out=True, rules=tuple((r"transpose[^/]*/w$", (*w, "out", "in")) for w in _WINDOWS))
EQUINOX = Convention(
    "equinox", last_out=False, rules=(*((r"bias$", ("out", *window)) for window in _WINDOWS), *_EMBEDDING)
)
TORCH = Convention("torch", last_out=False, rules=_EMBEDDING)
WIDENET = Convention("widenet", last_out=True, rules=((r"/(query|key|value|out)$", ("stack", "in", "out")),))
CONVENTIONS = {convention.name: convention for convention in (FLAX, HAIKU, EQUINOX, TORCH, WIDENET)}


def check_rules(axes: Mapping[str, str], shapes: Shapes, stacked: str | None = None) -> None:
    """Raises: ValueError for a rule of one's own that fits no parameter, in its pattern or in its number of axes."""
    for pattern, words in axes.items():
        found = {path: shape for path, shape in shapes.items() if re.search(pattern, path)}
        if not found:
            raise ValueError(f"axes={{{pattern!r}: ...}} fits no parameter; there are {', '.join(shapes)}.")
        sizes = [len(s) - (stacked is not None and bool(re.search(stacked, path))) for path, s in found.items()]
        if len(words.split()) not in sizes:
            path, shape = next(iter(found.items()))
            raise ValueError(
                f"axes={{{pattern!r}: {words!r}}} has {len(words.split())} words, but {path!r} is {shape}: give a word "
                "for every axis, but for the first of what stacked= names."
            )


def with_modules(convention: Convention, model: Any) -> Convention:
    """The convention with rules for the embeddings and linear layers of equinox in `model`, whatever their names."""
    eqx = sys.modules.get("equinox")
    if eqx is None:
        return convention
    kinds = ((eqx.nn.Embedding, ("in", "out")), (eqx.nn.Linear, ("out", "in")))
    layers = tuple(kind for kind, _ in kinds)
    nodes = jax.tree_util.tree_leaves_with_path(model, is_leaf=lambda node: isinstance(node, layers))
    found = [
        (f"^{re.escape('/'.join((path_of(keys), 'weight')).removeprefix('/'))}$", axes)
        for keys, node in nodes
        for kind, axes in kinds
        if isinstance(node, kind)
    ]
    return Convention(convention.name, convention.last_out, (*found, *convention.rules))


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
