"""Reading 2: the finite network, its random ensemble, and its linearization."""

from widenet.finite.empirical import empirical_nngp, empirical_ntk, empirical_ntk_diagonal, empirical_ntk_full
from widenet.finite.expansion import linearize, taylor
from widenet.finite.forward import apply, function_of
from widenet.finite.parameters import init
from widenet.finite.sampling import MonteCarlo, monte_carlo, monte_carlo_nngp, monte_carlo_ntk

__all__ = [
    "MonteCarlo",
    "apply",
    "empirical_nngp",
    "empirical_ntk",
    "empirical_ntk_diagonal",
    "empirical_ntk_full",
    "function_of",
    "init",
    "linearize",
    "monte_carlo",
    "monte_carlo_nngp",
    "monte_carlo_ntk",
    "taylor",
]
