"""Optimizers whose updates have known sizes, as transformations of optax; learning rates say the rest. (O1, O2)"""

from widenet.initializers.fans import Axes
from widenet.optimizers.adam import scale_by_adam
from widenet.optimizers.clip import clip_by_scaled_norm, clip_leaves_by_scaled_norm
from widenet.optimizers.curvature import empirical, gauss_newton, sampled
from widenet.optimizers.damping import constant, martens_grosse, relative_to_largest, relative_to_trace
from widenet.optimizers.kfac import Kfac, kfac
from widenet.optimizers.leaves import shape_factors
from widenet.optimizers.muon import optax_muon_scale, scale_by_muon
from widenet.optimizers.orthogonal import accurate, newton_schulz, polar, standard
from widenet.optimizers.shampoo import scale_by_shampoo
from widenet.optimizers.soap import scale_by_soap

__all__ = [
    "Axes",
    "Kfac",
    "accurate",
    "clip_by_scaled_norm",
    "clip_leaves_by_scaled_norm",
    "constant",
    "empirical",
    "gauss_newton",
    "kfac",
    "martens_grosse",
    "newton_schulz",
    "optax_muon_scale",
    "polar",
    "relative_to_largest",
    "relative_to_trace",
    "sampled",
    "scale_by_adam",
    "scale_by_muon",
    "scale_by_shampoo",
    "scale_by_soap",
    "shape_factors",
    "standard",
]
