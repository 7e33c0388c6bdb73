"""Delving deep into rectifiers: what the gains of frameworks mean (He, Zhang, Ren, Sun; ICCV 2015).

Paper: he2015
Figure: fixed points and slopes of the default and recommended gains of torch and jax; the same in networks
Claim: a gain is right if it keeps variances and gradients: sqrt(2) for ReLU does, and 1 shrinks both by 1/2 a layer;
    by the same measure the gains that frameworks recommend for other activations are seldom right
Expected: torch's 5/3 for tanh: variance 1.1785, gradients 1.2098 a layer; its default with ReLU: 1/6 a layer
Minutes: 2 (full, 2 cores), 0.5 (--quick, 2 cores)
Command: python paper_repro/gains.py [--quick] [--out DIR] [--seed N]

With sigma_w^2 = gain^2 for independent weights of variance gain^2 / fan_in: V(q) = sigma_w^2 E phi^2 + sigma_b^2, whose
fixed point is approached from 1, chi_par = V'(q) there, and chi_perp = sigma_w^2 E phi'^2, the factor of squared
gradients a layer (He et al. have both for ReLU, where they are equal).  Glorot's rule is the gain 1 in square layers.
torch's default for linear layers is uniform on +-1/sqrt(fan_in), so sigma_w^2 = 1/3; its biases, of variance
1/(3 fan_in), are left out.
What is expected was computed by a second implementation, in numpy, to the digits shown; for ReLU it is the paper's.
"The gain of unit variance" is 1/sqrt(E phi(z)^2), z standard normal: what LSUV and the like find at q = 1.
torch is asked for its gains only where it is installed; else these claims are left unchecked.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple

import jax
import numpy as np

import widenet as wn
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save


class Scheme(NamedTuple):
    """An activation with the gain that somebody gives it, and what comes of it: K*, chi_par, chi_perp."""

    name: str
    phi: Any
    squared: float  # sigma_w^2
    expected: tuple[float, float, float]

    @property
    def net(self) -> Any:
        """Many such layers."""
        return wn.zoo.mlp(self.phi, DEPTH, sigma_w=self.squared**0.5)


SCHEMES = (
    Scheme("ReLU, He: sqrt 2", wn.relu, 2.0, (1.0, 1.0, 1.0)),
    Scheme("ReLU, Glorot or LeCun: 1", wn.relu, 1.0, (0.0, 0.5, 0.5)),
    Scheme("ReLU, torch default: 1/sqrt 3", wn.relu, 1 / 3, (0.0, 1 / 6, 1 / 6)),
    Scheme("tanh, torch: 5/3", wn.tanh, 25 / 9, (1.1785, 0.431, 1.2098)),
    Scheme("SELU, torch: 3/4", wn.selu, 9 / 16, (0.0230, 0.924, 1.0037)),
    Scheme("SELU, LeCun: 1", wn.selu, 1.0, (1.0, 0.783, 1.0716)),
    Scheme("GELU, He: sqrt 2", wn.gelu, 2.0, (0.0, 0.5, 0.5)),
)
UNIT = {  # activation: (squared gain of unit variance, chi_perp, chi_par)
    wn.tanh: (2.536175, 1.178, 0.461),
    wn.erf: (2.152579, 1.226, 0.409),
    wn.sin: (2.313035, 1.313, 0.313),
    wn.gelu: (2.351716, 1.072, 1.144),
    wn.silu: (2.810761, 1.067, 1.173),
    wn.mish: (2.210716, 1.059, 1.076),
    wn.elu(): (1.550519, 1.036, 0.891),
    wn.softplus: (1.085487, 0.318, 0.492),
    wn.sigmoid: (3.408560, 0.153, 0.106),
    wn.relu: (2.0, 1.0, 1.0),
}
DIGITS = 1e-3  # to which the tables are given
DEPTH, WARM_UP = 40, 20  # hidden layers; those in which variances find their fixed point
DRIFT = np.arange(51)  # layers
FAN_IN, FAN_OUT = 400, 800
JAX = {
    "lecun_normal": (jax.nn.initializers.lecun_normal(), 1.0),
    "he_normal": (jax.nn.initializers.he_normal(), 2.0),
    "glorot_uniform": (jax.nn.initializers.glorot_uniform(), 2 * FAN_IN / (FAN_IN + FAN_OUT)),
    "orthogonal": (jax.nn.initializers.orthogonal(), FAN_IN / FAN_OUT),
}


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    width: int
    networks: int
    measured: tuple[str, ...]  # activations with their gains, in networks


FULL = Size(400, 3, ("tanh, torch: 5/3", "SELU, LeCun: 1", "ReLU, He: sqrt 2", "ReLU, Glorot or LeCun: 1"))
QUICK = Size(200, 2, ("tanh, torch: 5/3", "ReLU, He: sqrt 2"))

TABLE = {
    (scheme.name, what): Claim("gains", f"{what} of {scheme.name}", about(value, DIGITS))
    for scheme in SCHEMES
    for what, value in zip(("K*", "chi_par", "chi_perp"), scheme.expected, strict=True)
}
UNIT_TABLE = Claim(
    "unit variance", "largest error of squared gains, chi_perp and chi_par in the table", at_most(DIGITS)
)
DRIFTS = Claim("unit variance", "GELU: variance after 50 layers from 1.1, over that from 0.9", at_least(10.0))
KEEPS = Claim("unit variance", "tanh: the same", about(1.0, 0.01))
DRAWN = Claim("frameworks", "sigma_w^2 of weights [400, 800] drawn by jax over the formula, at worst", about(1.0, 0.02))
TORCH = Claim("frameworks", "sigma_w^2 of torch's gains and layers over the table's, at worst", about(1.0, 0.02))
FACTOR = Claim("networks", "factor of squared gradients a layer over chi_perp, at worst", about(1.0, 0.03))
VARIANCE = Claim("networks", "tanh with gain 5/3: variance of the last 20 layers", about(1.1785, 0.06))


def main(run: Run) -> Iterator[Outcome]:
    """The table of gains, weights that frameworks draw, gains of unit variance, and networks."""
    size = QUICK if run.quick else FULL
    yield from audited(run)
    yield from drawn(run)
    yield from unit_variance(run)
    yield from in_networks(run, size)


def audited(run: Run) -> Iterator[Outcome]:
    """Fixed points and slopes of all schemes."""
    found = {}
    for scheme in SCHEMES:
        phase = wn.phase(scheme.phi, sigma_w=[scheme.squared**0.5], sigma_b=[0.0])
        found[scheme.name] = tuple(float(part[0, 0]) for part in (phase.q, phase.chi_par, phase.chi_1))
        for what, value in zip(("K*", "chi_par", "chi_perp"), found[scheme.name], strict=True):
            yield TABLE[scheme.name, what].check(value)
    figure, (ax,) = panels(1, width=7.4, height=3.6)
    rows = np.arange(len(found))[::-1]
    for i, (what, marker) in enumerate(((r"$\chi_\parallel$, variances", "s"), (r"$\chi_\perp$, gradients", "o")), 1):
        values = [numbers[i] for numbers in found.values()]
        ax.plot(values, rows, marker, color=COLOURS[i - 1], label=f"{what}", ms=7, fillstyle="none", mew=1.8)
    ax.axvline(1.0, color="k", ls="--", lw=1, label="kept")
    for row, numbers in zip(rows, found.values(), strict=True):
        ax.text(1.32, row, f"$q^*$ = {numbers[0]:.4g}", va="center")
    ax.set_yticks(rows, list(found))
    ax.set(xlabel="factor a layer at the fixed point", xlim=(0.1, 1.6), title="Gains of frameworks at infinite width")
    ax.legend(loc="upper left", bbox_to_anchor=(0.12, 0.8))
    save(figure, run, "audit")


def drawn(run: Run) -> Iterator[Outcome]:
    """sigma_w^2 of weights as jax and torch draw them."""
    key = jax.random.key(run.seed)
    ratios = {name: float(np.var(init(key, (FAN_IN, FAN_OUT)))) * FAN_IN / right for name, (init, right) in JAX.items()}
    yield worst(DRAWN, ratios)
    if find_spec("torch") is None:
        yield TORCH.skip("needs torch")
        return
    import torch

    torch.manual_seed(run.seed)
    by_name = {scheme.name: scheme.squared for scheme in SCHEMES}
    gains = {"ReLU, He: sqrt 2": "relu", "tanh, torch: 5/3": "tanh", "SELU, torch: 3/4": "selu"}
    ratios = {name: torch.nn.init.calculate_gain(gain) ** 2 / by_name[name] for name, gain in gains.items()}
    default = float(torch.nn.Linear(FAN_IN, FAN_OUT).weight.detach().var()) * FAN_IN
    yield worst(TORCH, ratios | {"default": default / by_name["ReLU, torch default: 1/sqrt 3"]})


def worst(claim: Claim, ratios: dict[str, float]) -> Outcome:
    """The ratio that is furthest from one, held against a claim."""
    note = ", ".join(f"{name} {ratio:.4f}" for name, ratio in ratios.items())
    return claim.check(max(ratios.values(), key=lambda ratio: abs(ratio - 1)), note=note)


def unit_variance(run: Run) -> Iterator[Outcome]:
    """The gains that keep variance 1, and whether variances beside it come back."""
    errors, found = {}, {}
    for phi, expected in UNIT.items():
        squared = 1 / float(wn.maps(wn.serial(phi, wn.dense())).q(1.0))
        maps = wn.maps(wn.serial(phi, wn.dense(sigma_w=squared**0.5)))
        found[phi.name] = (squared, float(maps.chi_perp(1.0)), float(maps.chi_par(1.0)))
        errors[phi.name] = float(np.max(np.abs(np.subtract(found[phi.name], expected))))
    largest = max(errors, key=lambda name: errors[name])
    figure, axes = panels(2, width=5.0, height=3.8)
    for name, (_, perp, par) in found.items():
        axes[0].plot(par, perp, "o", color=COLOURS[1 if par > 1.01 else 0])
        axes[0].annotate(name, (par, perp), xytext=OFFSETS.get(name, (6, -3)), textcoords="offset points")
    axes[0].axvline(1.0, color="k", ls="--", lw=1)
    axes[0].axhline(1.0, color="k", ls="--", lw=1)
    axes[0].text(1.02, 0.5, "variances\nleave 1", fontsize=9)
    axes[0].text(0.02, 0.92, "gradients shrink", fontsize=9)
    axes[0].set(xlabel=r"$\chi_\parallel$ at $q = 1$", ylabel=r"$\chi_\perp$ at $q = 1$", xlim=(0, 1.3))
    axes[0].set_title("gains of unit variance")
    ends = {}
    for colour, phi in zip(COLOURS, (wn.gelu, wn.tanh), strict=False):
        for start, style in ((1.1, "-"), (0.9, "--")):
            path = drifted(phi, found[phi.name][0], start)
            ends[phi, start] = path[-1]
            axes[1].semilogy(DRIFT, path, style, color=colour, label=f"{phi.name}, from {start}")
    axes[1].set(xlabel="layer", ylabel="variance", title="variances that begin beside 1")
    axes[1].legend()
    save(figure, run, "unit_variance")
    yield UNIT_TABLE.check(errors[largest], note=f"{len(UNIT)} activations, the largest for {largest}")
    yield DRIFTS.check(ends[wn.gelu, 1.1] / ends[wn.gelu, 0.9])
    yield KEEPS.check(ends[wn.tanh, 1.1] / ends[wn.tanh, 0.9])


OFFSETS = {"gelu": (-14, 9), "silu": (6, 6), "mish": (-4, 22), "elu": (-8, 8), "relu": (6, -14)}


def drifted(phi: Any, squared: float, q: float) -> list[float]:
    """Variances layer by layer from q."""
    maps = wn.maps(wn.serial(phi, wn.dense(sigma_w=squared**0.5)))
    path = [q]
    for _ in DRIFT[1:]:
        path.append(float(maps.q(path[-1])))
    return path


def in_networks(run: Run, size: Size) -> Iterator[Outcome]:
    """Variances and gradients of random networks, layer by layer, with those of infinite width."""
    rng = np.random.default_rng(run.seed)
    x = rng.normal(size=(20, size.width)).astype(np.float32)
    figure, axes = panels(2, width=5.0, height=4.2)
    factors = {}
    for colour, scheme in zip(COLOURS, [scheme for scheme in SCHEMES if scheme.name in size.measured], strict=False):
        reports = [report(scheme, x, run.seed, i, size) for i in progress(range(size.networks), scheme.name)]
        layers = np.arange(1, DEPTH + 2)
        q, jacobian = (np.array([getattr(r.measured, part) for r in reports]) for part in ("q", "jacobian"))
        for ax, measured, part in zip(axes, (q, jacobian), ("q", "jacobian"), strict=True):
            ax.semilogy(layers, getattr(reports[0].theory, part), color=colour, label=f"{scheme.name}, infinite width")
            lines = ax.plot(layers, measured.T, ".", color=colour, ms=3, alpha=0.6)
            lines[0].set_label(f"{size.networks} networks of width {size.width}")
        kept = slice(WARM_UP, DEPTH)
        slope = -np.polyfit(layers[kept], np.log(jacobian.mean(0)[kept]), 1)[0]
        factors[scheme.name] = float(np.exp(slope)) / scheme.expected[2]
        if scheme.name == "tanh, torch: 5/3":
            variance = float(q[:, kept].mean())
    axes[0].set(xlabel="layer", ylabel="variance of preactivations", title="forwards")
    axes[1].set(xlabel="layer", ylabel="squared gradient of an output", title="backwards")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    save(figure, run, "networks")
    yield worst(FACTOR, factors)
    yield VARIANCE.check(variance, note=f"{size.networks} networks of width {size.width}")


def report(scheme: Scheme, x: np.ndarray, seed: int, draw: int, size: Size) -> Any:
    """What the layers of one random network do to signals and gradients."""
    key = jax.random.fold_in(jax.random.key(seed), draw)
    return wn.signal_report(scheme.net, wn.init(scheme.net, key, x.shape, size.width, dtype=x.dtype), x, key)


if __name__ == "__main__":
    sys.exit(run(main, __file__))
