"""Paths, shapes and leaves of any pytree of parameters."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

Shapes = dict[str, tuple[int, ...]]


def path_of(keys: tuple[Any, ...]) -> str:
    """The keys of a leaf as text, such as blocks/0/dense/kernel."""
    names = [str(next(v for a in ("name", "key", "idx") if (v := getattr(key, a, None)) is not None)) for key in keys]
    boxed = len(names) > 1 and isinstance(keys[-1], jax.tree_util.GetAttrKey) and names[-1] == "value"
    return "/".join(names[:-1] if boxed else names)  # variables of flax end in .value


def is_parameter(leaf: Any) -> bool:
    """Is it an array of floats, real or complex, or the shape of one?"""
    dtype = getattr(leaf, "dtype", None)
    return (
        dtype is not None and hasattr(leaf, "shape") and not _is_state(leaf) and jax.numpy.issubdtype(dtype, np.inexact)
    )


def _is_state(node: Any) -> bool:
    """Is it a variable of flax nnx or equinox that is not trained, as the averages of batch normalization?"""
    nnx, eqx = sys.modules.get("flax.nnx"), sys.modules.get("equinox")
    if nnx is not None and isinstance(node, nnx.Variable):
        return not isinstance(node, nnx.Param)
    return eqx is not None and isinstance(node, eqx.nn.StateIndex)


def parameters(tree: Any) -> dict[str, Any]:
    """The arrays of floats in a pytree, by path."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_state)
    return {path_of(keys): leaf for keys, leaf in leaves if is_parameter(leaf)}


def shapes_of(model: Any) -> Shapes:
    """The shapes of all parameters of a pytree, or of what a function without arguments would return."""
    return {path: tuple(leaf.shape) for path, leaf in parameters(evaluated(model)).items()}


def evaluated(model: Any) -> Any:
    """A pytree, or that of shapes that a function without arguments would return: it is traced, not run."""
    if not _is_function(model):
        return model
    eqx = sys.modules.get("equinox")  # modules of equinox have functions as leaves
    return jax.eval_shape(model) if eqx is None else eqx.filter_eval_shape(model)


def _is_function(model: Any) -> bool:
    """Is it a function, not a module that can be called?"""
    leaves = jax.tree.leaves(model)
    return callable(model) and len(leaves) == 1 and leaves[0] is model


def mapped(function: Callable[[str, Any], Any], tree: Any) -> Any:
    """The tree with `function(path, leaf)` at every parameter; other leaves stay."""
    return jax.tree_util.tree_map_with_path(
        lambda keys, leaf: function(path_of(keys), leaf) if is_parameter(leaf) else leaf, tree, is_leaf=_is_state
    )


def filled(values: Mapping[str, Any], tree: Any, default: Any) -> Any:
    """A tree of the same structure with a value at each parameter and `default` elsewhere."""
    return jax.tree_util.tree_map_with_path(
        lambda keys, leaf: values[path_of(keys)] if is_parameter(leaf) else default, tree, is_leaf=_is_state
    )
