"""Parametrizations: what width and depth do to initialization, multipliers and learning rates, for any model."""

from widenet.parametrizations.apply import multipliers, rescale_init, with_multipliers
from widenet.parametrizations.classify import Classification, check
from widenet.parametrizations.conventions import Convention
from widenet.parametrizations.depth import Depth, depth, depth_linear, depth_none, depth_sqrt
from widenet.parametrizations.exponents import Exponents, exponents
from widenet.parametrizations.factors import Decay, Factor, Factors, factors
from widenet.parametrizations.for_nnx import annotate
from widenet.parametrizations.for_optax import (
    add_parametrized_decay,
    epsilons,
    labels,
    parametrized,
    roles,
    scale_by_parametrization,
)
from widenet.parametrizations.infer import infer
from widenet.parametrizations.leaf import Leaf, Role
from widenet.parametrizations.optimizers import Optimizer, adam, adamw, kfac, lion, muon, sgd, shampoo, soap
from widenet.parametrizations.parametrization import (
    Parametrization,
    abc,
    complete_p,
    depth_mup,
    mfp,
    mup,
    ntp,
    sp,
    sp_layerwise,
    uniform,
)
from widenet.parametrizations.scales import attention_scale, branch_scale, readout_scale
from widenet.parametrizations.specs import Specs
from widenet.parametrizations.transformers import group_steps, lr_exponents

__all__ = [
    "Classification",
    "Convention",
    "Decay",
    "Depth",
    "Exponents",
    "Factor",
    "Factors",
    "Leaf",
    "Optimizer",
    "Parametrization",
    "Role",
    "Specs",
    "abc",
    "adam",
    "adamw",
    "add_parametrized_decay",
    "annotate",
    "attention_scale",
    "branch_scale",
    "check",
    "complete_p",
    "depth",
    "depth_linear",
    "depth_mup",
    "depth_none",
    "depth_sqrt",
    "epsilons",
    "exponents",
    "factors",
    "group_steps",
    "infer",
    "kfac",
    "labels",
    "lion",
    "lr_exponents",
    "mfp",
    "multipliers",
    "muon",
    "mup",
    "ntp",
    "parametrized",
    "readout_scale",
    "rescale_init",
    "roles",
    "scale_by_parametrization",
    "sgd",
    "shampoo",
    "soap",
    "sp",
    "sp_layerwise",
    "uniform",
    "with_multipliers",
]
