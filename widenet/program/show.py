"""Reading a program aloud: one equation a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from widenet.program.ops import Dropout, Flatten, Input, LinComb, Linear, Mix, Nonlin, Product, Repeat
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
    names = _names(program)
    weights = {weight: i for i, weight in enumerate(program.weights, start=1)}
    rows = []
    for var in program.variables:
        text = _equation(var, names, weights)
        rows.append(f"{indent}{names[var]:2} = {text:36}  {shape_text(var)}")
        if isinstance(var.op, Repeat):
            rows += _lines(var.op.body, indent + "    ")
    return rows


def _names(program: Program) -> dict[Var, str]:
    counts = {"h": 0, "z": 0}
    names = {}
    for var in program.variables:
        letter = "h" if isinstance(var.op, Linear) else "z"
        counts[letter] += not isinstance(var.op, Input)
        names[var] = "x" if isinstance(var.op, Input) else f"{letter}{counts[letter]}"
    return names


def _equation(var: Var, names: dict[Var, str], weights: dict[Any, int]) -> str:
    op, args = var.op, [names[arg] for arg in var.args]
    match op:
        case Input():
            return "the block's argument" if op.gaussian else "data"
        case Linear():
            i = weights[op.weight]
            bias = f" + {_factor(op.sigma_b)}b{i}" if op.has_bias else ""
            return f"{_factor(op.sigma_w)}W{i} {args[0]} / sqrt({var.args[0].channels}){bias}"
        case Nonlin():
            return f"{op.label}({args[0]})"
        case LinComb():
            return " + ".join(f"{_factor(c)}{arg}" for c, arg in zip(op.coeffs, args, strict=True))
        case Product():
            return f"{args[0]} * {args[1]}"
        case Dropout():
            return f"dropout({args[0]}, {op.rate:g})"
        case Repeat():
            return f"{op.times} times, from {args[0]}:"
        case Mix() | Flatten():
            return f"{op.label}({args[0]})"
    return f"{op.label}({', '.join(args)})"


def _factor(scale: Any) -> str:
    try:
        number = float(scale)
    except TypeError:  # a traced value
        return "s "
    return "" if number == 1 else f"{number:g} "
