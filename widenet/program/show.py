"""Reading a program aloud: one equation a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from widenet.program.ops import (
    Attend,
    Conv,
    DepthwiseConv,
    Dropout,
    Embed,
    Flatten,
    Heads,
    Input,
    LinComb,
    Linear,
    Mix,
    Nonlin,
    Product,
    Repeat,
    Table,
)
from widenet.program.trace import Net, Program, trace
from widenet.program.var import Var, shape_text


def show(net: Net, shape: Sequence[int]) -> str:
    """The architecture as equations, for data of `shape` (`[n, ..., d]`).

    Weights and biases are standard normal; n is the hidden width.

    >>> import widenet as wn
    >>> print(wn.show(lambda x: wn.dense(wn.relu(wn.dense(x)), 1.5, 0.1), (10, 3)))
    x  = data                                  [batch, 3]
    h1 = W1 x / sqrt(3)                        [batch, n]
    z1 = relu(h1)                              [batch, n]
    h2 = 1.5 W2 z1 / sqrt(n) + 0.1 b2          [batch, n]
    """
    return "\n".join(_lines(trace(net, shape)))


def _lines(program: Program, indent: str = "") -> list[str]:
    called = names(program)
    weights = {weight: i for i, weight in enumerate(program.weights, start=1)}
    name_width = max(map(len, called.values()))
    rows = []
    for var in program.variables:
        text = "the block's argument" if indent and isinstance(var.op, Input) else _equation(var, called, weights)
        rows.append(f"{indent}{called[var]:{name_width}} = {text:36}  {shape_text(var)}")
        if isinstance(var.op, Repeat):
            rows += _lines(var.op.body, indent + "    ")
    return rows


def names(program: Program) -> dict[Var, str]:
    """x for the data, h1, h2, ... for what a weight makes, z1, z2, ... for all else."""
    counts = {"h": 0, "z": 0}
    found = {}
    for var in program.variables:
        letter = "h" if isinstance(var.op, (Linear, Embed, Table, Heads)) else "z"
        counts[letter] += not isinstance(var.op, Input)
        found[var] = "x" if isinstance(var.op, Input) else f"{letter}{counts[letter]}"
    return found


def _equation(var: Var, names: dict[Var, str], weights: dict[Any, int]) -> str:
    op, args = var.op, [names[arg] for arg in var.args]
    match op:
        case Input():
            return "data"
        case Linear():
            i = weights[op.weight]
            bias = f" + {_factor(op.sigma_b)}b{i}" if op.has_bias else ""
            return f"{_factor(op.sigma_w)}{_weighted(op, i, args[0])} / sqrt({_fan_in(var)}){bias}"
        case Embed():
            return f"{_factor(op.sigma_w)}W{weights[op.weight]}[{args[0]}]"
        case Table():
            return f"{_factor(op.sigma_w)}W{weights[op.weight]}[position]"
        case Heads():
            return f"{op.label}({', '.join(args)}; W{weights[op.weight]})"
        case Attend():
            value, query, key = args
            past = ", past only" if op.causal else ""
            return f"{op.weights}({query} . {key} / n{past}) {value}"
        case Nonlin():
            return f"{op.label}({args[0]})"
        case LinComb():
            terms = " + ".join(f"{_factor(c)}{arg}" for c, arg in zip(op.coeffs, args, strict=True))
            return terms.replace("+ -", "- ")
        case Product():
            return f"{args[0]} * {args[1]}"
        case Dropout():
            return f"dropout({args[0]}, {op.rate:g})"
        case Repeat():
            return f"{op.times} times, from {args[0]}:"
        case Mix() | Flatten():
            return f"{op.label}({args[0]})"
    return f"{op.label}({', '.join(args)})"


def _weighted(op: Linear, i: int, arg: str) -> str:
    """What a weight does: a dense layer, or a window of taps."""
    if not isinstance(op, Conv):
        return f"W{i} {arg}"
    window = "x".join(map(str, op.window.sizes))
    stride = "" if set(op.window.strides) == {1} else f", stride {'x'.join(map(str, op.window.strides))}"
    return f"{op.label}({arg}; W{i}, {window}{stride})"


def _fan_in(var: Var) -> str:
    """The number of terms that a layer adds up."""
    op, channels = var.op, var.args[0].channels
    if not isinstance(op, Conv):
        return str(channels)
    return f"{op.window.taps}" if isinstance(op, DepthwiseConv) else f"{op.window.taps} {channels}"


def _factor(scale: Any) -> str:
    try:
        number = float(scale)
    except TypeError:  # a traced value
        return "s "
    return "" if number == 1 else "-" if number == -1 else f"{number:g} "
