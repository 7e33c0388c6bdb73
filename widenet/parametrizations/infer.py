"""Specs of any model, from shapes alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from widenet.parametrizations.conventions import Convention, check_rules, convention_of, with_modules
from widenet.parametrizations.leaf import Leaf
from widenet.parametrizations.specs import Specs
from widenet.parametrizations.trees import Shapes, evaluated, shapes_of

REMEDY = "Give delta=, a third model that differs from base in every width."


def infer(
    base: Any,
    target: Any,
    delta: Any = None,
    *,
    convention: str | Convention = "flax",
    axes: Mapping[str, str] | None = None,
    stacked: str | None = None,
    branches: str | None = None,
    depth: int | None = None,
    base_depth: int | None = None,
    block_depth: int = 1,
    tied: str | None = None,
) -> Specs:
    """What the parameters of `target` are, by comparing shapes with those of a smaller model of the same architecture.

    base, target, delta: pytrees of parameters or shapes, or functions without arguments that return one, of which only
    shapes are computed.  An axis is infinite where base and delta differ, or base and target if there is no delta.
    convention: "flax", "haiku" (kernels [*window, in, out]), "equinox" or "torch" ([out, in, *window]), or one's own.
    axes: rules for exceptions, {"pattern of paths": "in out"}, words "in", "out", "tap" and "stack".
    stacked: pattern of the paths of parameters that are stacked along a leading axis, one a layer (`scan`).
    branches: pattern of the paths inside of residual branches; depth, base_depth: how many blocks there are.
    block_depth: weight matrices in a branch.  tied: pattern of the paths that are embedding and readout at once.
    Raises: ValueError if the models have different parameters, if no axis is infinite, or if an axis is ambiguous.
    Source: yang2022, appendix B (base shapes).
    """
    wide = evaluated(target)
    shapes = shapes_of(wide)
    check_rules(axes or {}, shapes, stacked)
    known = with_modules(convention_of(convention), wide)
    return compare(
        shapes_of(base),
        shapes,
        None if delta is None else shapes_of(delta),
        convention=convention_of(known, axes),
        stacked=stacked,
        branches=branches,
        depths=(depth, base_depth),
        block_depth=block_depth,
        tied=tied,
    )


def compare(
    base: Shapes,
    target: Shapes,
    delta: Shapes | None,
    *,
    convention: Convention,
    stacked: str | None = None,
    branches: str | None = None,
    depths: tuple[int | None, int | None] = (None, None),
    block_depth: int = 1,
    tied: str | None = None,
) -> Specs:
    """`infer` of shapes by path."""
    other = target if delta is None else delta
    if not base:
        raise ValueError("base has no parameters, which are arrays of floats: give the tree of parameters.")
    _same_parameters(base, target, "target")
    _same_parameters(base, other, "delta")
    if base == other:
        which = "target" if delta is None else "delta"
        raise ValueError(f"base and {which} have the same shapes, which leaves no width to see. {REMEDY}")
    patterns = {"stacked": stacked, "branches": branches, "tied": tied}
    for name, pattern in patterns.items():
        if pattern is not None and not any(re.search(pattern, path) for path in base):
            raise ValueError(f"{name}={pattern!r} fits no parameter; there are {', '.join(base)}.")
    leaves = {}
    for path, shape in target.items():
        fits = {name: pattern is not None and bool(re.search(pattern, path)) for name, pattern in patterns.items()}
        words = convention.axes(path, len(shape) - fits["stacked"])
        words = ("stack", *words) if fits["stacked"] else words
        infinite = _infinite(path, words, base[path], shape, other[path], exact=delta is not None)
        leaves[path] = Leaf(path, shape, base[path], words, infinite, fits["branches"], fits["tied"])
    return Specs(leaves, _depth(leaves, depths, branches), block_depth)


def _same_parameters(base: Shapes, other: Shapes, name: str) -> None:
    apart = sorted(set(base) ^ set(other))
    if apart:
        where = "base" if apart[0] in base else name
        raise ValueError(
            f"only {where} has {apart[0]!r}{f' and {len(apart) - 1} more differ' if len(apart) > 1 else ''}: base and "
            f"{name} must be one architecture at two widths, as deep as each other, or with stacked layers (stacked=)."
        )
    for path, shape in base.items():
        if 0 in (*shape, *other[path]):
            raise ValueError(f"{path!r} is empty: {shape} in base and {other[path]} in {name}.")
        if len(shape) != len(other[path]):
            raise ValueError(f"{path!r} has {len(shape)} axes in base and {len(other[path])} in {name}.")


def _infinite(
    path: str,
    words: tuple[str, ...],
    base: tuple[int, ...],
    target: tuple[int, ...],
    other: tuple[int, ...],
    exact: bool,
) -> tuple[bool, ...]:
    """Which axes grow with width."""
    found = []
    for axis, (word, then, now, probe) in enumerate(zip(words, base, target, other, strict=True)):
        grows = then != probe and word != "stack"
        if grows and word == "tap":
            raise ValueError(
                f"axis {axis} of {path!r} {base} changes, but is neither its fan-in nor its fan-out: if layers are "
                f"stacked there give stacked=, else say what its axes are, axes={{{path!r}: 'in out ...'}}."
            )
        if exact and not grows and word != "stack" and then != now:
            raise ValueError(
                f"axis {axis} of {path!r} is {then} in base and delta but {now} in target: is it a width?  Make it "
                "differ in delta if so, else make it the same in base and target."
            )
        found.append(grows)
    return tuple(found)


def _depth(leaves: Mapping[str, Leaf], depths: tuple[int | None, int | None], branches: str | None) -> float:
    """Blocks over those of the base model: as given, or as stacked."""
    depth, base_depth = depths
    if (depth is None) != (base_depth is None):
        raise ValueError("give depth= and base_depth= together: the numbers of blocks of target and base.")
    stacks = {(leaf.shape[0], leaf.base[0]) for leaf in leaves.values() if leaf.branch and leaf.axes[:1] == ("stack",)}
    if depth is not None and base_depth is not None:
        if min(depth, base_depth) < 1:
            raise ValueError(f"depth= and base_depth= are numbers of blocks, 1 or more; got {depth} and {base_depth}.")
        if branches is None:
            raise ValueError(
                "depth= changes what is inside of residual branches: give branches=, a pattern of their paths."
            )
        return depth / base_depth
    if len(stacks) > 1:
        raise ValueError(f"stacked branches have different depths, {sorted(stacks)}: give depth= and base_depth=.")
    return next((now / then for now, then in stacks), 1.0)
