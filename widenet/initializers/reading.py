"""Which weight multiplies what, in any function `apply(params, batch)`: read from its jaxpr, without hooks. (I13)

A weight is a floating leaf of `params` with two axes or more; a layer is where one, transposed or reshaped or times a
constant, meets data in a matrix product or a convolution.  Weights inside of `lax.scan` and `lax.while_loop`
are not seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Apply = Callable[[Any, Any], Any]

PRODUCTS = {"dot_general", "conv_general_dilated"}
RESHAPES = {
    *("transpose", "reshape", "squeeze", "expand_dims", "broadcast_in_dim", "convert_element_type"),
    *("copy", "rev", "reduce_precision", "sharding_constraint", "reshard"),
}
CALLS = {  # what is looked into, and where the function is
    **dict.fromkeys(("jit", "pjit", "checkpoint", "remat", "remat2"), "jaxpr"),
    **dict.fromkeys(("closed_call", "core_call"), "call_jaxpr"),
}
CUSTOM = dict.fromkeys(("custom_jvp_call", "custom_vjp_call"), "call_jaxpr")  # only for a weight: else the rule is kept


class Value(NamedTuple):
    """An array on its way, and what it is made of."""

    array: Any
    leaf: int | None = None  # linear in this weight, and in nothing else
    of_params: bool = False
    of_batch: bool = False
    product: int | None = None  # the product of this weight with data, times constants, that was not visited yet


@dataclass(frozen=True)
class Leaves:
    """The floating arrays of a pytree, and how to put others in their place."""

    arrays: tuple[Any, ...]
    names: tuple[str, ...]
    everything: tuple[Any, ...]
    at: tuple[int, ...]
    tree: Any

    @classmethod
    def of(cls, params: Any) -> Leaves:
        """The floating arrays of `params`.

        Raises: ValueError if there are none.
        """
        paths, tree = jax.tree_util.tree_flatten_with_path(params)
        at = tuple(i for i, (_, leaf) in enumerate(paths) if is_floating(leaf))
        if not at:
            raise ValueError("params hold no floating array: give the pytree of weights that apply takes first.")
        names = tuple(jax.tree_util.keystr(paths[i][0]) for i in at)
        everything = tuple(leaf for _, leaf in paths)
        return cls(tuple(everything[i] for i in at), names, everything, at, tree)

    def filled(self, arrays: Sequence[Any]) -> Any:
        """The pytree with other arrays."""
        leaves = list(self.everything)
        for i, array in zip(self.at, arrays, strict=True):
            leaves[i] = array
        return jax.tree.unflatten(self.tree, leaves)

    @property
    def weights(self) -> tuple[int, ...]:
        """Which of the arrays have two axes or more."""
        return tuple(i for i, array in enumerate(self.arrays) if np.ndim(array) >= 2)


def is_floating(leaf: Any) -> bool:
    """Is this leaf an array of real numbers?"""
    return hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.floating)


@dataclass(frozen=True)
class Reading:
    """A function `apply(params, batch)` as equations, with the places where weights meet data."""

    leaves: Leaves
    closed: Any
    out_tree: Any

    @classmethod
    def of(cls, apply: Apply, params: Any, batch: Any) -> Reading:
        """The equations of `apply` for arguments of these shapes."""
        leaves = Leaves.of(params)

        def on_arrays(arrays: Sequence[Any], batch: Any) -> Any:
            return apply(leaves.filled(arrays), batch)

        closed, shape = jax.make_jaxpr(on_arrays, return_shape=True)(leaves.arrays, batch)
        return cls(leaves, closed, jax.tree.structure(shape))

    def run(
        self,
        arrays: Sequence[Any],
        batch: Any,
        *,
        at_layer: Callable[[int, Array], Array] = lambda _, out: out,
        at_name: Callable[[str, Array], Array] = lambda _, value: value,
    ) -> Any:
        """The value of the function.

        `at_layer(leaf, out)` gives what is to go on for the product `out` of weight number `leaf` with data, times the
        constants that it is multiplied by, before the bias; `at_name(name, value)` for a value that
        `jax.ad_checkpoint.checkpoint_name` names.
        """
        given = [Value(a, i if np.ndim(a) >= 2 else None, of_params=True) for i, a in enumerate(arrays)]
        given += [Value(a, of_batch=True) for a in jax.tree.leaves(batch)]
        visits = _Visits(at_layer, at_name)
        outs = _evaluate(self.closed.jaxpr, self.closed.consts, given, visits)
        return jax.tree.unflatten(self.out_tree, [_visited(out, visits).array for out in outs])

    def seen(self, batch: Any) -> list[int]:
        """The weights that meet data, in order of their first use.

        Raises: ValueError if there are none.
        """
        found: list[int] = []

        def at_layer(leaf: int, out: Array) -> Array:
            found.append(leaf)
            return out

        jax.eval_shape(lambda arrays, batch: self.run(arrays, batch, at_layer=at_layer), self.leaves.arrays, batch)
        if not found:
            raise ValueError(
                "no weight was seen to meet data: apply(params, batch) must multiply leaves of params, with two axes "
                "or more, with the batch, outside of scan and while loops (unroll them for this)."
            )
        return list(dict.fromkeys(found))

    def untouched(self, seen: Sequence[int]) -> tuple[str, ...]:
        """The names of weights that were not seen."""
        return tuple(self.leaves.names[i] for i in self.leaves.weights if i not in seen)


class _Visits(NamedTuple):
    at_layer: Callable[[int, Array], Array]
    at_name: Callable[[str, Array], Array]


def _evaluate(jaxpr: Any, consts: Sequence[Any], given: Sequence[Value], visits: _Visits) -> list[Value]:
    values = dict(zip(jaxpr.constvars, map(Value, consts), strict=True))
    values.update(zip(jaxpr.invars, given, strict=True))
    uses = Counter(var for equation in jaxpr.eqns for var in equation.invars if not hasattr(var, "val"))
    uses.update(var for var in jaxpr.outvars if not hasattr(var, "val"))

    def read(var: Any) -> Value:
        return Value(var.val) if hasattr(var, "val") else values[var]

    for equation in jaxpr.eqns:
        inputs = [read(var) for var in equation.invars]
        goes_on = equation.primitive.name in _looked_into(inputs) or _is_multiple(equation.primitive.name, inputs)
        for var, value in zip(equation.invars, inputs, strict=True):
            if value.product is not None and not (goes_on and uses[var] == 1):
                values[var] = _visited(value, visits)
        made = _equation(equation, [read(var) for var in equation.invars], visits)
        values.update(zip(equation.outvars, made, strict=True))
    return [read(var) for var in jaxpr.outvars]


def _visited(value: Value, visits: _Visits) -> Value:
    if value.product is None:
        return value
    return value._replace(array=visits.at_layer(value.product, value.array), product=None)


def _looked_into(given: Sequence[Value]) -> dict[str, str]:
    return CALLS | CUSTOM if any(value.leaf is not None for value in given) else CALLS


def _equation(equation: Any, given: list[Value], visits: _Visits) -> list[Value]:
    name, calls = equation.primitive.name, _looked_into(given)
    if name in calls:
        inner = equation.params[calls[name]]
        return _evaluate(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), given, visits)
    bound = equation.primitive.get_bind_params(equation.params)
    rules, options = bound if isinstance(bound, tuple) else ((), bound)  # before, and since, jax 0.10
    out = equation.primitive.bind(*rules, *(value.array for value in given), **options)
    outs = list(out) if equation.primitive.multiple_results else [out]
    of_params, of_batch = any(v.of_params for v in given), any(v.of_batch for v in given)
    if name == "name":
        outs = [visits.at_name(equation.params["name"], outs[0])]
    leaf = _weight_of_product(given) if name in PRODUCTS else None
    if leaf is not None:
        return [Value(outs[0], None, True, True, leaf)]
    source = (
        next((v for v in given if v.of_params or v.of_batch), Value(None)) if _is_multiple(name, given) else Value(None)
    )
    return [Value(array, source.leaf, of_params, of_batch, source.product) for array in outs]


def _weight_of_product(given: list[Value]) -> int | None:
    a, b = given[:2]
    if a.leaf is not None and b.of_batch:
        return a.leaf
    return b.leaf if b.leaf is not None and a.of_batch else None


def _is_multiple(name: str, given: Sequence[Value]) -> bool:
    """Is the result one of the arguments, but for its shape and a constant factor?"""
    if sum(value.of_params or value.of_batch for value in given) != 1:
        return False
    return name in RESHAPES or name == "mul" or (name == "div" and (given[0].of_params or given[0].of_batch))
