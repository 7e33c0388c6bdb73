"""Mean field: what a deep network of equal blocks does to variances and correlations, from the kernel reading."""

from widenet.mean_field.critical import Critical, critical
from widenet.mean_field.fixed_points import Correlation, DepthScales, FixedPoint, depth_scales, fixed_points
from widenet.mean_field.maps import Maps, maps
from widenet.mean_field.phase import Phase, phase
from widenet.mean_field.transformer import group_ntk, pre_norm, unmarked

__all__ = [
    "Correlation",
    "Critical",
    "DepthScales",
    "FixedPoint",
    "Maps",
    "Phase",
    "critical",
    "depth_scales",
    "fixed_points",
    "group_ntk",
    "maps",
    "phase",
    "pre_norm",
    "unmarked",
]
