"""Architectures by the names that papers give them, for any activation: functions that make networks.

At infinite width the number of channels is no choice, so none of them takes it.
"""

from widenet.zoo.graphs import gcn, gin, sage
from widenet.zoo.images import convnext, lenet, myrtle, resnet, wide_resnet
from widenet.zoo.plain import mlp, residual
from widenet.zoo.recurrent import gru, lstm, rnn
from widenet.zoo.short_form import OPERATORS, ZOO, parse
from widenet.zoo.transformers import gpt, vit

__all__ = [
    "OPERATORS",
    "ZOO",
    "convnext",
    "gcn",
    "gin",
    "gpt",
    "gru",
    "lenet",
    "lstm",
    "mlp",
    "myrtle",
    "parse",
    "residual",
    "resnet",
    "rnn",
    "sage",
    "vit",
    "wide_resnet",
]
