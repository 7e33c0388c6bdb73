"""What the layers of a module of torch are given and make, and the gradients there, by hooks."""

from __future__ import annotations

from typing import Any

import numpy as np

from widenet.torch.modules import linear_layers, without_bias

Met = tuple[str, np.ndarray, np.ndarray, float, float]


def is_module(apply: Any) -> bool:
    """Is it a module of torch, rather than a function?"""
    return hasattr(apply, "forward") and hasattr(apply, "named_parameters")


def layers_of_module(module: Any, x: Any, seed: int, probes: int) -> list[Met]:
    """For each use of a linear or convolutional layer: name, input, output without bias, J and gradient norm (S1).

    One forward pass module(x) and `probes` backward passes; parameters and their gradients stay as they are.  A weight
    that is used again has the gradient of all its uses.
    Raises: ValueError for an output that is not a tensor or does not depend on a weight.
    """
    import torch

    met: list[tuple[str, Any, Any, Any]] = []

    def hook(name: str, layer: Any) -> Any:
        def visit(_: Any, given: Any, out: Any) -> Any:
            out = out if out.requires_grad else out.requires_grad_()
            met.append((name, layer, given[0].detach().clone(), out))
            return out.clone()  # what follows may work in place

        return layer.register_forward_hook(visit)

    handles = [hook(f"{name}.weight" if name else "weight", layer) for name, layer in linear_layers(module)]
    try:
        with torch.enable_grad():
            output = module(x if torch.is_tensor(x) else _like_weights(torch.as_tensor(x), module))
    finally:
        for handle in handles:
            handle.remove()
    if not (torch.is_tensor(output) and output.requires_grad):
        raise ValueError("the module must return one tensor that depends on its layers: wrap it in one that does.")
    weights = [layer.weight for _, layer, _, _ in met]
    trained = [(i, weight) for i, weight in enumerate(weights) if weight.requires_grad]
    wanted = [out for *_, out in met] + [weight for _, weight in trained]
    generator = torch.Generator(device="cpu").manual_seed(seed)
    squares = np.zeros(len(wanted))
    for _ in range(probes):
        probe = torch.randn(output.shape, generator=generator, dtype=torch.float64).to(output)
        grads = torch.autograd.grad(output, wanted, probe, retain_graph=True, allow_unused=True)
        for i, grad in enumerate(grads):
            squares[i] += 0.0 if grad is None else float(grad.double().square().sum()) / output.numel() / probes
    norm = {i: float(squares[len(met) + at] ** 0.5) for at, (i, _) in enumerate(trained)}
    return [
        (name, _array(given), _array(without_bias(layer, out)), float(squares[i]), norm.get(i, float("nan")))
        for i, (name, layer, given, out) in enumerate(met)
    ]


def _like_weights(x: Any, module: Any) -> Any:
    weight = linear_layers(module)[0][1].weight
    return x.to(weight) if x.is_floating_point() else x.to(weight.device)


def _array(tensor: Any) -> np.ndarray:
    return np.asarray(tensor.detach().double().cpu())
