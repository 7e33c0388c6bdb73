"""The figure of the demonstration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import widenet as wn

matplotlib.use("Agg")


def draw(path: Path, rows: list[dict[str, Any]], rate: dict[str, Any], digits: Any) -> Path:
    """Four panels: a kernel matrix, kernels against the angle, finite width, accuracy."""
    figure = Figure(figsize=(12, 9), layout="constrained")
    axes = figure.subplots(2, 2)
    kernel_matrix(axes[0, 0], rows[0])
    against_angle(axes[0, 1])
    finite_width(axes[1, 0], rate)
    accuracies(axes[1, 1], rows)
    figure.savefig(path, dpi=130)
    return path


def kernel_matrix(ax: Axes, row: dict[str, Any]) -> None:
    """The NTK of a few hundred training images, sorted by class."""
    labels = row["labels"][:300]
    order = np.argsort(labels, kind="stable")
    k = row["ntk"][:300, :300]
    scale = np.sqrt(np.diag(k))
    image = ax.imshow((k / scale[:, None] / scale)[np.ix_(order, order)], cmap="viridis")
    ends = np.searchsorted(labels[order], np.arange(10))
    middles = (ends + np.append(ends[1:], len(labels))) / 2
    ax.set_xticks(middles, [str(i) for i in range(10)])
    ax.set_yticks(middles, [str(i) for i in range(10)])
    ax.set(title=f"NTK of 300 digits, {row['title']}", xlabel="class", ylabel="class")
    ax.figure.colorbar(image, ax=ax, label="normalized kernel", shrink=0.85)


def against_angle(ax: Axes) -> None:
    """NNGP and NTK of two unit vectors, by the angle between them, at several depths."""
    theta = np.linspace(0, np.pi, 181)
    circle = np.sqrt(2) * np.stack([np.cos(theta), np.sin(theta)], axis=1)
    for i, depth in enumerate((1, 3, 10, 30)):
        k = wn.kernel(wn.zoo.mlp(wn.relu, depth))(circle[:1], circle)
        for quantity, style in (("nngp", "--"), ("ntk", "-")):
            values = getattr(k, quantity)[0]
            ax.plot(
                np.degrees(theta), values / values[0], style, color=f"C{i}", label=f"{quantity.upper()}, depth {depth}"
            )
    ax.set(
        title="relu MLP, normalized kernels", xlabel="angle between inputs (degrees)", ylabel="kernel / its value at 0"
    )
    ax.set_xticks(range(0, 181, 45))
    ax.legend(fontsize=8, ncols=2)
    ax.grid(alpha=0.3)


def finite_width(ax: Axes, rate: dict[str, Any]) -> None:
    """How the NTK of one random network approaches the limit."""
    widths, errors = np.array(rate["widths"]), np.array(rate["errors"])
    ax.loglog(widths, errors, "o-", label=f"measured, slope {rate['slope']:.2f}")
    ax.loglog(widths, errors[0] * np.sqrt(widths[0] / widths), "k:", label="slope -1/2")
    ax.set_xticks(widths, [str(w) for w in widths])
    ax.minorticks_off()
    ticks = [0.3, 0.2, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01]
    ax.set_yticks(kept := [t for t in ticks if errors.min() / 1.3 < t < 1.3 * errors.max()], [f"{t:g}" for t in kept])
    ax.set(title="One random network against the limit", xlabel="width", ylabel="relative deviation of its NTK")
    ax.legend()
    ax.grid(alpha=0.3)


def accuracies(ax: Axes, rows: list[dict[str, Any]]) -> None:
    """Test accuracy of kernel regression and of a trained network."""
    place = np.arange(len(rows))
    for i, (key, label) in enumerate((("nngp", "NNGP"), ("ntk", "NTK"), ("network", "network of width 256"))):
        values = [100 * row["scores"][key] for row in rows]
        bars = ax.bar(place + 0.27 * (i - 1), values, 0.25, label=label)
        ax.bar_label(bars, fmt="%.1f", fontsize=8)
    ax.set_xticks(place, [row["title"].replace(", ", ",\n").replace(" over", "\nover") for row in rows])
    lowest = min(min(row["scores"].values()) for row in rows)
    ax.set(title="Test accuracy (%)", ylim=(max(0, 100 * lowest - 8), 104))
    ax.set_yticks([t for t in ax.get_yticks() if t <= 100])
    ax.legend(loc="upper center", ncols=3, fontsize=9)
