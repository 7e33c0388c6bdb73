"""Layers: functions that build programs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from widenet.program.trace import Net
from widenet.program.var import Var


def layer(build: Callable[..., Var]) -> Callable[..., Any]:
    """Let `build(x, ...)` also be called without its variable, to give a layer that awaits one.

    `dense(x, 1.5)` is a variable; `dense(sigma_w=1.5)` is a function of a variable, for `serial`.
    """

    @wraps(build)
    def call(*args: Any, **options: Any) -> Any:
        if args and isinstance(args[0], Var):
            return build(*args, **options)

        def awaiting(x: Var) -> Var:
            return build(x, *args, **options)

        return awaiting

    return call


def serial(*layers: Net) -> Net:
    """The composition of `layers`, first to last; `bind` and `add` in it make skip connections.

    >>> import widenet as wn
    >>> block = [wn.bind("h"), wn.relu, wn.dense(sigma_w=1.4), wn.add("h")]
    >>> net = wn.serial(wn.dense(), *block, wn.relu, wn.dense())
    """

    def net(x: Var) -> Var:
        bound: dict[str, Var] = {}
        for step in layers:
            x = step(x, bound) if isinstance(step, (bind, add)) else step(x)
        return x

    return net


class bind:
    """A layer of `serial` that gives the variable at this point a name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, x: Var, bound: dict[str, Var]) -> Var:
        """Bind `x` to the name and pass it on."""
        bound[self.name] = x
        return x


class add:
    """A layer of `serial` that adds `scale` times the variable bound to `name`."""

    def __init__(self, name: str, scale: Any = 1.0) -> None:
        self.name, self.scale = name, scale

    def __call__(self, x: Var, bound: dict[str, Var]) -> Var:
        """Add the bound variable to `x`."""
        if self.name not in bound:
            known = ", ".join(map(repr, bound)) or "no names"
            raise ValueError(
                f"add({self.name!r}) after {x}: that name was never bound here ({known} are); "
                f"put bind({self.name!r}) earlier in the same serial."
            )
        return x + self.scale * bound[self.name]
