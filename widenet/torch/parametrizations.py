"""A parametrization in torch's training code: groups of parameters, initialization, multipliers. (U5)"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from widenet.parametrizations.apply import check_sizes, check_zero_readout
from widenet.parametrizations.factors import Decay, Factors
from widenet.parametrizations.leaf import Role
from widenet.torch.specs import bare, named_tensors


def param_groups(
    model: Any,
    factors: Factors,
    lr: float,
    *,
    weight_decay: float = 0.0,
    eps: float | None = None,
    decay_vectors: bool = False,
) -> list[dict[str, Any]]:
    """Groups for any torch optimizer: dicts with "params", "lr", "weight_decay" and, if it is given here, "eps".

    If `factors` have several optimizers, each group has the name of its own under "optimizer".
    Parameters with equal numbers are in one group, so that schedulers, which multiply each group's rate, keep the
    ratios.  They are found by name: the model may be wrapped by torch.compile, DistributedDataParallel or FSDP with its
    original parameters.  Those without gradient are left out.
    lr, weight_decay, eps: of the base model.  Decay goes as `factors` was made with; "independent" divides by the rate,
    as torch multiplies by it.  decay_vectors: do biases and gains decay?
    Raises: ValueError if the model has other parameters than `factors`, or for a rate that is no positive number.

        optimizer = torch.optim.AdamW(param_groups(model, factors, lr=1e-3, weight_decay=0.1, eps=1e-8))
    """
    if isinstance(lr, bool) or not isinstance(lr, (int, float)) or not lr > 0:
        raise ValueError(
            f"lr is a positive number; got {lr!r}. A schedule comes later: torch.optim.lr_scheduler multiplies the "
            "rates of all groups."
        )
    groups: dict[tuple[Any, ...], dict[str, Any]] = {}
    several = len(set(factors.optimizers.values())) > 1
    for name, tensor in tensors_of(model, factors).items():
        if not tensor.requires_grad:
            continue
        factor = factors.by_path[name]
        lasting = weight_decay * factor.decay if decay_vectors or factors.specs[name].is_matrix else 0.0
        lasting = lasting / lr if factors.decay == Decay.INDEPENDENT else lasting
        numbers: dict[str, Any] = {"lr": lr * factor.rate, "weight_decay": lasting}
        if eps is not None:
            numbers["eps"] = eps * factor.epsilon
        if several:
            numbers["optimizer"] = factors.optimizers[name].name
        groups.setdefault(tuple(numbers.values()), {"params": [], **numbers})["params"].append(tensor)
    return list(groups.values())


def rescale_init_(
    model: Any, base: Any, factors: Factors, *, zero_readout: bool = False, zero: str | None = None
) -> Any:
    """Scale the parameters of a wide module, in place, to the sizes that the parametrization asks for; returns it.

    As `widenet.parametrizations.rescale_init`: each tensor gets the root mean square of that of `base`, a module as
    drawn, times its factor, so that a second call changes nothing.
    Raises: ValueError as there, and for tensors without values or in flat shards.
    """
    import torch

    check_zero_readout(factors, zero_readout)
    if _is_flat(model):
        raise ValueError("FullyShardedDataParallel leaves pieces of tensors here: call rescale_init_ before it wraps.")
    if any(tensor.is_meta for module in (model, base) for tensor in module.parameters()):
        raise ValueError("a module on the meta device has no values: to_empty() and draw its parameters before.")
    then = {tensor.names[0]: tensor.value for tensor in named_tensors(base)}
    wrong = [leaf.path for leaf in factors.specs if leaf.path not in then or tuple(then[leaf.path].shape) != leaf.base]
    if wrong:
        raise ValueError(f"base is another module than that of the specs: {wrong[0]!r} differs. Infer them anew.")
    with torch.no_grad():
        for name, tensor in tensors_of(model, factors).items():
            leaf = factors.specs[name]
            if (zero_readout and leaf.role == Role.OUTPUT) or (zero is not None and re.search(zero, name)):
                tensor.zero_()
            elif not leaf.fan_in == leaf.fan_out == 1:
                now, wanted = _rms(tensor), _rms(then[name])
                check_sizes(name, now, wanted)
                tensor.mul_(wanted * factors.by_path[name].init / now if now else 1)
    return model


def _rms(tensor: Any) -> float:
    """Of the whole tensor, also if it is sharded by `fully_shard`."""
    square = tensor.detach().abs().double().square().mean()
    return float(square.full_tensor() if hasattr(square, "full_tensor") else square) ** 0.5


def _is_flat(model: Any) -> bool:
    """Is it wrapped by FullyShardedDataParallel?"""
    return any("_fsdp_wrapped_module" in name or name.endswith("_flat_param") for name, _ in model.named_parameters())


def with_multipliers(model: Any, factors: Factors) -> Callable[..., Any]:
    """The forward pass with every parameter times its multiplier n^-a; in form A that is the module itself.

    Raises: ValueError in other forms for modules that FSDP has sharded.
    """
    import torch

    values = factors.column("multiplier")
    if all(value == 1 for value in values.values()):
        return model
    if _is_flat(model) or any(hasattr(tensor, "full_tensor") for tensor in model.parameters()):
        raise ValueError(
            "FSDP gathers parameters by itself and takes no products of them: use form A, which has no multipliers, or "
            "B with readout_scale(...) in the model."
        )
    tensors_of(model, factors)

    def call(*args: Any, **kwargs: Any) -> Any:
        scaled = {name: tensor * values[bare(name, model)] for name, tensor in model.named_parameters()}
        return torch.func.functional_call(model, scaled, args, kwargs, tie_weights=True)

    return call


def tensors_of(model: Any, factors: Factors) -> dict[str, Any]:
    """The parameters of a module by bare name, if they are those of `factors`.

    Raises: ValueError naming what is missing, unknown or of another shape.
    """
    found = {tensor.names[0]: tensor.value for tensor in named_tensors(model)}
    shapes = {name: tuple(tensor.shape) for name, tensor in found.items()}
    if any(name.endswith("_flat_param") for name in found):
        raise ValueError("FullyShardedDataParallel has joined parameters into one: give it use_orig_params=True.")
    known = {leaf.path: leaf.shape for leaf in factors.specs}
    if factors.specs.tied and set(known) < set(found):
        lost = ", ".join(sorted(set(found) - set(known)))
        raise ValueError(f"{lost}: tied when specs were inferred, but not here; tie it again, as after to_empty().")
    if _is_flat(model):
        shapes = {name: known.get(name, shape) for name, shape in shapes.items()}
    factors.specs.check_shapes(shapes)
    return found
