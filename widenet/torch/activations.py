"""Which of our activations a torch module is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax

from widenet import activations as known
from widenet.activations import Activation


def _gelu(module: Any) -> Activation:
    return known.gelu if module.approximate == "none" else known.activation(jax.nn.gelu, name="gelu_tanh")


PLAIN: Mapping[str, Activation] = MappingProxyType(
    {
        "Hardsigmoid": known.hard_sigmoid,
        "Hardtanh": known.hard_tanh,
        "Identity": known.identity,
        "Mish": known.mish,
        "ReLU": known.relu,
        "ReLU6": known.relu6,
        "SELU": known.selu,
        "SiLU": known.silu,
        "Sigmoid": known.sigmoid,
        "Softplus": known.softplus,
        "Tanh": known.tanh,
    }
)
MADE: Mapping[str, Callable[[Any], Activation]] = MappingProxyType(
    {
        "ELU": lambda module: known.elu(module.alpha),
        "GELU": _gelu,
        "LeakyReLU": lambda module: known.leaky_relu(module.negative_slope),
        "Softshrink": lambda module: known.soft_threshold(module.lambd),
    }
)
STANDARD: Mapping[str, tuple[str, str, tuple[float, ...]]] = {
    "Hardtanh": ("min_val", "max_val", (-1.0, 1.0)),
    "Softplus": ("beta", "threshold", (1.0, 20.0)),
}


def activation(module: Any) -> Activation:
    """The activation that a module of `torch.nn` applies, as data: for gains and kernels.

    Raises: TypeError for a module that is not one of the known ones, or has unusual parameters.
    """
    name = type(module).__name__
    if name in MADE:
        return MADE[name](module)
    if name not in PLAIN:
        raise TypeError(
            f"{name} is not a known activation of torch ({', '.join(sorted({*PLAIN, *MADE}))}): give the function of "
            "widenet that it is, or widenet.activation(f) of a jax function."
        )
    first, second, usual = STANDARD.get(name, ("", "", ()))
    if usual and (getattr(module, first), getattr(module, second)) != usual:
        raise TypeError(f"{module} has not the usual parameters {usual}: give widenet.activation(f) of a jax function.")
    return PLAIN[name]
