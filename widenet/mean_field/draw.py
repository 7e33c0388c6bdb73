"""The picture of a phase diagram."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from widenet.mean_field.phase import Phase

DEEPEST = 300.0  # layers: longer depth scales have one colour


def draw(phase: Phase, path: Path) -> Path:
    """Three panels: gradients, correlation, depth scale; the critical line in each."""
    figure = Figure(figsize=(13, 4), layout="constrained")
    FigureCanvasAgg(figure)
    left, middle, right = figure.subplots(1, 3, sharey=True)
    finite = phase.chi_1[np.isfinite(phase.chi_1)]
    top = float(np.clip(finite.max(initial=2.0), 2.0, 4.0))
    chi = np.clip(phase.chi_1, 1 / top, top)
    bar = panel(left, phase, chi, r"$\chi_1$: gradients per layer", norm=LogNorm(1 / top, top), cmap="RdBu_r")
    bar.set_ticks([1 / top, top**-0.5, 1, top**0.5, top], labels=[f"{top**p:.2g}" for p in (-1, -0.5, 0, 0.5, 1)])
    bar.minorticks_off()
    panel(middle, phase, phase.c, r"$c^*$: correlation of two inputs", vmin=0, vmax=1, cmap="viridis")
    depth = np.clip(phase.xi_c, 1, DEEPEST)
    panel(right, phase, depth, r"$\xi_c$: depth scale (layers)", norm=LogNorm(1, DEEPEST), cmap="magma")
    if np.isinf(phase.q).any():
        middle.text(0.98, 0.98, "grey: the variance diverges", transform=middle.transAxes, ha="right", va="top")
    left.set_ylabel(r"$\sigma_b$")
    if np.isfinite(phase.critical_sigma_w).any():
        left.legend(loc="upper left")
    figure.suptitle(f"Phase diagram of {phase.name}")
    figure.savefig(path, dpi=130)
    return path


def panel(ax: Axes, phase: Phase, values: np.ndarray, title: str, **colours: Any) -> Colorbar:
    """One quantity over both scales, and the critical line."""
    image = ax.pcolormesh(phase.sigma_w, phase.sigma_b, values.T, shading="nearest", rasterized=True, **colours)
    ax.plot(phase.critical_sigma_w, phase.sigma_b, "w-", lw=3)  # a rim, seen on dark colours
    ax.plot(phase.critical_sigma_w, phase.sigma_b, "k-", lw=1.5, label=r"$\chi_1 = 1$")
    ax.set(title=title, xlabel=r"$\sigma_w$")
    ax.set_facecolor("0.8")
    return ax.figure.colorbar(image, ax=ax)
