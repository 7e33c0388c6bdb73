"""What training changes in every layer of any function `apply(params, x)`, by one forward pass of products. (V2)

A layer is where a leaf of the parameters, with two axes or more, multiplies data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from widenet.initializers.neighbours import told_apart
from widenet.initializers.reading import Apply, Leaves, Reading
from widenet.parametrizations.trees import parameters


class Pass(NamedTuple):
    """What layers are given and make, the named values, and the output; `made` is before the bias."""

    given: list[Array]
    made: list[Array]
    named: list[Array]
    output: Array


class Changes(NamedTuple):
    """The parts of W x - W0 x0 = W0 dx + dW x of every use of a weight, and values that `apply` names."""

    x0: list[Array]
    dx: list[Array]
    w0_x0: list[Array]
    dw_x: list[Array]
    w0_dx: list[Array]
    dw_dx: list[Array]
    named: list[Array]
    d_named: list[Array]
    f: Array
    df: Array


class Probe(NamedTuple):
    """A function read for its layers.

    paths: of the weight of each layer; layers: the same, told apart.  names: of named values.
    untouched: weights that meet no data, or only in scans.  tied: weights that are part of data too, as tied embeddings
    are; their dW x is counted in W0 dx.
    changes(params0, params, x); products(params, moves, x): moves of weights times what they are given.
    made(params, x): what the layers make.
    """

    paths: tuple[str, ...]
    layers: tuple[str, ...]
    names: tuple[str, ...]
    untouched: tuple[str, ...]
    tied: tuple[str, ...]
    changes: Callable[[Any, Any, Any], Changes]
    products: Callable[[Any, Any, Any], list[Array]]
    made: Callable[[Any, Any], list[Array]]


def probe(apply: Apply, params: Any, x: Any) -> Probe:
    """Read `apply` for arguments of these shapes.

    Raises: ValueError if no weight is seen to meet data.
    """
    reading = Reading.of(apply, params, x)
    seen = reading.seen(x)
    met, names = _uses(reading, x)
    every = list(parameters(params))
    paths = [every[leaf] for leaf in met]
    tied = _tied(reading, seen, x)
    free = set(seen) - set(tied)

    def moves_of(start: list[Any], end: list[Any]) -> list[Any]:
        pairs = enumerate(zip(start, end, strict=True))
        return [b - a if i in free else jnp.zeros_like(b) for i, (a, b) in pairs]

    def changes(params0: Any, params: Any, x: Any) -> Changes:
        start, end = (list(Leaves.of(tree).arrays) for tree in (params0, params))
        moves = moves_of(start, end)
        before, by_moves = _products(reading, start, moves, x)
        after, now_by_moves = _products(reading, end, moves, x)
        return Changes(
            x0=before.given,
            dx=_minus(after.given, before.given),
            w0_x0=before.made,
            dw_x=now_by_moves,
            w0_dx=_minus(_minus(after.made, now_by_moves), before.made),
            dw_dx=_minus(now_by_moves, by_moves),
            named=before.named,
            d_named=_minus(after.named, before.named),
            f=after.output,
            df=after.output - before.output,
        )

    def products(params: Any, moves: Any, x: Any) -> list[Array]:
        arrays, by = (list(Leaves.of(tree).arrays) for tree in (params, moves))
        kept = [move if i in free else jnp.zeros_like(move) for i, move in enumerate(by)]
        return _products(reading, arrays, kept, x)[1]

    def made(params: Any, x: Any) -> list[Array]:
        outs: list[Array] = []

        def at_layer(leaf: int, out: Array) -> Array:
            outs.append(out)
            return out

        reading.run(list(Leaves.of(params).arrays), x, at_layer=at_layer)
        return outs

    untouched = tuple(every[leaf] for leaf in reading.leaves.weights if leaf not in seen)
    of_tied = tuple(every[leaf] for leaf in tied)
    return Probe(tuple(paths), tuple(told_apart(paths)), names, untouched, of_tied, changes, products, made)


def _minus(a: list[Array], b: list[Array]) -> list[Array]:
    return [x - y for x, y in zip(a, b, strict=True)]


def _uses(reading: Reading, x: Any) -> tuple[list[int], tuple[str, ...]]:
    met: list[int] = []
    names: list[str] = []

    def at_layer(leaf: int, out: Array) -> Array:
        met.append(leaf)
        return out

    def at_name(name: str, value: Array) -> Array:
        names.append(name)
        return value

    def run(arrays: Any, x: Any) -> Any:
        return reading.run(arrays, x, at_layer=at_layer, at_name=at_name)

    jax.eval_shape(run, reading.leaves.arrays, x)
    return met, tuple(told_apart(names))


def _tied(reading: Reading, seen: list[int], x: Any) -> list[int]:
    """The weights that also reach data on another way than a product, so that moving them moves the data."""
    arrays = list(reading.leaves.arrays)

    def moved(moves: list[Any], x: Any) -> list[Array]:
        return jax.jvp(lambda given: _run(reading, given, x)[1].given, (arrays,), (moves,))[1]

    jaxpr = jax.make_jaxpr(moved)(arrays, x).jaxpr
    origins: dict[Any, set[int]] = {var: {i} for i, var in enumerate(jaxpr.invars[: len(arrays)])}
    for equation in jaxpr.eqns:
        found = set().union(*(origins.get(var, set()) for var in equation.invars if not hasattr(var, "val")))
        origins.update(dict.fromkeys(equation.outvars, found))
    reached = set().union(*(origins.get(var, set()) for var in jaxpr.outvars if not hasattr(var, "val")))
    return [leaf for leaf in seen if leaf in reached]


def _products(reading: Reading, arrays: list[Any], moves: list[Any], x: Any) -> tuple[Pass, list[Array]]:
    """The pass, and what `moves` of the weights would add to the products, with the same data. (V2)

    A product is linear in its weight: its derivative is that, if what it is given has none.
    """
    _, added, found = jax.jvp(lambda given: _run(reading, given, x), (arrays,), (moves,), has_aux=True)
    return found, added


def _run(reading: Reading, arrays: list[Any], x: Any) -> tuple[list[Array], Pass]:
    """What layers make, to be differentiated: derivatives stop behind every layer."""
    waiting: dict[int, list[Array]] = defaultdict(list)
    given: list[Array] = []
    made: list[Array] = []
    named: list[Array] = []

    def at_layer(leaf: int, out: Array) -> Array:
        given.append(waiting[leaf].pop(0))
        made.append(out)
        return jax.lax.stop_gradient(out)

    def at_name(name: str, value: Array) -> Array:
        named.append(value)
        return value

    def at_data(leaf: int, data: Array) -> None:
        waiting[leaf].append(data)

    output = reading.run(arrays, x, at_layer=at_layer, at_name=at_name, at_data=at_data)
    return made, Pass(given, made, named, output)


def rms(x: Array) -> Array:
    """The root of the mean square, which overflows only where it is itself too large."""
    size = jnp.max(jnp.abs(x))
    scale = jnp.where((size > 0) & jnp.isfinite(size), size, 1)
    return scale * jnp.sqrt(jnp.mean(jnp.square(x / scale)))
