"""Initializers in place, and parametrizations, for torch, which is imported when one of them is called.

A tensor has torch's layout, `[out, in / groups, *window]`, and its fans; numbers are those of jax for a `key`, and
follow torch's generator without one.
"""

from widenet.torch.activations import activation
from widenet.torch.fill import (
    block_sparse_,
    cayley_,
    delta_orthogonal_,
    fill_,
    low_rank_,
    normal_,
    orthogonal_,
    permuted_,
    truncated_normal_,
    uniform_,
)
from widenet.torch.graphs import graph_init_
from widenet.torch.modules import init_, lsuv_, orthonormality_penalty
from widenet.torch.parametrizations import param_groups, rescale_init_, with_multipliers
from widenet.torch.specs import infer

__all__ = [
    "activation",
    "block_sparse_",
    "cayley_",
    "delta_orthogonal_",
    "fill_",
    "graph_init_",
    "infer",
    "init_",
    "low_rank_",
    "lsuv_",
    "normal_",
    "orthogonal_",
    "orthonormality_penalty",
    "param_groups",
    "permuted_",
    "rescale_init_",
    "truncated_normal_",
    "uniform_",
    "with_multipliers",
]
