"""The finite network as a function of its parameters: one rule per primitive."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from widenet.finite.parameters import Owner, Params, copy_keys, names
from widenet.program.ops import Concat, Dropout, Flatten, Input, LinComb, Linear, Nonlin, Op, Product, Repeat
from widenet.program.samples import Samples, features_of
from widenet.program.trace import Net, Program, trace
from widenet.program.var import Var, describe


def apply(net: Net, params: Params, x: Float[Array, "n *positions d"], *, key: Any = None) -> Float[Array, "n *out k"]:
    """The output of the finite network `net` with `params` on the data x.

    h = sigma_w / sqrt(fan_in) W x + sigma_b b                (F1)

    key: draws the dropout masks (F2), one for every sample; None evaluates without dropout.  Entries of `params` that
    `net` does not use are ignored.  Nothing is compiled here: wrap long work in `jax.jit`.
    dtype: what jax promotes those of x and `params` to.
    Raises: ValueError if `params` lacks an entry, or has one of another shape than x or the net needs.

    >>> import jax.numpy as jnp, widenet as wn
    >>> net = wn.serial(wn.dense(), wn.relu, wn.dense(width=2))
    >>> params = wn.init(net, 0, (1, 3), width=8)
    >>> {name: entry["w"].shape for name, entry in params.items()}
    {'dense1': (3, 8), 'dense2': (8, 2)}
    >>> wn.apply(net, params, jnp.ones((5, 3))).shape
    (5, 2)
    """
    features = jnp.asarray(features_of(x))
    if not jnp.issubdtype(features.dtype, jnp.floating):
        features = features.astype(jnp.result_type(float))
    dtype = jnp.result_type(features, *jax.tree.leaves(params))
    features = features.astype(dtype)
    data = Samples(features, x.mask, x.graph) if isinstance(x, Samples) else features
    return evaluate(trace(net, features.shape), params, data, key)


@dataclass(frozen=True, eq=False)
class NetFunction:
    """f(params, x) of an architecture."""

    net: Net

    def __call__(self, params: Params, x: Any) -> Array:
        """The output of the network with these parameters."""
        return apply(self.net, params, x)


def function_of(net: Net) -> NetFunction:
    """f(params, x) = apply(net, params, x), for what differentiates functions."""
    return NetFunction(net)


@dataclass(frozen=True, eq=False)
class Scope:
    """What a rule may need beside the values of its arguments."""

    program: Program
    names: Mapping[Owner, str]
    params: Mapping[str, Any]
    key: Any = None
    samples: Samples | None = None  # masks and graphs of the data

    def entry(self, owner: Owner, var: Var) -> Any:
        """The parameters of `owner`, for `var`."""
        name = self.names[owner]
        if name not in self.params:
            known = ", ".join(map(repr, self.params)) or "none"
            raise ValueError(f"params has no {name!r} for {describe(var)}, only {known}: made for another net?")
        return self.params[name]

    def key_of(self, var: Var) -> Any:
        """A key of its own for `var`, None in evaluation."""
        return None if self.key is None else jax.random.fold_in(self.key, self.program.index[var])


Rule = Callable[..., Any]


def evaluate(
    program: Program,
    params: Mapping[str, Any],
    x: Any,
    key: Any = None,
    rule: Rule | None = None,
    samples: Samples | None = None,
) -> Any:
    """The value of the output of `program`; `rule` takes the place of `forward`.

    samples: the masks and graphs of the data, if x is a state inside of a repeated block.
    """
    scope = Scope(program, names(program), params, key, x if isinstance(x, Samples) else samples)
    values = {program.input: features_of(x)}
    for var in program.variables:
        if not isinstance(var.op, Input):
            values[var] = (rule or forward)(var.op, var, scope, *(values[arg] for arg in var.args))
    return values[program.output]


@singledispatch
def forward(op: Op, var: Var, scope: Scope, *xs: Array) -> Array:
    """The value `[n, *positions, channels]` of `var` from those of its arguments."""
    raise NotImplementedError(f"the finite reading has no rule for {type(op).__name__}; add one to finite/forward.py.")


@forward.register
def _linear(op: Linear, var: Var, scope: Scope, x: Array) -> Array:
    entry = scope.entry(op.weight, var)
    check_fan_in(entry["w"].shape[0], x, var, scope)
    h = jnp.matmul(x, entry["w"]) * in_dtype(op.sigma_w, x) / math.sqrt(x.shape[-1])
    return h + bias_of(op, var, scope, x)


def bias_of(op: Linear, var: Var, scope: Scope, like: Array) -> Any:
    """sigma_b b, or 0 for a layer without bias."""
    if not op.has_bias:
        return 0
    entry = scope.entry(op.weight, var)
    if "b" not in entry:
        name = scope.names[op.weight]
        raise ValueError(f"params[{name!r}] has no bias 'b' for {describe(var)}: was it made with sigma_b = 0?")
    return in_dtype(op.sigma_b, like) * entry["b"]


def in_dtype(scale: Any, like: Array) -> Array:
    """A scalar in the precision of what it multiplies."""
    return jnp.asarray(scale, like.dtype)


def check_fan_in(taken: int, x: Array, var: Var, scope: Scope) -> None:
    """Raise a ValueError unless the parameters of a layer take the channels that it is given."""
    if taken == x.shape[-1]:
        return
    assert isinstance(var.op, Linear)
    size = scope.program.input.channels
    raise ValueError(
        f"{describe(var)} takes {taken} channels in params[{scope.names[var.op.weight]!r}], but is given "
        f"{x.shape[-1]} (x has {size} features): params were made for data of another shape, or for another net."
    )


@forward.register
def _nonlin(op: Nonlin, var: Var, scope: Scope, x: Array) -> Array:
    return op.phi(x).astype(x.dtype)


@forward.register
def _lincomb(op: LinComb, var: Var, scope: Scope, *xs: Array) -> Array:
    terms = [in_dtype(c, x) * x for c, x in zip(op.coeffs, xs, strict=True)]
    return sum(terms[1:], terms[0])


@forward.register
def _flatten(op: Flatten, var: Var, scope: Scope, x: Array) -> Array:
    return x.reshape(x.shape[0], -1)


@forward.register
def _concat(op: Concat, var: Var, scope: Scope, *xs: Array) -> Array:
    return jnp.concatenate(xs, axis=-1)


@forward.register
def _product(op: Product, var: Var, scope: Scope, x: Array, y: Array) -> Array:
    return x * y


@forward.register
def _dropout(op: Dropout, var: Var, scope: Scope, x: Array) -> Array:
    key = scope.key_of(var)
    if key is None:
        return x
    kept = jax.random.bernoulli(key, 1 - op.rate, x.shape)
    return jnp.where(kept, x / (1 - op.rate), 0)  # (F2)


@forward.register
def _repeat(op: Repeat, var: Var, scope: Scope, x: Array) -> Array:
    def copy(h: Array, own: Any) -> tuple[Array, None]:
        params, key = own
        return evaluate(op.body, params, h, key, samples=scope.samples), None

    return jax.lax.scan(copy, x, per_copy(op, var, scope), length=op.times)[0]


def per_copy(op: Repeat, var: Var, scope: Scope) -> tuple[Any, Any]:
    """Parameters and dropout keys of the copies of a block, stacked.

    Raises: ValueError if the parameters are those of another number of copies.
    """
    entry, key = scope.entry(var, var), scope.key_of(var)
    made = {leaf.shape[0] for leaf in jax.tree.leaves(entry)}
    if made - {op.times}:
        raise ValueError(
            f"params[{scope.names[var]!r}] has {max(made)} copies of its block, but the net repeats it {op.times} "
            "times: made for another depth?"
        )
    return entry, None if key is None else copy_keys(key, op.times)
