"""Initializers of real networks: laws with the signature of jax, data-dependent tuning, reshaped activations."""

from widenet.initializers.first_step import adam, gradinit, sgd
from widenet.initializers.for_haiku import for_haiku
from widenet.initializers.gains import critical_point, edge_of_chaos
from widenet.initializers.gradient_quotient import gradient_quotient, metainit
from widenet.initializers.graph_operators import adjacency, gat_operator, residual_operator
from widenet.initializers.graphs import (
    GraphWeights,
    dezoort_hanin,
    graph_nngp,
    graph_signal,
    virgo_arithmetic,
    virgo_backward,
    virgo_forward,
    virgo_harmonic,
)
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
from widenet.initializers.orthonormality import modulated, orthonormality, orthonormality_penalty
from widenet.initializers.recipes import critical, fixup, rezero, skip_init, sparse_crelu, sparse_cst
from widenet.initializers.shaped import dks, tat, tat_leaky_relu
from widenet.initializers.unit_variance import lsuv

__all__ = [
    "GraphWeights",
    "Initializer",
    "adam",
    "adjacency",
    "apjn",
    "apjn_tune",
    "bias",
    "block_sparse",
    "cayley",
    "constant",
    "critical",
    "critical_point",
    "delta_orthogonal",
    "dezoort_hanin",
    "dks",
    "edge_of_chaos",
    "fixup",
    "for_haiku",
    "gat_operator",
    "gradient_quotient",
    "gradinit",
    "graph_nngp",
    "graph_signal",
    "low_rank",
    "lsuv",
    "metainit",
    "modulated",
    "normal",
    "orthogonal",
    "orthonormality",
    "orthonormality_penalty",
    "permuted",
    "residual_operator",
    "rezero",
    "sgd",
    "skip_init",
    "sparse_crelu",
    "sparse_cst",
    "tat",
    "tat_leaky_relu",
    "truncated_normal",
    "uniform",
    "virgo_arithmetic",
    "virgo_backward",
    "virgo_forward",
    "virgo_harmonic",
]
