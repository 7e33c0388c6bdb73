"""Graph networks of torch, in place; layers are known by what they have, so torch_geometric is never imported."""

from __future__ import annotations

from typing import Any

import jax

from widenet import initializers
from widenet.initializers import GraphWeights
from widenet.initializers.initializer import Initializer, as_key
from widenet.torch.fill import fill_, key_from


def graph_init_(module: Any, weights: GraphWeights, *, generator: Any = None, key: Any = None) -> list[str]:
    """Fill the weights of a graph network with the variances of `weights`, and its biases with zero.

    A layer is a module that passes messages (has `propagate` and `message`, as those of torch_geometric), or one with a
    weight matrix `[out, in]` outside of such.  One variance a layer goes to all of its matrices, as Virgo has it: both
    of GraphSAGE, those of GIN's network, source and target of GAT.  As many variances as matrices go one to each, in
    the order of named_modules.  Embeddings, norms and attention vectors are left as they are.
    Returns the names of what was filled.
    Raises: ValueError for another number of layers, widths that do not match, or a lazy layer.
    Source: li2023 (which matrices); torch_geometric (names).
    """
    layers = _layers(module)
    matrices = [matrix for layer in layers for matrix in layer]
    groups = layers if len(layers) == len(weights.variances) else [[matrix] for matrix in matrices]
    if len(groups) != len(weights.variances):
        raise ValueError(
            f"{type(module).__name__} has {len(layers)} layers with {len(matrices)} weights "
            f"({', '.join(name for name, _ in matrices)}), but there are {len(weights.variances)} variances: give the "
            "initializer widths of as many layers, or of as many weights."
        )
    for group, n_in in zip(groups, weights.widths, strict=False):
        name, layer = group[0]
        if layer.weight.shape[1] != n_in:
            raise ValueError(
                f"{name} has shape {tuple(layer.weight.shape)} [out, in], but widths say {n_in} inputs: give the "
                "widths of this network."
            )
    key = key_from(generator) if key is None else as_key(key)
    filled: dict[int, str] = {}
    for group, variance in zip(groups, weights.variances, strict=True):
        for name, layer in group:
            if id(layer.weight) not in filled:
                law = Initializer(weights.law, (variance * layer.weight.shape[1]) ** 0.5)
                fill_(layer.weight, law, key=jax.random.fold_in(key, len(filled)))
                filled[id(layer.weight)] = name
    return [*filled.values(), *_zero_biases(module, layers)]


def _zero_biases(module: Any, layers: list[list[tuple[str, Any]]]) -> list[str]:
    """Set the biases of layers, and of the modules of their weights, to zero."""
    owners = [module.get_submodule(name.rpartition(".")[0]) for layer in layers for name, _ in layer]
    passing = [one for _, one in module.named_modules() if _passes_messages(one)]
    biases = {id(one.bias): one.bias for one in (*owners, *passing) if getattr(one, "bias", None) is not None}
    names = [name for name, parameter in module.named_parameters() if id(parameter) in biases]
    for bias in biases.values():
        fill_(bias, initializers.constant(0.0), key=0)
    return names


def _passes_messages(module: Any) -> bool:
    return callable(getattr(module, "propagate", None)) and callable(getattr(module, "message", None))


def _layers(module: Any) -> list[list[tuple[str, Any]]]:
    """(name of the weight, its module) of each layer's matrices."""
    layers: list[list[tuple[str, Any]]] = []
    inside: tuple[str, list[tuple[str, Any]]] | None = None
    for name, one in module.named_modules():
        if inside is not None and not f"{name}.".startswith(inside[0]):
            inside = None
        if inside is None and _passes_messages(one):
            inside = (f"{name}." if name else "", [])
            layers.append(inside[1])
        if _has_matrix(one, name):
            entry = (f"{name}.weight" if name else "weight", one)
            layers.append([entry]) if inside is None else inside[1].append(entry)
    found = [layer for layer in layers if layer]
    if not found:
        raise ValueError(
            f"{type(module).__name__} has no layer with a weight matrix [out, in]: use fill_ on its tensors."
        )
    return found


def _has_matrix(module: Any, name: str) -> bool:
    from torch import nn

    weight = getattr(module, "weight", None)
    if not isinstance(weight, nn.Parameter) or isinstance(module, nn.Embedding):
        return False
    if nn.parameter.is_lazy(weight):
        raise ValueError(f"the layer {name} is lazy and has no shape yet: run the module on one batch first.")
    return weight.dim() == 2
