"""Networks as text: the short form that the command line takes."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from typing import Any

from widenet.activations import NAMED
from widenet.activations.activation import Activation
from widenet.layers.graph import gcn_operator, gin_operator, sage_operator
from widenet.program.trace import Net
from widenet.zoo.graphs import gcn, gin, sage
from widenet.zoo.images import MYRTLE, convnext, lenet, myrtle, resnet, wide_resnet
from widenet.zoo.plain import mlp, residual
from widenet.zoo.recurrent import gru, lstm, rnn
from widenet.zoo.transformers import gpt, vit

MAKERS: tuple[Callable[..., Net], ...] = (
    *(mlp, residual, lenet, myrtle, wide_resnet, resnet, convnext, vit, gpt),
    *(rnn, gru, lstm, gcn, sage, gin),
)
ZOO = {make.__name__: make for make in MAKERS}
WITH_DEPTH = {f"myrtle{depth}": ("myrtle", str(depth)) for depth in MYRTLE}
OPERATORS = {"gcn": gcn_operator, "sage": sage_operator, "gin": gin_operator}  # what a net on graphs reads
SWITCH = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


def parse(spec: str) -> Net:
    """The network of a short form NAME[:ACTIVATION][:DEPTH][:OPTION][:key=value ...], such as 'mlp:relu:3:sigma_w=1.4'.

    OPTION alone switches on an option that is no by default: 'gru:masked'.
    Raises: ValueError for an unknown name, activation or option, with the nearest known one.
    """
    name, *words = spec.split(":")
    name, *depth = WITH_DEPTH.get(known(name, [*ZOO, *WITH_DEPTH], "network"), (name,))
    return ZOO[name](**_options([*depth, *words], name))


def _options(words: list[str], name: str) -> dict[str, Any]:
    defaults = {key: p.default for key, p in inspect.signature(ZOO[name]).parameters.items()}
    options: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            key, value = _implied(word, defaults, name)
        key = known(key, defaults, f"option of {name}")
        if key in options:
            raise ValueError(f"{name} is given its {key} twice; give it once.")
        options[key] = _value(key, value, defaults[key])
    return options


def _implied(word: str, defaults: dict[str, Any], name: str) -> tuple[str, str]:
    """The option that a word without = gives a value."""
    if word.isdigit():
        return "depth", word
    switches = [key for key, default in defaults.items() if isinstance(default, bool)]
    what = f"activation or option of {name}" if switches else "activation"
    known(word, [*NAMED, *switches], what)
    return (word, "yes") if word in switches else ("activation", word)


def _value(key: str, text: str, default: Any) -> Any:
    """A text as a value of the kind of the default."""
    if isinstance(default, Activation):
        return NAMED[known(text, NAMED, "activation")]
    if isinstance(default, bool):
        return SWITCH[known(text, SWITCH, f"value of {key}")]
    if isinstance(default, str):
        return text
    try:
        return type(default)(text)
    except ValueError:
        kind = "a whole number" if isinstance(default, int) else "a number"
        raise ValueError(f"{key} must be {kind}; got {text!r}.") from None


def known(name: str, names: Any, what: str) -> str:
    """`name`, if it is one of `names`; else a ValueError that suggests the nearest."""
    if name in names:
        return name
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"unknown {what} {name!r};{hint} choose from {', '.join(names)}.")
