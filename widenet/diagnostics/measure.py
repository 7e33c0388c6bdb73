"""Layers of a function of jax, or of an architecture with its parameters, by one forward and some backward passes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from widenet.diagnostics.statistics import Layer
from widenet.finite.forward import Scope, evaluate, forward, per_copy
from widenet.initializers.neighbours import told_apart
from widenet.initializers.reading import Apply, Reading
from widenet.program.ops import Linear, Op, Repeat
from widenet.program.trace import Net, trace
from widenet.program.var import Var


class Pass(NamedTuple):
    """A forward pass: the output, and for each layer its name, what it is given and what it makes."""

    output: Any
    names: tuple[str, ...]
    data: list[Array]
    outs: list[Array]


Run = Callable[[Any, Any, Any], Pass]  # of weights, of shifts of what the layers make (None for none), of data


def layers_of_function(apply: Apply, params: Any, x: Any, key: Any, probes: int) -> list[Layer]:
    """The layers of apply(params, x): wherever a leaf of `params` with two axes or more multiplies data."""
    reading = Reading.of(apply, params, x)
    reading.seen(x)

    def run(arrays: Any, shifts: Any, x: Any) -> Pass:
        met: list[int] = []
        outs: list[Array] = []
        waiting: dict[int, list[Array]] = defaultdict(list)
        data: list[Array] = []

        def at_layer(leaf: int, out: Array) -> Array:
            data.append(waiting[leaf].pop(0))
            outs.append(out if shifts is None else out + shifts[len(outs)])
            met.append(leaf)
            return outs[-1]

        output = reading.run(arrays, x, at_layer=at_layer, at_data=lambda leaf, given: waiting[leaf].append(given))
        leaves.append(met)
        return Pass(output, told_apart([reading.leaves.names[leaf] for leaf in met]), data, outs)

    leaves: list[list[int]] = []
    return _measured(run, list(reading.leaves.arrays), x, key, probes, lambda grads: [grads[i] for i in leaves[-1]])


def layers_of_net(net: Net, params: Mapping[str, Any], x: Any, key: Any, probes: int) -> list[Layer]:
    """The layers of an architecture: its dense layers and convolutions, those of repeated blocks one by one."""
    program = trace(net, x.shape)

    def run(moves: Any, shifts: Any, x: Any) -> Pass:
        names: list[str] = []
        data: list[Array] = []
        outs: list[Array] = []
        prefix: list[str] = []

        def rule(op: Op, var: Var, scope: Scope, *given: Array) -> Array:
            if isinstance(op, Repeat):
                h, (own, _) = given[0], per_copy(op, var, scope)
                for i in range(op.times):
                    prefix.append(f"{scope.names[var]}[{i}].")
                    h = evaluate(op.body, jax.tree.map(lambda leaf: leaf[i], own), h, None, rule, scope.samples)  # noqa: B023
                    prefix.pop()
                return h
            if not isinstance(op, Linear):
                return forward(op, var, scope, *given)
            name = scope.names[op.weight]
            if moves is not None:
                entry = scope.entry(op.weight, var)
                moved = {**entry, "w": entry["w"] + moves[len(outs)]}
                scope = replace(scope, params={**scope.params, name: moved})
            out = forward(op, var, scope, *given)
            bias = forward(op, var, scope, *(jnp.zeros_like(h) for h in given)) if op.has_bias else 0
            outs.append(out - bias if shifts is None else out - bias + shifts[len(outs)])
            names.append("".join(prefix) + name)
            data.append(given[0])
            return outs[-1] + bias

        return Pass(evaluate(program, params, x, None, rule), told_apart(names), data, outs)

    moves = _zero_moves(program, params, x)
    return _measured(run, moves, x, key, probes, lambda grads: grads)


def _zero_moves(program: Any, params: Any, x: Any) -> list[Array]:
    """A zero for each use of a weight, of its shape."""
    shapes: list[Any] = []

    def rule(op: Op, var: Var, scope: Scope, *given: Array) -> Array:
        if isinstance(op, Repeat):
            h, (own, _) = given[0], per_copy(op, var, scope)
            for i in range(op.times):
                h = evaluate(op.body, jax.tree.map(lambda leaf: leaf[i], own), h, None, rule, scope.samples)  # noqa: B023
            return h
        if isinstance(op, Linear):
            shapes.append(scope.entry(op.weight, var)["w"])
        return forward(op, var, scope, *given)

    jax.eval_shape(lambda params, x: evaluate(program, params, x, None, rule), params, x)
    if not shapes:
        raise ValueError("the architecture has no dense layer or convolution, so there is nothing to report on.")
    return [jnp.zeros(w.shape, w.dtype) for w in shapes]


def _measured(
    run: Run, weights: Any, x: Any, key: Any, probes: int, of_layers: Callable[[Any], list[Array]]
) -> list[Layer]:
    shape = jax.eval_shape(lambda weights, x: run(weights, None, x).outs, weights, x)
    shifts = [jnp.zeros(out.shape, out.dtype) for out in shape]
    names: list[tuple[str, ...]] = []

    @jax.jit
    def passes(weights: Any, shifts: Any, x: Any, key: Any) -> Any:
        def forward_pass(weights: Any, shifts: Any) -> tuple[Any, Any]:
            made = run(weights, shifts, x)
            names.append(made.names)
            return made.output, (made.data, made.outs)

        output, pull, kept = jax.vjp(forward_pass, weights, shifts, has_aux=True)
        size = sum(leaf.size for leaf in jax.tree.leaves(output))

        def squares(key: Any) -> tuple[Array, Array]:
            leaves, tree = jax.tree.flatten(output)
            keys = jax.random.split(key, len(leaves))
            probe = [jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)]
            in_weights, in_outs = pull(jax.tree.unflatten(tree, probe))
            return tuple(  # type: ignore[return-value]
                jnp.stack([jnp.sum(g**2) / size for g in grads]) for grads in (in_outs, of_layers(in_weights))
            )

        made = jax.lax.map(squares, jax.random.split(key, probes))
        return kept, *(jnp.mean(part, 0) for part in made)

    (data, outs), jacobian, gradient = passes(weights, shifts, x, key)
    norms = np.sqrt(np.asarray(gradient, np.float64))
    parts = zip(names[-1], data, outs, np.asarray(jacobian, np.float64), norms, strict=True)
    return [Layer(name, np.asarray(given), np.asarray(out), float(j), float(g)) for name, given, out, j, g in parts]
