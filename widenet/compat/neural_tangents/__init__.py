"""The interface of neural-tangents 0.6.5 on top of widenet: change the import, keep the code.

    from widenet.compat import neural_tangents as nt
    from widenet.compat.neural_tangents import stax

What differs is in docs/migration.md.
"""

from __future__ import annotations

from typing import Any

from widenet.compat.neural_tangents import predict, stax
from widenet.compat.neural_tangents.batching import batch
from widenet.compat.neural_tangents.empirical import (
    NtkImplementation,
    empirical_kernel_fn,
    empirical_nngp_fn,
    empirical_ntk_fn,
    empirical_ntk_vp_fn,
)
from widenet.compat.neural_tangents.expansion import linearize, taylor_expand
from widenet.compat.neural_tangents.kernel import Kernel
from widenet.compat.neural_tangents.monte_carlo import monte_carlo_kernel_fn

__all__ = [
    "stax",
    "predict",
    "Kernel",
    "batch",
    "monte_carlo_kernel_fn",
    "linearize",
    "taylor_expand",
    "NtkImplementation",
    "empirical_kernel_fn",
    "empirical_nngp_fn",
    "empirical_ntk_fn",
    "empirical_ntk_vp_fn",
]


def __getattr__(name: str) -> Any:
    remedy = "; for TensorFlow models compute empirical kernels of a jax function" if name == "experimental" else ""
    raise AttributeError(f"widenet.compat.neural_tangents has no {name!r}{remedy}.")
