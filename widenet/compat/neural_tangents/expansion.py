"""Taylor expansions of a function in its parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from widenet.finite.expansion import taylor

ApplyFn = Callable[..., Any]


def linearize(f: ApplyFn, params: Any) -> ApplyFn:
    """The first-order expansion of f(params, *args, **kwargs) around `params`: `f_lin(new_params, *args, **kwargs)`."""
    return taylor_expand(f, params, 1)


def taylor_expand(f: ApplyFn, params: Any, degree: int) -> ApplyFn:
    """The expansion of f(params, *args, **kwargs) around `params` to order `degree`.

    f may give any tree of arrays.  Integer leaves of the parameters stay what they are.
    """

    def f_k(p: Any, *args: Any, **kwargs: Any) -> Any:
        return taylor(lambda q, _: f(q, *args, **kwargs), params, degree)(p, None)

    return f_k
