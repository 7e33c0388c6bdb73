"""Diagnostics: how signals and gradients propagate through the network at hand, beside what theory says."""

from widenet.diagnostics.report import SignalReport, signal_report
from widenet.diagnostics.statistics import isometry_gap

__all__ = ["SignalReport", "isometry_gap", "signal_report"]
