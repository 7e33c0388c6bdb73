"""Which initialization suits an architecture: the usual ones compared on it. (S4)"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from widenet.diagnostics.advice_candidates import Candidate, Setting, candidates, drawn
from widenet.diagnostics.advice_code import code_of
from widenet.diagnostics.advice_measure import Changes, comparison
from widenet.diagnostics.advice_rewrite import Scales
from widenet.diagnostics.report import SignalReport
from widenet.diagnostics.theory import unrolled
from widenet.finite.empirical import precision_of
from widenet.finite.parameters import as_key, whole_width
from widenet.program.trace import Net, trace
from widenet.progress import progress

SAMPLES = 20


class Option(NamedTuple):
    """One candidate on this architecture."""

    candidate: Candidate
    report: SignalReport
    measured: Changes
    theory: Changes  # NaN where it is not known
    sigma_w: tuple[float, float]  # the least and the largest of the layers

    @property
    def name(self) -> str:
        """What the candidate is called."""
        return self.candidate.name

    @property
    def scales(self) -> Scales:
        """Of the layers, before any tuning on data."""
        return self.candidate.scales

    @property
    def costs(self) -> Changes:
        """Decades of change: of theory where it is known, else of the measurement."""
        with np.errstate(all="ignore"):
            known = np.where(np.isnan(self.theory), self.measured, self.theory)
            return Changes(*np.abs(np.log10(known)).tolist())

    @property
    def cost(self) -> float:
        """What the ranking goes by; infinite for a network that breaks. (S4)"""
        total = sum(self.costs)
        return math.inf if math.isnan(total) else total


@dataclass(frozen=True)
class Advice:
    """Candidates, the best first, and why others are missing."""

    options: tuple[Option, ...]
    missing: Mapping[str, str]
    setting: Setting

    @property
    def best(self) -> Option:
        """The first of the ranking."""
        return self.options[0]

    def __str__(self) -> str:
        """The ranked table with reasons."""
        head = ["", "sigma_w", "sigma_b"]
        for name in ("q", "gradient^2", "1 - c", "spread"):
            head += [name, "theory"]
        rows = [(*head, "decades", "verdict")]
        for option in self.options:
            changes = [_text(v) for pair in zip(option.measured, option.theory, strict=True) for v in pair]
            least, most = option.sigma_w
            sigma_w = f"{least:.6g}" if least == most else f"{least:.3g}..{most:.3g}"
            cost = f"{option.cost:.3g}"
            rows.append((option.name, sigma_w, f"{option.scales.sigma_b:.6g}", *changes, cost, option.report.verdict))
        sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, sizes)).rstrip() for row in rows]
        lines += [
            "",
            "factors over the hidden layers: q and 1 - c forwards, squared gradients backwards; spread is",
            "E s^4 / (E s^2)^2 of the singular values s of the Jacobian; 1 is best; decades: how far they are from it.",
        ]
        lines += [f"{option.name}: {option.candidate.why} {option.report.reason}" for option in self.options]
        return "\n".join([*lines, *(f"{name} is not compared: {why}" for name, why in self.missing.items())])

    def code(self, framework: str, name: str | None = None) -> str:
        """Code to paste, for "jax", "flax" or "torch", that draws weights as the best candidate, or that of this name.

        Raises: ValueError for another framework or name.
        """
        named = {option.name: option for option in self.options}
        if name is not None and name not in named:
            raise ValueError(f"there is no candidate {name!r}: the candidates are {', '.join(named)}.")
        option = self.best if name is None else named[name]
        weights = min((len(skip.weights) for skip in self.setting.skips), default=0)
        windows = self.setting.convolutional
        return code_of(option.candidate, framework, self.setting.width, convolutional=windows, weights=weights)

    def plot(self, path: str | Path) -> Path:
        """Write the picture to `path` (.png, .pdf or .svg)."""
        from widenet.diagnostics.draw import draw_advice

        path = Path(path)
        if path.suffix.lower() not in (".png", ".pdf", ".svg"):
            raise ValueError(f"{path}: the picture must be .png, .pdf or .svg.")
        draw_advice(self).savefig(path, dpi=130)
        return path


def recommend(net: Net, x: Any = None, *, width: int = 512, shape: tuple[int, ...] = (64,), key: Any = 0) -> Advice:
    """The usual initializations, compared on this architecture, the best first. (S4)

    Gaussian weights with the scales of LeCun and He, of torch's own layers, the gain that keeps variance one, the
    critical point of the activation that occurs most, a point of its edge of chaos with biases, and those that `net`
    has, if they are the same everywhere; orthogonal weights at the critical point (delta-orthogonal for convolutions)
    and as `isometric_init` wants them; LSUV; for skip connections, SkipInit and ReZero, Fixup, and branches over
    sqrt(depth).  Each is drawn once, its signals are measured at the layers, or at the sums of skip connections, and
    compared with theory; fewest decades of change of q, gradients and 1 - c, and of spread of the Jacobian, win.
    x: two samples or more, standard normal ones of `shape` if None.
    Raises: ValueError for a network without an activation, or with less than two layers before its readout.

    >>> import widenet as wn
    >>> advice = wn.recommend(wn.zoo.mlp(wn.gelu, 8, sigma_w=1.0), width=64, shape=(10,))
    >>> advice.best.cost < 3 < max(option.cost for option in advice.options)
    True
    """
    width = whole_width(width)
    x = np.random.default_rng(0).normal(size=(SAMPLES, *shape)).astype(np.float32) if x is None else x
    with precision_of(x):
        setting = Setting.of(unrolled(trace(net, x.shape)), x, width, as_key(key))
        compare, options = comparison(setting.program, setting.key), []
        for candidate in progress(candidates(setting), "candidates"):
            try:
                made = drawn(setting, candidate)
            except ValueError as none:
                setting.missing[candidate.name] = str(none)
                continue
            sigmas = [float(scales.sigma_w) for scales in made.values.layers]
            options.append(Option(candidate, *compare(made), (min(sigmas), max(sigmas))))
    return Advice(tuple(sorted(options, key=lambda option: option.cost)), setting.missing, setting)


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"
