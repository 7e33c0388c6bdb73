"""What a compiled computation holds, for tests that would otherwise measure time or memory."""

from __future__ import annotations

import jax


def arrays_held(f, *args):
    """The shapes of all arrays that f makes of its arguments, inside of every loop and call."""
    return _made(jax.make_jaxpr(f)(*args).jaxpr)


def _made(jaxpr):
    for equation in jaxpr.eqns:
        yield from (var.aval.shape for var in equation.outvars)
        for part in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(part, "jaxpr", part)
            if hasattr(inner, "eqns"):
                yield from _made(inner)
