"""How far one step of an optimizer moves the outputs, by groups of parameters such as those of a transformer. (U7)"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from widenet.parametrizations.exponents import Power
from widenet.parametrizations.leaf import Role
from widenet.parametrizations.optimizers import Optimizer, adamw, sgd
from widenet.parametrizations.parametrization import Parametrization, ntp
from widenet.parametrizations.trees import parameters

GROUPS: Mapping[str, Role] = MappingProxyType(
    {
        "embedding": Role.INPUT,
        "positions": Role.INPUT,
        "query": Role.HIDDEN,
        "key": Role.HIDDEN,
        "value": Role.HIDDEN,
        "out": Role.HIDDEN,
        "up": Role.HIDDEN,
        "down": Role.HIDDEN,
        "norm": Role.VECTOR,
        "bias": Role.VECTOR,
        "head": Role.OUTPUT,
    }
)


def lr_exponents(optimizer: Optimizer = adamw, parametrization: Parametrization = ntp) -> dict[str, Power]:
    """c of the learning rates eta n^-c of the groups of a transformer of width n, without multipliers. (U7)

    In the NTK parametrization every group then moves the outputs by order one: its NTK is of order one for SGD.
    Source: dinan2023 (the rule); the numbers are those of (U3).

    >>> from widenet import parametrizations as wp
    >>> {group: str(c) for group, c in wp.lr_exponents(wp.adamw).items() if group in ("embedding", "up", "head")}
    {'embedding': '1/2', 'up': '3/2', 'head': '1'}
    """
    rates = parametrization.to_form("A").rates(optimizer)
    of_role = {Role.INPUT: rates.input, Role.VECTOR: rates.input, Role.HIDDEN: rates.hidden, Role.OUTPUT: rates.output}
    return {group: of_role[role] for group, role in GROUPS.items()}


def group_steps(
    f: Callable[[Any, Any], Any],
    params: Any,
    x: Any,
    groups: Mapping[str, str] | None = None,
    *,
    optimizer: Optimizer = sgd,
    rates: Mapping[str, float] | None = None,
) -> dict[str, float]:
    """How much of an output's first step, at learning rate 1, each group of parameters makes. (U7)

    S_G = mean_(x, o) sum_(theta in G) rate_theta |df_o(x)/dtheta|^(1 + p)

    For SGD, p = 1, it is the part of G in the trace of the NTK, over samples and outputs; for Adam and others that
    step by signs, p = 0, the change of f_o(x) by a step along its own gradient.

    f: f(params, x) with outputs `[n, ...]`, whose row i depends on x[i] only; every output costs a backward pass, so
    let f return the few that are wanted.
    groups: patterns of paths, {"head": "^head/", ...}, of which the first that fits counts; None: an array each.
    rates: of every path, such as `factors(...).column("rate")`; None for 1.
    Raises: ValueError for a parameter in no group or without rate, and for an optimizer that sees singular values.

    >>> import jax.numpy as jnp
    >>> group_steps(lambda p, x: x @ p["w"] + p["b"], {"w": jnp.ones((3, 1)), "b": jnp.zeros(1)}, jnp.ones((2, 3)))
    {'b': 1.0, 'w': 3.0}
    """
    if not (optimizer == sgd or (optimizer.entrywise and optimizer.degree == 0)):
        raise ValueError(f"a step of {optimizer} is not a sum over entries: group_steps knows SGD, and Adam and Lion.")
    chosen = _groups_of(list(parameters(params)), groups)
    if rates is not None and set(chosen) - set(rates):
        raise ValueError(f"rates has none for {', '.join(sorted(set(chosen) - set(rates)))}.")
    found = {group: 0.0 for group in ([*chosen] if groups is None else groups)}
    for path, size in _sizes(f, params, jax.tree.map(jnp.asarray, x), float(optimizer.degree)).items():
        found[chosen[path]] += float(size) * (1.0 if rates is None else rates[path])
    return found


def _groups_of(paths: list[str], groups: Mapping[str, str] | None) -> dict[str, str]:
    """The group of each path."""
    if groups is None:
        return {path: path for path in paths}
    found = {path: [name for name, pattern in groups.items() if re.search(pattern, path)] for path in paths}
    lost = [path for path, names in found.items() if not names]
    if lost:
        raise ValueError(f"no group for {', '.join(lost)}: add patterns, or a last one '' for all the rest.")
    return {path: names[0] for path, names in found.items()}


@partial(jax.jit, static_argnums=0)
def _sizes(f: Callable[[Any, Any], Any], params: Any, x: Any, p: Any) -> dict[str, Array]:
    """mean over samples and outputs of sum |df_o(x)/dtheta|^(1 + p), p = 0 or 1, of each array of floats.

    p is traced, so that all optimizers share compiled code; one gradient is held at a time.
    """
    outputs = math.prod(jax.eval_shape(f, params, x).shape[1:])

    def of_output(row: Any, index: Array) -> dict[str, Array]:
        def output(params: Any) -> Array:
            return f(params, jax.tree.map(lambda part: part[None], row)).reshape(-1)[index]

        gradient = jax.grad(output, allow_int=True)(params)
        sizes = {path: jnp.abs(leaf) for path, leaf in parameters(gradient).items()}
        return {path: jnp.sum(size * jnp.where(p == 1, size, 1)) for path, size in sizes.items()}

    def of_row(row: Any) -> dict[str, Array]:
        return jax.lax.map(partial(of_output, row), jnp.arange(outputs))

    return jax.tree.map(jnp.mean, jax.lax.map(of_row, x))
