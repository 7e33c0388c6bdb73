"""The picture of a signal report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from widenet.diagnostics.advice import Advice
    from widenet.diagnostics.report import SignalReport

TITLES = {
    "q": "q: variance of preactivations",
    "c": "1 - c: cosine distance of samples",
    "jacobian": "J: squared gradient, layer to output",
    "gradient": "|dW|: gradient in the weight",
}
SHARES = {"zero": "zero", "dead": "dead units", "saturated": "saturated"}


def draw(report: SignalReport) -> Figure:
    """Six panels over the layers; theory is dashed."""
    figure = Figure(figsize=(13, 7), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 3, sharex=True).ravel()
    at = np.arange(1, len(report.names) + 1)
    for ax, (name, title) in zip(panels[:4], TITLES.items(), strict=True):
        for signals, style, label in ((report.measured, "o-", "measured"), (report.theory, "k--", "theory")):
            values = np.nan if signals is None else getattr(signals, name)
            values = 1 - values if name == "c" else values
            shown = np.where(values > 0, values, np.nan) * np.ones(len(at))
            if np.isfinite(shown).any():
                ax.plot(at, shown, style, ms=3, label=label)
        ax.set_yscale("log")
        _widen(ax)
        _finish(ax, title)
    for name, label in SHARES.items():
        panels[4].plot(at, getattr(report.measured, name), "o-", ms=3, label=label)
    panels[4].set_ylim(-0.03, 1.03)
    _finish(panels[4], "shares in what the layer is given")
    panels[5].plot(at, report.measured.gap, "o-", ms=3)
    _finish(panels[5], "isometry gap of the samples")
    for ax in panels[3:]:
        ax.set_xlabel("layer")
    figure.suptitle(f"{report.verdict}: {report.reason}", fontsize=11, wrap=True)
    return figure


def draw_advice(advice: Advice) -> Figure:
    """Three panels over the layers, all candidates in each, the best one thick; theory is dashed."""
    figure = Figure(figsize=(14, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    for ax, (name, title) in zip(panels, list(TITLES.items())[:3], strict=True):
        for i, option in enumerate(advice.options):
            for signals, style in ((option.report.measured, "-"), (option.report.theory, "--")):
                values = np.full(1, np.nan) if signals is None else getattr(signals, name)[:-1]
                values = 1 - values if name == "c" else values
                shown = np.where((values > 0) & np.isfinite(values), values, np.nan)
                label = option.name if style == "-" else None
                ax.plot(np.arange(1, len(shown) + 1), shown, style, color=f"C{i}", lw=1 if i else 2.5, label=label)
        ax.set_yscale("log")
        _widen(ax)
        ax.set(title=title, xlabel="layer")
        ax.grid(alpha=0.3)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    figure.suptitle(f"best: {advice.best.name}; theory is dashed", fontsize=11)
    return figure


def _widen(ax: Axes) -> None:
    """Show a decade or more, so that noise does not look like a trend."""
    low, high = np.log10(ax.get_ylim())
    more = max(0.0, 1 - (high - low)) / 2
    ax.set_ylim(10 ** (low - more), 10 ** (high + more))


def _finish(ax: Axes, title: str) -> None:
    ax.set_title(title, fontsize=10)
    ax.grid(alpha=0.3)
    if len(ax.lines) > 1:
        ax.legend(fontsize=8)
    if not any(np.isfinite(line.get_ydata()).any() for line in ax.lines):
        ax.text(0.5, 0.5, "not defined", transform=ax.transAxes, ha="center", color="0.5")
