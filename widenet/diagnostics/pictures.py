"""Pictures of the reports on batch normalization, residual growth and long skips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from widenet.diagnostics.growth import LAWS, told

if TYPE_CHECKING:
    from widenet.diagnostics.growth import GrowthReport
    from widenet.diagnostics.long_skips import SkipReport
    from widenet.diagnostics.normalization import BatchNormReport


def write(figure: Figure, path: str | Path) -> Path:
    """Write a picture to `path` (.png, .pdf or .svg)."""
    path = Path(path)
    if path.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise ValueError(f"{path}: the picture must be .png, .pdf or .svg.")
    figure.savefig(path, dpi=130)
    return path


def draw_batch_norm(report: BatchNormReport) -> Figure:
    """The gap and the gradient over the layers; theory is dashed."""
    figure, (left, right) = _panels(2, report)
    left.plot(np.arange(len(report.gap)), report.gap, "o-", ms=3)
    left.set(title="isometry gap of the batch", xlabel="layer (0: the data)")
    at = np.arange(1, len(report.gradient) + 1)
    right.plot(at, report.gradient, "o-", ms=3, label="measured")
    if np.isfinite(report.theory):
        shift = np.exp(np.mean(np.log(report.gradient)) + (at - at.mean()) * -np.log(report.theory) / 2)
        right.plot(at, shift, "k--", label="slope at infinite width")
    right.set(title="|dW|: gradient in the weight", xlabel="layer", yscale="log")
    right.legend()
    return figure


def draw_growth(report: GrowthReport) -> Figure:
    """log J over log depth and over its square root, each with its fit, and q; theory is dashed."""
    figure, axes = _panels(3, report)
    at = np.arange(1, len(report.found.q))
    shown = np.unique(np.geomspace(1, len(at), 400).round().astype(int))
    for ax, (name, law) in zip(axes, LAWS.items(), strict=False):
        ax.plot(law(at)[shown - 1], report.found.log_apjn[shown], label="found")
        if report.theory is not None:
            ax.plot(law(at)[shown - 1], report.theory.log_apjn[shown], "k--", label="theory")
        fit = report.fits[name]
        ax.plot(law(at)[shown - 1], fit.offset + fit.rate * law(at)[shown - 1], ":", color="C1", label=told(name, fit))
        ax.set(title=f"as a {name}", xlabel="log l" if law is np.log else "sqrt(l)", ylabel="log J")
        ax.legend(fontsize=8)
    axes[2].loglog(shown, report.found.q[shown], label="found")
    if report.theory is not None:
        axes[2].loglog(shown, report.theory.q[shown], "k--", label="theory")
        axes[2].legend(fontsize=8)
    axes[2].set(title="q: mean square of the stream", xlabel="layer l")
    return figure


def draw_skips(report: SkipReport) -> Figure:
    """The scales of the skips, and what happens as all of them grow together; theory is dashed."""
    figure, axes = _panels(3, report)
    for i, (name, kappas) in enumerate(report.kappas.items()):
        axes[0].plot(np.arange(1, len(kappas) + 1), kappas, "o-", ms=3, color=f"C{i}", label=name)
        for ax, values in zip(axes[1:], (report.variance[i], report.sensitivity[i]), strict=True):
            ax.plot(report.levels, values / values[0], "o-", ms=3, color=f"C{i}", label=name)
            ax.plot(report.levels, 1 + report.levels**2 * np.sum(kappas**2), "--", color=f"C{i}")
    axes[0].set(title="scales of the skips", xlabel="skip, from the outermost", ylim=(0, None))
    axes[0].legend(fontsize=8)
    for ax, title in zip(axes[1:], ("output variance", "input sensitivity"), strict=True):
        ax.set(title=f"{title} / without skips", xlabel="t, skips scaled by t kappa", yscale="log")
    axes[1].plot([], [], "k--", label="1 + t^2 sum kappa^2")
    axes[1].legend(fontsize=8)
    return figure


def _panels(columns: int, report: Any) -> tuple[Figure, Any]:
    figure = Figure(figsize=(4.6 * columns, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns)
    for ax in axes:
        ax.grid(alpha=0.3)
    figure.suptitle(f"{report.verdict}: {report.reason}", fontsize=10, wrap=True)
    return figure, axes
