"""Diagnostics: how signals and gradients propagate through the network at hand, beside what theory says."""

from widenet.diagnostics.advice import Advice, recommend
from widenet.diagnostics.report import SignalReport, signal_report
from widenet.diagnostics.statistics import isometry_gap

__all__ = ["Advice", "SignalReport", "isometry_gap", "recommend", "signal_report"]
