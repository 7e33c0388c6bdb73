"""Specs of torch modules: which axes of each tensor are fan-in and fan-out, by the module that owns it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from widenet.parametrizations.conventions import TORCH, Axes, Convention, check_rules, convention_of
from widenet.parametrizations.infer import compare
from widenet.parametrizations.specs import Specs
from widenet.parametrizations.trees import Shapes

WRAPPERS = re.compile(r"(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


class Tensor(NamedTuple):
    """A parameter: its names, all of them if it is shared, the layer of torch.nn that owns it, if one does, and the
    number of groups that the layer's channels are in.
    """

    names: tuple[str, ...]
    value: Any
    owner: str
    groups: int


def infer(
    base: Any,
    target: Any,
    delta: Any = None,
    *,
    axes: Mapping[str, str] | None = None,
    branches: str | None = None,
    depth: int | None = None,
    base_depth: int | None = None,
    block_depth: int = 1,
) -> Specs:
    """What the parameters of the module `target` are, beside those of a narrower `base`; paths are torch's names.

    base, target, delta: modules, or functions without arguments that make one, which are then made without memory, on
    torch's meta device.  delta: a third one, for a base as wide as its target.
    axes: rules for parameters that no module of torch.nn owns, {"pattern of names": "in out"}; other arguments as of
    `widenet.parametrizations.infer`.  A tensor with several names is taken as embedding and readout at once if one of
    its owners is an embedding; it has the first of its names.
    Names are those of the bare module: torch.compile, DistributedDataParallel and FSDP may wrap it later.
    Raises: ValueError as `widenet.parametrizations.infer`, and for one's own matrices with axes that nothing names.
    """
    narrow, wide = _made(base), _made(target)
    tensors = list(named_tensors(wide))
    own = convention_of(TORCH, axes)
    ruled = Convention("torch", last_out=False, rules=own.rules[: len(axes or {})])
    rules = tuple((f"^{re.escape(t.names[0])}$", _axes(t, ruled)) for t in tensors)
    shapes = _shapes(narrow), _shapes(wide), None if delta is None else _shapes(_made(delta))
    check_rules(axes or {}, shapes[1])
    _refuse_guesses(tensors, ruled, shapes[0], shapes[2] or shapes[1])
    tied = [re.escape(t.names[0]) for t in tensors if len(t.names) > 1 and t.owner == "Embedding"]
    return compare(
        *shapes,
        convention=Convention("torch", last_out=False, rules=rules),
        branches=branches,
        depths=(depth, base_depth),
        block_depth=block_depth,
        tied=f"^({'|'.join(tied)})$" if tied else None,
    )


def named_tensors(module: Any) -> Iterator[Tensor]:
    """The parameters of a module, each once, under bare names."""
    parts = {bare(name, module): part for name, part in module.named_modules(remove_duplicate=False)}
    names: dict[int, list[str]] = {}
    values: dict[int, Any] = {}
    for name, value in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(value), []).append(bare(name, module))
        values[id(value)] = value
    for key, value in values.items():
        owners = [parts.get(name.rpartition(".")[0]) for name in names[key]]
        kinds = [_layer(owner) for owner in owners]
        owner = "Embedding" if any(kind.startswith("Embedding") for kind in kinds) else kinds[0]
        yield Tensor(tuple(names[key]), value, owner, getattr(owners[0], "groups", 1))


def _layer(module: Any) -> str:
    """The layer of torch.nn that a module is or descends from, else its own type."""
    kinds = [kind for kind in type(module).__mro__ if kind.__module__.startswith("torch.nn.modules.")]
    return kinds[0].__name__ if kinds and kinds[0].__name__ != "Module" else type(module).__name__


def bare(name: str, model: Any) -> str:
    """The name of a parameter or module of `model` without what wrappers put into it."""
    outside = _outside(model)
    return WRAPPERS.sub("", f"{name}.".removeprefix(outside)).rstrip(".")


def _outside(model: Any) -> str:
    """What the wrappers around a whole model put before its names; a part of its own may be called module, too."""
    for name in ("_orig_mod", "_fsdp_wrapped_module", "module"):
        if name in model._modules and (name != "module" or type(model).__name__.endswith("DataParallel")):
            return f"{name}.{_outside(model._modules[name])}"
    return ""


def _made(model: Any) -> Any:
    """A module, without memory if it is still to be made."""
    import torch

    if isinstance(model, torch.nn.Module):
        return model
    if not isinstance(model, Callable):  # type: ignore[arg-type]
        raise ValueError(f"models are torch modules, or functions that make one; got {type(model).__name__}.")
    with torch.device("meta"):
        return model()


def _shapes(module: Any) -> Shapes:
    return {tensor.names[0]: tuple(tensor.value.shape) for tensor in named_tensors(module)}


KNOWN = ("Linear", "Conv", "Embedding", "MultiheadAttention", "RNN", "LSTM", "GRU", "Norm", "PReLU", "Bilinear")


def _axes(tensor: Tensor, ruled: Convention) -> Axes:
    """What the axes of a tensor are: by one's own rules, else by its owner."""
    name, ndim, owner = tensor.names[0], tensor.value.ndim, tensor.owner
    if (found := _ruled(name, ndim, ruled)) is not None:
        return found
    if owner.startswith("Embedding"):
        return ("in", "out")
    if "Norm" in owner:
        return (*("tap",) * (ndim - 1), "out")
    if owner.startswith("ConvTranspose") and ndim > 1:
        one_each = 1 < tensor.groups == tensor.value.shape[0]  # depthwise: the first axis counts groups
        return (*(("out", "in") if one_each else ("in", "out")), *("tap",) * (ndim - 2))
    if owner == "Bilinear" and ndim == 3:
        return ("out", "in", "in")
    if owner == "MultiheadAttention" and ndim == 3:  # bias_k and bias_v
        return ("tap", "tap", "out")
    return TORCH.axes(name, ndim)


def _ruled(name: str, ndim: int, ruled: Convention) -> Axes | None:
    for pattern, axes in ruled.rules:
        if len(axes) == ndim and re.search(pattern, name):
            return axes
    return None


def _refuse_guesses(tensors: list[Tensor], ruled: Convention, base: Shapes, other: Shapes) -> None:
    """A matrix of one's own with one infinite axis could be an input or an output."""
    for tensor in tensors:
        name, ndim = tensor.names[0], tensor.value.ndim
        known = any(kind in tensor.owner for kind in KNOWN) or _ruled(name, ndim, ruled) is not None
        if known or ndim < 2 or name not in base or name not in other or TORCH.rules[0][1] == TORCH.axes(name, ndim):
            continue
        if sum(then != now for then, now in zip(base[name], other[name], strict=True)) == 1:
            raise ValueError(
                f"{name!r} {base[name]} belongs to {tensor.owner}, no layer of torch.nn, and one axis is a width: "
                f"is it fan-in or fan-out?  Say so, axes={{{re.escape(name)!r}: '{'tap ' * (ndim - 2)}in out'}}, with "
                "a word for every axis."
            )
