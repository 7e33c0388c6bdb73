"""Infinite-width neural-network theory: kernels, finite networks, predictions.

Names are loaded when they are first used, so that `import widenet` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_NAMES = {
    "widenet.program.ops": "Weight",
    "widenet.program.var": "Var",
    "widenet.program.show": "show",
    "widenet.layers.layer": "serial bind add",
    "widenet.layers.dense": "dense",
    "widenet.layers.combine": "residual add_up concatenate dropout",
    "widenet.layers.convolution": "conv conv_local conv_transpose conv_depthwise",
    "widenet.layers.pooling": "average_pool sum_pool resize",
    "widenet.layers.normalization": "layer_norm rms_norm batch_norm",
    "widenet.layers.attention": "attend self_attention transformer_block",
    "widenet.layers.tokens": "embed position_table",
    "widenet.layers.graph": "aggregate masked masked_mean gcn_operator sage_operator gin_operator",
    "widenet.program.samples": "samples",
    "widenet.layers.positions": "flatten position_mean position_sum select time_step mix_positions",
    "widenet.layers.repeat": "repeat",
    "widenet.activations": """
        activation identity relu leaky_relu absolute abrelu step sign rectified_power erf scaled_erf gelu
        sine cosine sin cos rbf exponential gaussian hermite monomial polynomial
        tanh sigmoid silu mish softplus elu selu dyt prelu hard_tanh hard_sigmoid relu6
        crelu cst shifted_relu soft_threshold piecewise_linear piecewise_constant accuracy_table stated_error""",
    "widenet.mean_field": "maps fixed_points depth_scales phase critical group_ntk",
    "widenet.batches": "batch_kernel batch_norm_rate",
    "widenet.kernels.kernel": "kernel nngp ntk Kernel kernel_error",
    "widenet.kernels.describe": "describe",
    "widenet.finite": """
        init apply function_of monte_carlo monte_carlo_nngp monte_carlo_ntk
        empirical_nngp empirical_ntk empirical_ntk_diagonal empirical_ntk_full linearize taylor""",
    "widenet.finite.specs": "specs",
    "widenet.parametrizations.parametrization": "mup depth_mup",
    "widenet.corrections": """
        finite_width LowRank four_point edgeworth one_hidden_cumulants optimal_aspect_ratio
        empirical_finite_width empirical_fluctuations extrapolate_width""",
    "widenet.spectra": """
        jacobian_spectrum empirical_spectrum isometric_init mode_curve learning_time decoupled_weights""",
    "widenet.diagnostics": """
        signal_report isometry_gap recommend batch_norm_report depth_gain gap_bound dyt_propagation
        layer_norm_propagation residual_growth growth_report skip_scales unet_signal_report""",
    "widenet.transfer": "coordinate_check depth_check alignment linearization_distance lr_sweep",
}
_HOME = {name: module for module, names in _NAMES.items() for name in names.split()}
_MODULES = {
    "zoo": "widenet.zoo",
    "predict": "widenet.predict",
    "datasets": "widenet.datasets",
    "scale": "widenet.scale",
    "initializers": "widenet.initializers",
    "limits": "widenet.limits",
    "parametrizations": "widenet.parametrizations",
    "optimizers": "widenet.optimizers",
    "torch": "widenet.torch",
    "transfer": "widenet.transfer",
}

__all__ = [*_HOME, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    if name in _MODULES:
        return import_module(_MODULES[name])
    raise AttributeError(f"widenet has no {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
