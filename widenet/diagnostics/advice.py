"""Which scales of weights and biases suit an architecture: the usual ones compared on it. (S4)"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from widenet.activations import Activation
from widenet.activations.dual import second_moment
from widenet.diagnostics.report import SignalReport, signal_report
from widenet.diagnostics.statistics import Signals
from widenet.diagnostics.theory import unrolled
from widenet.finite.parameters import init, whole_width
from widenet.initializers.gains import critical_point
from widenet.layers.repeat import repeat
from widenet.precision import float64
from widenet.program.ops import Linear, Nonlin, Repeat
from widenet.program.trace import Net, Program, trace
from widenet.program.var import Var
from widenet.progress import progress

SAMPLES = 20
ORDERED_BIAS = 0.1  # sigma_b of the candidate on the edge of chaos
FRAMEWORKS = ("jax", "flax", "torch")


class Scales(NamedTuple):
    """Standard deviations of weights, times sqrt(fan-in), and of biases."""

    sigma_w: float
    sigma_b: float


class Changes(NamedTuple):
    """Factors over the hidden layers. (S4)"""

    q: float  # variance, forwards
    jacobian: float  # squared gradient, backwards
    apart: float  # 1 - c, forwards

    @property
    def cost(self) -> float:
        """Decades of change; infinite for a network that breaks."""
        with np.errstate(all="ignore"):
            cost = float(np.sum(np.abs(np.log10(self))))
        return math.inf if math.isnan(cost) else cost


class Option(NamedTuple):
    """One candidate on this architecture."""

    name: str
    scales: Scales
    report: SignalReport
    measured: Changes
    theory: Changes | None

    @property
    def cost(self) -> float:
        """What the ranking goes by: theory where it knows everything, else the measurement."""
        known = self.theory is not None and not np.isnan(self.theory).any()
        return self.theory.cost if known and self.theory is not None else self.measured.cost


@dataclass(frozen=True)
class Advice:
    """Candidates, the best first, and why others are missing."""

    options: tuple[Option, ...]
    missing: Mapping[str, str]
    width: int

    @property
    def best(self) -> Option:
        """The first of the ranking."""
        return self.options[0]

    def __str__(self) -> str:
        """The ranked table with reasons."""
        head = ("", "sigma_w", "sigma_b", "q", "theory", "gradient^2", "theory", "1 - c", "theory", "verdict")
        rows: list[tuple[str, ...]] = [head]
        for option in self.options:
            theory = option.theory or Changes(math.nan, math.nan, math.nan)
            changes = [_text(v) for pair in zip(option.measured, theory, strict=True) for v in pair]
            rows.append((option.name, *(f"{s:.6g}" for s in option.scales), *changes, option.report.verdict))
        sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, sizes)).rstrip() for row in rows]
        lines += ["", "factors over the hidden layers: q and 1 - c forwards, squared gradients backwards; 1 is best"]
        lines += [f"{option.name}: {option.report.reason}" for option in self.options]
        return "\n".join([*lines, *(f"{name} is not compared: {why}" for name, why in self.missing.items())])

    def code(self, framework: str) -> str:
        """Code to paste, for "jax", "flax" or "torch", that makes layers with the best scales.

        Raises: ValueError for another framework.
        """
        if framework not in FRAMEWORKS:
            raise ValueError(f"there is code for {', '.join(FRAMEWORKS)}; got {framework!r}.")
        sigma_w, sigma_b = self.best.scales
        laws = f"kernel_init, bias_init = wi.normal({sigma_w:.8g}), wi.bias({sigma_b:.8g})"
        n = self.width
        uses = {
            "jax": f"w = kernel_init(jax.random.key(0), ({n}, {n}))\nb = bias_init(jax.random.key(1), ({n},))",
            "flax": f"layer = nn.Dense({n}, kernel_init=kernel_init, bias_init=bias_init)",
            "torch": f"module = nn.Linear({n}, {n})  # or any other\nwt.init_(module, kernel_init, bias_init)",
        }
        heads = {
            "jax": "import jax\n",
            "flax": "import flax.linen as nn\n",
            "torch": "from torch import nn\nfrom widenet import torch as wt\n",
        }
        imports = f"{heads[framework]}from widenet import initializers as wi\n\n"
        return f"{imports}{laws}  # {self.best.name}\n{uses[framework]}\n"

    def plot(self, path: str | Path) -> Path:
        """Write the picture to `path` (.png, .pdf or .svg)."""
        from widenet.diagnostics.draw import draw_advice

        path = Path(path)
        if path.suffix.lower() not in (".png", ".pdf", ".svg"):
            raise ValueError(f"{path}: the picture must be .png, .pdf or .svg.")
        draw_advice(self).savefig(path, dpi=130)
        return path


def recommend(net: Net, x: Any = None, *, width: int = 512, shape: tuple[int, ...] = (64,), key: Any = 0) -> Advice:
    """The usual scales of weights and biases, compared on this architecture, the best first. (S4)

    Every dense layer and convolution of `net` is given the same sigma_w and sigma_b: those of LeCun and He, of torch's
    own layers, the gain that keeps variance one, the critical point of the activation that occurs most, a point of its
    edge of chaos with biases, and those that `net` has, if they are the same everywhere.  Each is drawn once, measured
    by `signal_report` and compared with theory; fewest decades of change of q, gradients and 1 - c win.
    x: two samples or more, standard normal ones of `shape` if None.
    Raises: ValueError for a network without an activation, or with less than two layers before its readout.
    """
    width = whole_width(width)
    x = np.random.default_rng(0).normal(size=(SAMPLES, *shape)).astype(np.float32) if x is None else x
    program = unrolled(trace(net, x.shape))
    found, missing = _candidates(program, width)
    options = []
    for name, scales in progress(list(found.items()), "candidates"):
        scaled = rescaled(net, scales)
        report = signal_report(scaled, init(scaled, key, x.shape, width=width), x, key, probes=2)
        theory = None if report.theory is None else _changes(report.theory)
        options.append(Option(name, scales, report, _changes(report.measured), theory))
    return Advice(tuple(sorted(options, key=lambda option: option.cost)), missing, width)


def _candidates(program: Program, width: int) -> tuple[dict[str, Scales], dict[str, str]]:
    phis: Counter[Activation] = Counter()
    for var in program.variables:
        if isinstance(var.op, Nonlin) and len(var.args) == 1:
            phis[next((phi for phi in phis if phi.name == var.op.phi.name), var.op.phi)] += 1
    linears = [var.op for var in program.variables if isinstance(var.op, Linear)]
    if not phis or len(linears) < 3:
        raise ValueError(
            f"the network has {sum(phis.values())} activations and {len(linears)} layers with weights: recommend "
            "compares scales of deep networks, with an activation and three layers or more."
        )
    (phi, _), *_ = phis.most_common()
    with float64():
        square = float(second_moment(phi, jnp.asarray(1.0, jnp.float64)))
    found = {
        "LeCun (flax, keras)": Scales(1.0, 0.0),
        "He": Scales(math.sqrt(2), 0.0),
        "torch's default": Scales(3**-0.5, (3 * width) ** -0.5),
        "unit variance at q = 1": Scales(square**-0.5, 0.0),
    }
    missing = {}
    edge = f"edge of chaos of {phi.name}, sigma_b = {ORDERED_BIAS}"
    for name, sigma_b in ((f"critical point of {phi.name}", None), (edge, ORDERED_BIAS)):
        try:
            point = critical_point(phi, sigma_b=sigma_b)
            found[name] = Scales(point.sigma_w, point.sigma_b)
        except ValueError as none:
            missing[name] = str(none)
    own = {(float(op.sigma_w), float(op.sigma_b)) for op in linears}
    return (found | {"as written": Scales(*own.pop())} if len(own) == 1 else found), missing


def rescaled(net: Net, scales: Scales) -> Net:
    """The architecture with the same sigma_w and sigma_b in every dense layer and convolution."""

    def other(x: Var) -> Var:
        program = Program(x, net(x))
        new: dict[Var, Var] = {x: x}
        for var in program.variables:
            args = tuple(new[arg] for arg in var.args)
            if isinstance(var.op, Repeat):
                new[var] = repeat(rescaled(var.op.block, scales), var.op.times)(args[0])
            elif var is not x:
                op = var.op
                op = replace(op, sigma_w=scales.sigma_w, sigma_b=scales.sigma_b) if isinstance(op, Linear) else op
                new[var] = Var(op, args, var.positions, var.channels)
        return new[program.output]

    return other


def _changes(signals: Signals) -> Changes:
    q, c, jacobian = signals.q[:-1], signals.c[:-1], signals.jacobian[:-1]
    with np.errstate(all="ignore"):
        return Changes(float(q[-1] / q[0]), float(jacobian[0] / jacobian[-1]), float((1 - c[-1]) / (1 - c[0])))


def _text(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"
