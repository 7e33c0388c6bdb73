"""Fully connected networks."""

from __future__ import annotations

import math
from typing import Any

from widenet.activations import relu
from widenet.activations.activation import Activation
from widenet.layers.combine import residual as skip
from widenet.layers.dense import dense
from widenet.layers.layer import serial
from widenet.layers.positions import flatten
from widenet.layers.repeat import repeat
from widenet.program.trace import Net

SQRT_2 = math.sqrt(2)  # keeps the variance of a relu network


def mlp(activation: Activation = relu, depth: int = 3, *, sigma_w: Any = SQRT_2, sigma_b: Any = 0.0) -> Net:
    """A multilayer perceptron of `depth` hidden layers and one linear readout; images are flattened first."""
    layer = dense(sigma_w=sigma_w, sigma_b=sigma_b)
    if depth < 1:
        return serial(flatten(), layer)
    return serial(flatten(), layer, repeat(serial(activation, layer), depth - 1), activation, layer)


def residual(
    activation: Activation = relu, depth: int = 4, *, sigma_w: Any = 1.0, sigma_b: Any = 0.0, scale: Any = 1.0
) -> Net:
    """A pre-activation residual network: `depth` times x + scale / sqrt(depth) dense(phi(x)), then a readout."""
    branch = serial(activation, dense(sigma_w=sigma_w, sigma_b=sigma_b))
    blocks = repeat(skip(branch, scale=scale / math.sqrt(max(depth, 1))), depth)
    return serial(flatten(), dense(sigma_w=sigma_w, sigma_b=sigma_b), blocks, activation, dense(sigma_w=sigma_w))
