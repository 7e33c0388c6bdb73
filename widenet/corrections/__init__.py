"""Reading 4: the 1/width expansion of multilayer perceptrons, and its measurement on any network."""

from widenet.corrections.aspect import optimal_aspect_ratio
from widenet.corrections.edgeworth import edgeworth, one_hidden_cumulants
from widenet.corrections.ensembles import LowRank, draw_params
from widenet.corrections.estimators import Estimate, empirical_finite_width, extrapolate_width
from widenet.corrections.fluctuations import Fluctuations, empirical_fluctuations
from widenet.corrections.four_point import FourPoint, four_point
from widenet.corrections.recursion import finite_width
from widenet.corrections.result import Corrections

__all__ = [
    "Corrections",
    "Estimate",
    "Fluctuations",
    "FourPoint",
    "LowRank",
    "draw_params",
    "edgeworth",
    "empirical_finite_width",
    "empirical_fluctuations",
    "extrapolate_width",
    "finite_width",
    "four_point",
    "one_hidden_cumulants",
    "optimal_aspect_ratio",
]
