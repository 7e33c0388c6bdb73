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
SHOWN = 12  # decades: bars of networks that break are cut
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


ADVICE = {
    "q": "q: variance forwards",
    "c": "1 - c: cosine distance of samples",
    "jacobian": "J: squared gradient, layer to output",
}


def draw_advice(advice: Advice) -> Figure:
    """Three panels over the layers, the best candidate thick, theory dashed; below, a bar a candidate for its cost."""
    count = len(advice.options)
    figure = Figure(figsize=(14, 5.4 + 0.28 * count), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 3, height_ratios=[4.6, 0.8 + 0.28 * count])
    panels = [figure.add_subplot(grid[0, i]) for i in range(3)]
    colours = [f"C{i % 10}" for i in range(count)]
    place = "block" if advice.setting.skips else "layer"
    for ax, (name, title) in zip(panels, ADVICE.items(), strict=True):
        for i, option in enumerate(advice.options):
            for signals, style in ((option.report.measured, "-" if i < 10 else ":"), (option.report.theory, "--")):
                values = np.full(1, np.nan) if signals is None else getattr(signals, name)[:-1]
                values = 1 - values if name == "c" else values
                shown = np.where((values > 0) & np.isfinite(values), values, np.nan)
                at = np.arange(1, len(shown) + 1)
                ax.plot(at, shown, style, color=colours[i], lw=1.2 if i else 3, alpha=0.5 if style == "--" else 1)
        ax.set_yscale("log")
        _widen(ax)
        ax.set(title=title, xlabel=place)
        ax.grid(alpha=0.3)
    _draw_costs(figure.add_subplot(grid[1, :]), advice, colours)
    figure.suptitle(f"best: {advice.best.name}; theory is dashed", fontsize=11)
    return figure


def _draw_costs(ax: Axes, advice: Advice, colours: list[str]) -> None:
    """A bar a candidate, in its colour: the decades that it is off, part by part."""
    hatches = {"q": None, "jacobian": "//", "apart": "..", "spread": "xx"}
    labels = {"q": "q", "jacobian": "squared gradient", "apart": "1 - c", "spread": "spread of singular values"}
    at = np.arange(len(advice.options))
    left = np.zeros(len(at))
    for name, hatch in hatches.items():
        parts = np.nan_to_num([getattr(option.costs, name) for option in advice.options], nan=0, posinf=0)
        ax.barh(at, parts, left=left, color=colours, hatch=hatch, edgecolor="white", lw=0.5)
        ax.barh(0, 0, color="0.6", hatch=hatch, edgecolor="white", label=labels[name])
        left += parts
    shown = min(SHOWN, 1.2 * max(left.max(), 0.1))
    for y, option in enumerate(advice.options):
        inside = left[y] < 0.95 * shown and np.isfinite(option.cost)
        where, side = (left[y], "left") if inside else (shown, "right")
        box = None if inside else {"facecolor": "white", "edgecolor": "none", "pad": 1}
        ax.text(where, y, f" {option.cost:.3g} ", va="center", ha=side, fontsize=9, bbox=box)
    ax.set_yticks(at, [option.name for option in advice.options])
    ax.invert_yaxis()
    ax.set_xlim(0, shown)
    ax.set_xlabel("decades of change")
    ax.legend(fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, frameon=False)


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
