"""How the figures of the paper scripts look, and where a picture says it comes from."""

from __future__ import annotations

import io
import json
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from widenet.repro.files import write_whole
from widenet.repro.report import versions

if TYPE_CHECKING:
    from pathlib import Path

    from widenet.repro.command import Run

# told apart by the colour-blind too: Okabe and Ito (2008), without yellow, which is lost on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")

STYLE: dict[str, Any] = {
    "backend": "agg",
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "font.size": 10,
    "grid.alpha": 0.25,
    "image.cmap": "viridis",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.5,
}
DPI = 150


def style() -> AbstractContextManager[None]:
    """A context in which matplotlib draws as all paper scripts do; its global settings are left alone."""
    settings: Any = {**mpl.rcParamsDefault, **STYLE}
    return mpl.rc_context(settings)


def panels(columns: int, *, width: float = 4.2, height: float = 3.4, sharey: bool = False) -> tuple[Figure, Any]:
    """A figure with a row of `columns` axes, each `width` by `height` inches; on one scale if `sharey`."""
    figure = Figure(figsize=(columns * width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(1, columns, squeeze=False, sharey=sharey)[0]


def save(figure: Figure, run: Run, name: str) -> Path:
    """Write `figure` to NAME.png in the run's folder; the picture's metadata say how it was made."""
    made = {"seed": run.seed, "run": "quick" if run.quick else "full", "versions": versions()}
    metadata = {"Title": f"{run.header.key}: {name}", "Source": run.header.command, "Description": json.dumps(made)}
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=DPI, metadata=metadata)
    path = run.out / f"{name}.png"
    write_whole(path, picture.getvalue())
    return path
