"""Writes mup.json: the learning rates and decays that microsoft/mup 1.0 gives three of its kinds of models.

Needs torch, mup and widenet:  python tests/torch/make_mup.py
"""

from __future__ import annotations

import json
from pathlib import Path

import mup
import torch
from torch import nn

import widenet.torch as wt

LR, DECAY = 0.1, 0.01


class Block(nn.Module):
    """Two convolutions with batch norms, and a shortcut that may widen."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.first, self.second = nn.Conv2d(n_in, n_out, 3, bias=False), nn.Conv2d(n_out, n_out, 3, bias=False)
        self.norms = nn.ModuleList([nn.BatchNorm2d(n_out), nn.BatchNorm2d(n_out)])
        self.shortcut = nn.Conv2d(n_in, n_out, 1, bias=False)


def mlp(width):
    return nn.Sequential(
        nn.Linear(784, width, bias=False), nn.Linear(width, width, bias=False), mup.MuReadout(width, 10)
    )


def resnet(width):
    blocks = [Block(width, width), Block(width, 2 * width), Block(2 * width, 4 * width)]
    return nn.Sequential(
        nn.Conv2d(3, width, 3, bias=False), nn.BatchNorm2d(width), *blocks, mup.MuReadout(4 * width, 10)
    )


def transformer(width):
    return nn.ModuleDict(
        {
            "embedding": nn.Embedding(33, width),
            "layers": nn.ModuleList([nn.TransformerEncoderLayer(width, 2, 3 * width) for _ in range(2)]),
            "decoder": mup.MuReadout(width, 33),
        }
    )


def main():
    facts = {}
    for make in (mlp, resnet, transformer):
        base, delta, model = make(8), make(12), make(32)
        mup.set_base_shapes(model, base, delta=delta)
        names = {id(tensor): name for name, tensor in model.named_parameters()}
        groups = {}
        for kind, optimizer in (("sgd", mup.MuSGD), ("adam", mup.MuAdam)):
            made = optimizer(model.parameters(), lr=LR, weight_decay=DECAY)
            groups[kind] = {
                names[id(tensor)]: [group["lr"] / LR, group["weight_decay"] / DECAY]
                for group in made.param_groups
                for tensor in group["params"]
            }
        facts[make.__name__] = {"specs": wt.infer(make(8), make(32)).to_json(), **groups}
    versions = {"mup": "1.0.0", "torch": torch.__version__}
    Path(__file__).with_name("mup.json").write_text(json.dumps({"versions": versions, **facts}, indent=1) + "\n")


if __name__ == "__main__":
    main()
