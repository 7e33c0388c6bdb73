"""Diagnostics: how signals and gradients propagate through the network at hand, beside what theory says."""

from widenet.diagnostics.advice import Advice, recommend
from widenet.diagnostics.dynamic_tanh import Propagation, dyt_exponent, dyt_propagation, layer_norm_propagation
from widenet.diagnostics.growth import GrowthReport, growth_report, residual_growth
from widenet.diagnostics.long_skips import SkipReport, skip_scales, unet_signal_report
from widenet.diagnostics.normalization import (
    BatchNormReport,
    batch_norm_layers,
    batch_norm_report,
    depth_gain,
    gap_bound,
)
from widenet.diagnostics.report import SignalReport, signal_report
from widenet.diagnostics.statistics import isometry_gap

__all__ = [
    "Advice",
    "BatchNormReport",
    "GrowthReport",
    "Propagation",
    "SignalReport",
    "SkipReport",
    "batch_norm_layers",
    "batch_norm_report",
    "depth_gain",
    "dyt_exponent",
    "dyt_propagation",
    "gap_bound",
    "growth_report",
    "isometry_gap",
    "layer_norm_propagation",
    "recommend",
    "residual_growth",
    "signal_report",
    "skip_scales",
    "unet_signal_report",
]
