"""Initializers of real networks: laws with the signature of jax, data-dependent tuning, transformed activations."""

from widenet.initializers.gains import Point, critical_point, edge_of_chaos
from widenet.initializers.initializer import (
    Initializer,
    bias,
    block_sparse,
    cayley,
    constant,
    delta_orthogonal,
    low_rank,
    normal,
    orthogonal,
    permuted,
    truncated_normal,
    uniform,
)
from widenet.initializers.recipes import critical, fixup, rezero, skip_init, sparse_crelu, sparse_cst
