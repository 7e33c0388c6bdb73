"""Initializers of real networks: laws with the signature of jax, data-dependent tuning, reshaped activations."""

from widenet.initializers.first_step import adam, gradinit, sgd
from widenet.initializers.for_haiku import for_haiku
from widenet.initializers.gains import critical_point, edge_of_chaos
from widenet.initializers.gradient_quotient import gradient_quotient, metainit
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
from widenet.initializers.neighbours import apjn, apjn_tune
from widenet.initializers.recipes import critical, fixup, rezero, skip_init, sparse_crelu, sparse_cst
from widenet.initializers.shaped import dks, tat, tat_leaky_relu
from widenet.initializers.unit_variance import lsuv

__all__ = [
    "Initializer",
    "adam",
    "apjn",
    "apjn_tune",
    "bias",
    "block_sparse",
    "cayley",
    "constant",
    "critical",
    "critical_point",
    "delta_orthogonal",
    "dks",
    "edge_of_chaos",
    "fixup",
    "for_haiku",
    "gradient_quotient",
    "gradinit",
    "low_rank",
    "lsuv",
    "metainit",
    "normal",
    "orthogonal",
    "permuted",
    "rezero",
    "sgd",
    "skip_init",
    "sparse_crelu",
    "sparse_cst",
    "tat",
    "tat_leaky_relu",
    "truncated_normal",
    "uniform",
]
