"""From the description of a layer to `(init_fn, apply_fn, kernel_fn)`, and back."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from widenet.compat.neural_tangents.stax.diagonal import Diagonal
from widenet.compat.neural_tangents.stax.finite import apply_of, init_of
from widenet.compat.neural_tangents.stax.infinite import kernel_of
from widenet.compat.neural_tangents.stax.node import Axes, Context, Layer, Node, check_axes, on_nodes, remasked

Triple = tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]


def triple(layer: Layer) -> Triple:
    """The three functions of a layer; each knows the layer that it was made from."""
    made = init_of(layer), apply_of(layer), kernel_of(layer)
    for function in made:
        function.__name__ = layer.name
        function.layer = layer  # type: ignore[attr-defined]
    return made


def layer_of(functions: Any) -> Layer:
    """The description that a triple was made from.

    Raises: NotImplementedError for a triple of somebody else, which cannot be composed.
    """
    layer = getattr(functions[2], "layer", None) if type(functions) in (tuple, list) and len(functions) == 3 else None
    if layer is None:
        raise NotImplementedError(
            "this layer is not made by widenet.compat.neural_tangents, whose layers compose networks and not kernels: "
            "write it as a function of a widenet variable and give that to stax.from_net, or use monte_carlo_kernel_fn."
        )
    return layer


def simple(
    name: str,
    build: Callable[[Node, Context], Node],
    *,
    axes: Axes | None = None,
    diagonal: Diagonal | None = None,
    remask: bool = False,
    hidden: int = 1,
    any_channel: bool = False,
) -> Triple:
    """The triple of a layer of one input.

    remask: does it fill masked positions, so that they must be set to zero again?  any_channel: may any axis be that of
    the channels?
    """

    def checked(node: Node, context: Context) -> Node:
        check_axes(name, node, axes, any_channel)
        made = build(node, context)
        return remasked(made, context) if remask else made

    return triple(Layer(name, on_nodes(checked), axes, diagonal, hidden=hidden))


def from_net(net: Callable[[Any], Any], out_dim: int | None = None, *, name: str = "from_net") -> Triple:
    """A widenet architecture, a function of one variable, as a layer (not in the peer).

    out_dim: how many channels it gives; None if they are as many as it is given.  Hidden widths of its finite network
    are those of its own `width=` and `Weight`.

    >>> import numpy as np, widenet as wn
    >>> from widenet.compat.neural_tangents import stax
    >>> swish = stax.from_net(wn.silu)
    >>> _, _, kernel_fn = stax.serial(stax.Dense(64), swish, stax.Dense(1))
    >>> kernel_fn(np.eye(2), get="nngp").shape
    (2, 2)
    """

    def build(node: Node, context: Context) -> Node:
        return node.after(net(node.var), channels=node.channels if out_dim is None else out_dim)

    return simple(name, build)


def named(make: Callable[..., Triple]) -> Callable[..., Triple]:
    """Name the functions of a layer after the function that makes it."""

    @wraps(make)
    def made(*args: Any, **options: Any) -> Triple:
        functions = make(*args, **options)
        for function in functions:
            function.__name__ = make.__name__
        return functions

    return made
