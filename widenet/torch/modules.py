"""Whole modules of torch, in place: every linear and convolutional layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from widenet import initializers
from widenet.initializers.initializer import Initializer, as_key
from widenet.initializers.report import Report
from widenet.torch.fill import fill_, key_from


def init_(module: Any, kernel: Any, bias: Any = None, *, generator: Any = None, key: Any = None) -> list[str]:
    """Fill the weights of all linear and convolutional layers from `kernel`, their biases from `bias`, zero if None.

    Returns the names of what was filled: embeddings, norms and layers that are not of torch.nn are left as they are.
    A tensor that is shared is filled once.  A transposed convolution of stride s sums 1/s of its window in each output,
    and is scaled for that.
    Raises: ValueError for a lazy layer that has no shape yet, or a module without such layers.
    """
    bias = initializers.constant(0.0) if bias is None else bias
    key = key_from(generator) if key is None else as_key(key)
    filled: list[str] = []
    done: set[int] = set()
    for name, layer in linear_layers(module):
        for part, law in (("weight", _for_stride(kernel, layer)), ("bias", bias)):
            tensor = getattr(layer, part)
            if tensor is None or id(tensor) in done:
                continue
            groups, transposed = getattr(layer, "groups", 1), getattr(layer, "transposed", False)
            fill_(tensor, law, groups=groups, transposed=transposed, key=jax.random.fold_in(key, len(done)))
            done.add(id(tensor))
            filled.append(f"{name}.{part}" if name else part)
    return filled


def lsuv_(module: Any, *batch: Any, target: float = 1.0) -> Report:
    """Scale the weight of each linear or convolutional layer until its output, without bias, has deviation `target`.

    One forward pass module(*batch), in which each layer is set before data go on; a weight that is used again is set at
    its first use.  Layers such as dropout act as they are set to.
    Raises: ValueError for samples that are all equal, or a layer whose output is constant or not finite.
    Source: mishkin2016, alg. 1.
    """
    import torch

    for data in batch:
        if torch.is_tensor(data) and data.is_floating_point() and bool((data == data[:1]).all()):
            raise ValueError(
                "the batch has no variance: all of its samples are equal; give at least two different ones."
            )
    scales: dict[str, float] = {}

    def set_scale(name: str, layer: Any, deviation: float) -> float:
        if not 0 < deviation < math.inf:
            raise ValueError(
                f"lsuv_: the output of {name} has standard deviation {deviation:g} on this batch, so no factor makes "
                "it the target: give data that vary, and weights that are finite and not zero."
            )
        scales[name] = target / deviation
        layer.weight.mul_(scales[name])
        return scales[name]

    before = _met(module, batch, set_scale)
    after = _met(module, batch, lambda *_: 1.0)
    begin, end = (np.array(list(deviations.values())) for deviations in (before, after))
    return Report("standard deviation", tuple(before), begin, end, scales)


def orthonormality_penalty(module: Any) -> Any:
    """sum_W |W^T W - I|_F^2 / 2 over all linear and convolutional layers, to be added to a loss. (I23)

    Each group of a convolution is a matrix [window * in / groups, out / groups]; a weight that is shared counts once.
    Raises: as `init_`.
    Source: xie2017, eq. (7).
    """
    import torch

    weights = {id(layer.weight): layer for _, layer in linear_layers(module)}
    total = 0
    for layer in weights.values():
        groups = getattr(layer, "groups", 1)
        for part in layer.weight.chunk(groups):
            rows = (part.transpose(0, 1) if getattr(layer, "transposed", False) else part).flatten(1)  # W^T
            total = total + (rows @ rows.T - torch.eye(len(rows), dtype=rows.dtype, device=rows.device)).square().sum()
    return total / 2


def _met(module: Any, batch: Any, at_layer: Callable[[str, Any, float], float]) -> dict[str, float]:
    """Deviations of the products of a pass, by weight at its first use; `at_layer` gives factors for what goes on."""
    import torch

    met: dict[str, float] = {}
    done = set()

    def hook(name: str, layer: Any) -> Any:
        def visit(_: Any, __: Any, out: Any) -> Any:
            if id(layer.weight) in done:
                return out
            done.add(id(layer.weight))
            product = without_bias(layer, out)
            met[name] = float(product.double().std(correction=0))
            return out + product * (at_layer(name, layer, met[name]) - 1)

        return layer.register_forward_hook(visit)

    handles = [hook(f"{name}.weight" if name else "weight", layer) for name, layer in linear_layers(module)]
    try:
        with torch.no_grad():
            module(*batch)
    finally:
        for handle in handles:
            handle.remove()
    return met


def without_bias(layer: Any, out: Any) -> Any:
    """The product of the weight of a layer with data, from its output."""
    if layer.bias is None:
        return out
    return out - layer.bias.reshape(-1, *[1] * len(getattr(layer, "kernel_size", ())))


def linear_layers(module: Any) -> list[tuple[str, Any]]:
    """Names and modules of all linear and convolutional layers."""
    from torch import nn

    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    layers = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, (nn.Linear, *convolutions))]
    if not layers:
        raise ValueError(
            f"{type(module).__name__} has no linear or convolutional layer of torch.nn: use fill_ on tensors."
        )
    for name, layer in layers:
        if nn.parameter.is_lazy(layer.weight):
            raise ValueError(f"the layer {name} is lazy and has no shape yet: run the module on one batch first.")
    return layers


def _for_stride(kernel: Any, layer: Any) -> Any:
    if not (isinstance(kernel, Initializer) and getattr(layer, "transposed", False)):
        return kernel
    return replace(kernel, gain=kernel.gain * math.sqrt(math.prod(layer.stride)))
