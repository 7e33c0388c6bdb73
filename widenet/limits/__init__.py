"""Exact limits of networks that learn features: infinite width, and infinite width and depth."""

from widenet.limits.convergence import Slope, error_slope, width_errors
from widenet.limits.descent import descend, sgd_step
from widenet.limits.finite import exact_limit, finite_copy
from widenet.limits.nets import HiddenLayer, LinearNet, linear_mup, linear_resnet
from widenet.limits.particles import Estimate, hidden_layer_limit, particles
from widenet.limits.recursion import linear_limit

__all__ = [
    "Estimate",
    "HiddenLayer",
    "LinearNet",
    "Slope",
    "descend",
    "error_slope",
    "exact_limit",
    "finite_copy",
    "hidden_layer_limit",
    "linear_limit",
    "linear_mup",
    "linear_resnet",
    "particles",
    "sgd_step",
    "width_errors",
]
