"""What a parametrization gives the parameters of a program; its channels say what is infinite, without a base model."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import jax

from widenet.finite.branches import branches_of
from widenet.finite.parameters import Params, names, shapes_of, uses_by_owner, whole_width
from widenet.parametrizations.conventions import Axes, Convention
from widenet.parametrizations.factors import Decay, Factors, factors
from widenet.parametrizations.infer import compare
from widenet.parametrizations.optimizers import Optimizer, adam
from widenet.parametrizations.parametrization import NATIVE, Parametrization, a_parametrization, mup
from widenet.parametrizations.specs import Specs
from widenet.parametrizations.trees import Shapes, mapped, path_of
from widenet.program.ops import DepthwiseConv, Heads, LocalConv, Op, Repeat
from widenet.program.trace import Net, Program, trace


def specs(
    net: Net,
    shape: Sequence[int],
    width: int = 512,
    *,
    parametrization: Parametrization = mup,
    optimizer: Optimizer | Mapping[str, Optimizer] = adam,
    base_width: int = 1,
    base_depth: int = 1,
    decay: Decay | str = Decay.PRODUCT_CONST,
) -> Factors:
    """Initialization, multiplier, learning rate, weight decay and epsilon of every parameter of `net`. (U5)

    Relative to the network of width `base_width` in the NTK parametrization: parameters standard normal, multipliers
    sigma_w / sqrt(fan_in), which `apply` has in it; other parametrizations are moved to these multipliers.  Residual
    branches and their number are read from the program; scale them by `branch_scale(blocks, ...)` yourself.

    shape: that of the data.  optimizer: one, or one for each role.  base_depth: branches of the base network.
    The result prints as a table; `.specs` are shapes and roles, `widenet.parametrizations.parametrized(core, result,
    learning_rate)` is the optimizer.
    Raises: ValueError for a width or depth below one.

    >>> import widenet as wn
    >>> net = wn.serial(wn.dense(), wn.relu, wn.dense(), wn.relu, wn.dense(width=1))
    >>> made = wn.specs(net, (1, 8), width=64)
    >>> {path: (factor.init, factor.rate) for path, factor in made.by_path.items()}
    {'dense1/w': (1.0, 1.0), 'dense2/w': (1.0, 0.125), 'dense3/w': (0.125, 0.125)}
    """
    if base_depth < 1:
        raise ValueError(f"base_depth is the number of branches of the base network, 1 or more; got {base_depth}.")
    found = specs_of(trace(net, shape), whole_width(width), whole_width(base_width), base_depth)
    return factors(found, a_parametrization(parametrization).to_form(NATIVE), optimizer, decay=decay)


def specs_of(program: Program, width: int, base_width: int, base_depth: int) -> Specs:
    """The parameters of a program at `width` beside those at `base_width`."""
    words = {}
    for path, ndim in ((path, len(shape)) for path, shape in _shapes(program, width).items()):
        words[path] = _words(program, path.split("/"), ndim)
    rules = tuple((f"^{re.escape(path)}$", axes) for path, axes in words.items())
    owners, blocks = branches_of(program)
    called = names(program)
    inside = "|".join(f"^{re.escape(called[owner])}/" for owner in owners)
    return compare(
        _shapes(program, base_width),
        _shapes(program, width),
        _shapes(program, 2 * base_width),
        convention=Convention("widenet", last_out=True, rules=rules),
        branches=inside or None,
        depths=(blocks, base_depth) if inside else (None, None),
    )


def _shapes(program: Program, width: int) -> Shapes:
    tree = shapes_of(program, width)
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda node: isinstance(node, tuple))
    return {path_of(keys): tuple(shape) for keys, shape in leaves}


def _words(program: Program, path: list[str], ndim: int) -> Axes:
    """What the axes of the array at `path` are."""
    called = {name: owner for owner, name in names(program).items()}
    op = uses_by_owner(program)[called[path[0]]][0].op
    if isinstance(op, Repeat):
        return ("stack", *_words(op.body, path[1:], ndim - 1))
    return _words_of(op, path[-1], ndim)


def _words_of(op: Op, name: str, ndim: int) -> Axes:
    if name == "b" or isinstance(op, DepthwiseConv):
        return (*("tap",) * (ndim - 1), "out")
    if isinstance(op, Heads):
        return ("stack", "in", "out")
    places = ("stack",) if isinstance(op, LocalConv) else ()
    return (*places, *("tap",) * (ndim - 2 - len(places)), "in", "out")


def initialized(
    program: Program, params: Params, width: int, parametrization: Parametrization, base_width: int
) -> Params:
    """Standard normal parameters at the standard deviations of a parametrization."""
    found = specs_of(program, width, base_width, 1)
    made = factors(found, parametrization.to_form(NATIVE), adam).column("init")
    return mapped(lambda path, leaf: leaf if made[path] == 1 else leaf * made[path], params)
