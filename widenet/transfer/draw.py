"""Pictures of checks and of sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from widenet.transfer.report import CheckReport
    from widenet.transfer.sweep_result import Sweep

TITLES = {
    "x": "x: given to the layer, at the start",
    "W0 x": "W0 x: initial weights",
    "dW x": "dW x: the layer's own update",
    "W0 dx": "W0 dx: changed features, initial weights",
    "dx": "dx: change of features",
    "f": "outputs",
    "value": "named values at the start",
    "change": "change of named values",
    "nonlinear": "blocks: distance from linearization",
}


def picture_path(path: str | Path) -> Path:
    """Raises: ValueError unless a picture can be written by this name."""
    path = Path(path)
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ValueError(f"{path}: the picture must be .png, .pdf or .svg.")
    return path


def blank(rows: int, columns: int, width: float = 4.2, height: float = 3.4) -> tuple[Figure, Any]:
    """A figure of `rows` times `columns` panels."""
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def draw_check(report: CheckReport) -> Figure:
    """A panel a quantity, a line a layer, with the range over seeds; flat lines pass, dashed ones fail."""
    seen = {found.quantity for found in report.findings if not np.isnan(found.slope.value)}
    panels = [name for name in TITLES if name in seen]
    columns = min(3, len(panels))
    figure, axes = blank(-(-len(panels) // columns), columns)
    for ax in axes.ravel()[len(panels) :]:
        ax.set_visible(False)
    for ax, name in zip(axes.ravel(), panels, strict=False):
        shown = [found for found in report.findings if found.quantity in ((name, "df") if name == "f" else (name,))]
        layers = list(report.kinds)
        for i, found in enumerate(shown):
            _line(ax, report, found, i if found.layer == "output" else layers.index(found.layer))
        ax.set(title=TITLES[name], xlabel=report.axis, xscale="log", yscale="log")
        ax.set_xticks(report.sizes, [str(size) for size in report.sizes])
        ax.minorticks_off()
        ax.tick_params(axis="x", labelsize=8)
        _widened(ax)
        ax.grid(alpha=0.3)
        if len(shown) <= MOST_LINES:
            ax.legend(fontsize=7)
    figure.supxlabel(f"solid passes, dashed fails; in brackets: the power of {report.axis}", fontsize=9, color="0.4")
    word = "pass" if report.passed else "FAIL"
    figure.suptitle(f"{word}: {report.verdict}", fontsize=11, color="C2" if report.passed else "C3", wrap=True)
    return figure


MOST_LINES = 12  # of a legend


def _line(ax: Any, report: CheckReport, found: Any, i: int) -> None:
    values = report.values[found.layer, found.quantity][:, :, -1]
    values = np.where(np.isfinite(values) & (values > 0), values, np.nan)
    if not np.isfinite(values).any():
        return
    with np.errstate(all="ignore"):
        middle = np.exp(np.mean(np.log(values), axis=1))
    name = found.quantity if found.layer == "output" else found.layer
    style = "o-" if found.passed else "s--"
    ax.plot(report.sizes, middle, style, color=f"C{i % 10}", ms=4, label=f"{name} ({found.slope.value:+.2f})")
    ax.fill_between(report.sizes, values.min(1), values.max(1), color=f"C{i % 10}", alpha=0.15, lw=0)


def _widened(ax: Any) -> None:
    """Show two decades or more, so that flat looks flat."""
    low, high = np.log10(ax.get_ylim())
    more = max(0.0, 2 - (high - low)) / 2
    ax.set_ylim(10 ** (low - more), 10 ** (high + more))


def draw_sweep(sweep: Sweep) -> Figure:
    """Loss over learning rates, a line a size; and the optima over sizes."""
    figure, axes = blank(1, 2, width=5.5, height=3.8)
    left, right = axes[0]
    colours = [f"C{i % 10}" for i in range(len(sweep.sizes))]
    finite = np.where(np.isfinite(sweep.loss), sweep.loss, np.nan)
    for i, size in enumerate(sweep.sizes):
        with np.errstate(all="ignore"):
            mean = finite[i].mean(axis=1)
        low, high = (part(finite[i], axis=1) for part in (np.min, np.max))
        left.plot(sweep.learning_rates, mean, "o-", ms=3, color=colours[i], label=f"{sweep.axis} {size}")
        left.fill_between(sweep.learning_rates, low, high, color=colours[i], alpha=0.15, lw=0)
        left.axvline(sweep.optimum[i], color=colours[i], ls=":", lw=1)
    shown = finite[np.isfinite(finite)]
    top = min(float(shown.max()), 1.5 * float(sweep.start.max()))
    left.set(xscale="log", yscale="log", xlabel="learning rate of the smallest model", ylabel="loss after training")
    left.set_xscale("log", base=2)
    left.set_ylim(0.8 * float(shown.min()), top)
    figure.legend(*left.get_legend_handles_labels(), loc="outside right upper", fontsize=8, title="dotted: optimum")
    right.errorbar(sweep.sizes, np.log2(sweep.optimum), sweep.optimum_error, fmt="o-", color="0.3", capsize=3)
    low, high = np.log2(sweep.optimum[0]) - 1, np.log2(sweep.optimum[0]) + 1
    right.axhspan(low, high, color="C2", alpha=0.12, label="within an octave of the smallest")
    right.set(xlabel=sweep.axis, ylabel="log2 of the best learning rate", xscale="log")
    right.set_xticks(sweep.sizes, [str(size) for size in sweep.sizes])
    right.minorticks_off()
    low, high = right.get_ylim()
    right.set_ylim(min(low, high - 4), max(high, low + 4))
    right.legend(fontsize=8)
    for ax in (left, right):
        ax.grid(alpha=0.3)
    score = f"transfer score {sweep.transfer_score:.2f}" if (sweep.loss > 0).all() else ""
    left.set_title(score, fontsize=10)
    right.set_title(f"drift {sweep.drift.value:+.2f} octaves per doubling", fontsize=10)
    return figure
