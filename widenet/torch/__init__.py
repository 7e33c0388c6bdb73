"""In-place twins of `widenet.initializers` for torch, which is imported when one is called.

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
from widenet.torch.modules import init_, lsuv_

__all__ = [
    "activation",
    "block_sparse_",
    "cayley_",
    "delta_orthogonal_",
    "fill_",
    "init_",
    "low_rank_",
    "lsuv_",
    "normal_",
    "orthogonal_",
    "permuted_",
    "truncated_normal_",
    "uniform_",
]
