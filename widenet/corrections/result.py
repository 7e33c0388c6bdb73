"""What the 1/width expansion of a network gives: tensors by layer, and what they say at a width."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from widenet.corrections.edgeworth import edgeworth

TENSORS = ("K", "Theta", "K1", *"VDFABPQRSTU")
UNITS = {"V": (2, 0), "D": (1, 1), "F": (1, 1), **dict.fromkeys("ABPQ", (0, 2)), **dict.fromkeys("RSTU", (-1, 3))}
# told apart by the colour-blind too: Okabe and Ito (2008)
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
PANELS = ("VDF", "AB", "PQ", "RSTU")


@dataclass(frozen=True)
class Corrections:
    """Tensors of the preactivations of each dense layer, `[L]` each; the correction is the tensor over n. (W1)"""

    K: Any  # variance, as in wn.kernel
    Theta: Any  # tangent kernel, as in wn.kernel
    K1: Any  # E z^2 = K + K1/n
    V: Any
    D: Any
    F: Any
    A: Any
    B: Any
    P: Any
    Q: Any
    R: Any
    S: Any
    T: Any
    U: Any

    @property
    def normalized(self) -> dict[str, np.ndarray]:
        """V/K^2, D and F over K Theta, A, B, P, Q over Theta^2, and R, S, T, U times K/Theta^3."""
        return {name: getattr(self, name) / (self.K**k * self.Theta**t) for name, (k, t) in UNITS.items()}

    def excess_kurtosis(self, width: float) -> np.ndarray:
        """3 V / (n K^2), that of one preactivation at width n, `[L]`. (W6)"""
        return 3 * self.V / (width * self.K**2)

    def density(self, z: Any, width: float) -> np.ndarray:
        """The density of one output at width n, with its variance and kurtosis to order 1/n. (W6)

        Shapes: that of z.
        Raises: ValueError for a width at which the corrected variance is not positive.
        """
        variance = float(self.K[-1] + self.K1[-1] / width) if width > 0 else 0.0
        if not variance > 0:
            raise ValueError(
                f"the expansion has no density at width {width}: K + K1/n is {variance}; take a wider net."
            )
        return edgeworth(z, variance, float(self.excess_kurtosis(width)[-1]))

    def plot(self, path: str | Path) -> None:
        """Draw the normalized tensors over depth, and write the picture to `path`."""
        panels = [names for names in PANELS if np.isfinite(self.normalized[names[0]][-1])]
        with mpl.rc_context({"axes.spines.right": False, "axes.spines.top": False, "legend.frameon": False}):
            figure = Figure(figsize=(3.5 * len(panels), 3.4), layout="constrained")
            FigureCanvasAgg(figure)
            for axes, names in zip(figure.subplots(1, len(panels)), panels, strict=True):
                self._panel(axes, names)
            figure.savefig(path, dpi=150)

    def _panel(self, axes: Any, names: str) -> None:
        layers = np.arange(1, len(self.K) + 1)
        for name, colour in zip(names, COLOURS, strict=False):
            axes.plot(layers, self.normalized[name], color=colour, label=_label(name))
        axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        axes.set(xlabel="layer", ylabel="coefficient of 1/n")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(names), handlelength=1, columnspacing=0.8)


def _label(name: str) -> str:
    """The normalized tensor in words of mathematics."""
    k, t = UNITS[name]
    under = {(2, 0): "K^2", (1, 1): r"(K \Theta)", (0, 2): r"\Theta^2", (-1, 3): r"\Theta^3"}[k, t]
    return f"${'K ' * (k < 0)}{name} / {under}$"
