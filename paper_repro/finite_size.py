"""Finite size corrections for neural network Gaussian processes (Antognini; 2019).

Paper: antognini2019
Figure: density of outputs against the normal one, Hermite coefficients against width; drawn anew, and deep networks
Claim: outputs of a wide layer are normal up to the fourth Hermite polynomial, with a coefficient of 1/width, for
    weights of any symmetric law; higher orders fall faster: the Edgeworth expansion
Expected: coefficient of He_4: 5/(8 n) for relu; powers of n: -1 (He_4), -2 (He_6), -2 (KL divergence), -1 (distance)
Minutes: 2 (full, 4 cores), 0.5 (--quick, 2 cores)
Command: python paper_repro/finite_size.py [--quick] [--out DIR] [--seed N]

One hidden relu layer has a density in closed form: given the number m of active neurons its variance is a multiple of
chi^2_m, so the output is a binomial mixture of variance-gamma laws.  Densities, the divergence and the distance are
checked against it; Hermite coefficients against networks.
Beyond the paper: deep tanh networks (sigma_w^2 = 1.5), against the recursion of the fourth cumulant.
Data: one input of mean square 1; outputs are in units of their standard deviation.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.ticker import NullFormatter
from numpy.polynomial.hermite_e import hermeval
from scipy.special import gammaln, kve
from scipy.stats import binom

import widenet as wn
from widenet.corrections import Estimate
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_most, panels, run, save

OUTPUTS = 16  # of a network, all of one law
Z = np.arange(-14, 14, 0.005) + 0.0025  # without zero, where the density of few neurons is infinite
EDGES = np.linspace(-5, 5, 41)
UNIFORM = (9 / 5, 27 / 7)  # moments of uniform readout weights
SHOWN = (16, 32, 128)
DEEP_SCALE = 1.5**0.5
HEAVY = 16  # width below which the tail of He_6 over networks is too heavy for its error
SHALLOW = 0.2  # depth / width beyond which the tail of V over networks is too heavy for its error
FACTORIALS = {4: 24, 6: 720}


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    widths: tuple[int, ...]
    networks: int
    depth: int
    deep_widths: tuple[int, ...]
    deep_networks: int


FULL = Size((8, 16, 32, 64, 128, 256), 30_000, 6, (16, 32, 64), 4000)
QUICK = Size((8, 16, 32, 64), 10_000, 3, (16, 32), 2000)

COEFFICIENT = Claim("one layer", "relu: n times the coefficient of He_4", about(15 / 24, 1e-8))
UNIFORM_KURTOSIS = Claim("one layer", "relu, uniform readout: n times the excess kurtosis", about(7.8, 1e-8))
SLOPES = {
    4: Claim("one layer", "networks: power of n in the coefficient of He_4", about(-1.0, 0.1)),
    6: Claim("one layer", "networks: power of n in the coefficient of He_6", about(-2.0, 0.3)),
}
MEASURED = Claim("one layer", "networks: worst coefficient minus the exact one, in standard errors", at_most(4.0))
MEASURED_UNIFORM = Claim("one layer", "uniform readout: the same for He_4", at_most(4.0))
DIVERGENCE = Claim("one layer", "power of n in the KL divergence from the normal density", about(-2.0, 0.1))
DISTANCE = Claim("one layer", "power of n in the total variation distance", about(-1.0, 0.05))
ORDERS = (
    Claim("one layer", "power of n in what the fourth cumulant leaves", about(-2.0, 0.2)),
    Claim("one layer", "power of n in what the next order leaves", about(-3.0, 0.3)),
)
HISTOGRAM = Claim("one layer", "networks: worst KL divergence of histograms over that of the density", about(1.0, 0.15))
DEEP = Claim("deep", "tanh, 3 hidden layers, n = 64: excess kurtosis by the recursion", about(0.0600, 5e-4))
DEEP_VARIANCE = Claim("deep", "the same: variance with its correction", about(0.38464, 5e-5))
MEASURED_DEEP = Claim("deep", "networks at infinite width: worst V minus theory, in standard errors", at_most(4.0))
RELU = Claim("deep", "relu: worst V of networks minus the exact (1 + 5/n)^L - 1, in standard errors", at_most(4.0))
CLOSER = Claim("deep", "distance of the histogram from the expansion over that from the limit", at_most(0.5))


def main(run: Run) -> Iterator[Outcome]:
    """One hidden layer, and several."""
    size = QUICK if run.quick else FULL
    yield from one_layer(run, size)
    yield from densities(run, size)
    yield from deep(run, size)


class Sample(NamedTuple):
    """Outputs of networks of one width in units of their standard deviation, `[networks, outputs]`."""

    outputs: np.ndarray

    def coefficient(self, order: int) -> tuple[float, float]:
        """That of a Hermite polynomial in the density, and its standard error."""
        each = hermeval(self.outputs, np.eye(order + 1)[order]).mean(1) / FACTORIALS[order]
        return float(each.mean()), float(each.std(ddof=1) / np.sqrt(len(each)))


def drawn(net: Any, key: Any, width: int, networks: int, uniform: bool = False) -> np.ndarray:
    """Outputs of random networks, `[networks, outputs]`; with `uniform` readout weights."""
    x = np.ones((1, 1), np.float32)

    @jax.jit
    def outputs(k: Any) -> Any:
        params = wn.init(net, k, x.shape, width)
        if uniform:
            last = list(params)[-1]
            law = jax.random.uniform(jax.random.fold_in(k, 1), params[last]["w"].shape, minval=-1, maxval=1)
            params = params | {last: {"w": jnp.sqrt(3.0) * law}}
        return wn.apply(net, params, x)[0]

    return np.asarray(jax.lax.map(outputs, jax.random.split(key, networks), batch_size=1000), float)


def layer(phi: Any) -> Any:
    """One hidden layer with outputs of variance one."""
    variance = wn.one_hidden_cumulants(phi, 1, q=1.0).variance
    return wn.serial(wn.dense(sigma_w=1.0), phi, wn.dense(sigma_w=variance**-0.5, width=OUTPUTS))


def one_layer(run: Run, size: Size) -> Iterator[Outcome]:
    """Hermite coefficients of networks against the exact cumulants."""
    keys = jax.random.split(jax.random.key(run.seed), len(size.widths))
    net = layer(wn.relu)
    found = {
        n: Sample(drawn(net, key, n, size.networks))
        for n, key in progress(list(zip(size.widths, keys, strict=True)), "relu")
    }
    uniform = {
        n: Sample(drawn(net, jax.random.fold_in(key, 2), n, size.networks, uniform=True))
        for n, key in progress(list(zip(size.widths[:4], keys, strict=False)), "uniform readout")
    }
    exact = {n: relu_cumulants(n) for n in size.widths}
    others = {n: relu_cumulants(n, readout=UNIFORM) for n in size.widths}
    yield COEFFICIENT.check(64 * relu_cumulants(64).fourth / 24)
    yield UNIFORM_KURTOSIS.check(8 * others[8].fourth)
    scores = []
    for order, claim in SLOPES.items():
        coefficients = {n: sample.coefficient(order) for n, sample in found.items() if order == 4 or n <= 64}
        known = [getattr(exact[n], {4: "fourth", 6: "sixth"}[order]) / FACTORIALS[order] for n in coefficients]
        values, errors = np.array(list(coefficients.values())).T
        least = {4: 8, 6: HEAVY}[order]
        scores += [abs(v - k) / e for n, v, k, e in zip(coefficients, values, known, errors, strict=True) if n >= least]
        slope, error = power(np.array(list(coefficients)), values, errors)
        if run.quick and order == 6:
            yield claim.skip("needs the full run")
        else:
            yield claim.check(slope, note=f"+- {error:.3f}, {size.networks} networks a width")
    yield MEASURED.check(max(scores), note=f"{len(scores)} coefficients")
    rest = [(sample.coefficient(4), others[n].fourth / 24) for n, sample in uniform.items()]
    yield MEASURED_UNIFORM.check(max(abs(value - known) / error for (value, error), known in rest))
    yield from distances(run, size, found, uniform)


def power(n: np.ndarray, values: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """The power of n by a weighted fit of logarithms, and its standard error."""
    weight = np.abs(values) / errors
    design = np.stack([np.ones(len(n)), np.log(n)], 1) * weight[:, None]
    inverse = np.linalg.pinv(design)
    return float(inverse[1] @ (weight * np.log(np.abs(values)))), float(np.linalg.norm(inverse[1]))


def limit_power(values: np.ndarray) -> tuple[float, str, str]:
    """The power of n far out, of values at widths that double: its change at each doubling is taken to halve."""
    powers = np.diff(np.log2(values))
    return (
        float(2 * powers[-1] - powers[-2]),
        "",
        f"{', '.join(f'{p:.3f}' for p in powers)} at each doubling to n = 256",
    )


def relu_density(n: int) -> np.ndarray:
    """The density of the output of n relu neurons, of variance one, on Z."""
    total, size = np.zeros_like(Z), np.abs(Z)
    for m in range(1, n + 1):  # active neurons; with none the output is zero, which has no density
        nu, theta = (m - 1) / 2, 4 / n
        u = np.sqrt(2 / theta) * size
        logs = nu * np.log(size * np.sqrt(theta / 2)) + log_bessel(nu, u) - gammaln(m / 2) - m / 2 * np.log(theta)
        total += binom.pmf(m, n, 0.5) * 2 / np.sqrt(2 * np.pi) * np.exp(logs)
    return total


def log_bessel(nu: float, u: np.ndarray) -> np.ndarray:
    """log K_nu(u); by its series where K itself overflows, which is where nu is large and u small."""
    with np.errstate(over="ignore"):
        found = np.log(kve(nu, u)) - u
    small = np.isinf(found)
    t = u[small] ** 2 / 4
    series = 1 + t / (1 - nu) * (1 + t / (2 * (2 - nu)) * (1 + t / (3 * (3 - nu)))) if small.any() else 1.0
    found[small] = gammaln(nu) - np.log(2) + nu * np.log(2 / u[small]) + np.log(series)
    return found


def relu_cumulants(n: int, **readout: Any) -> Any:
    """The exact cumulants of n relu neurons, of variance one."""
    return wn.one_hidden_cumulants(wn.relu, n, q=1.0, sigma_w=2**0.5, **readout)


def normal_density() -> np.ndarray:
    """The density of the limit on Z."""
    return wn.edgeworth(Z, 1.0, 0.0)


def divergence(p: np.ndarray, q: np.ndarray, step: float) -> float:
    """KL divergence of two densities on a grid, or of frequencies with step one."""
    inside = p > 0
    return float(np.sum(p[inside] * np.log(p[inside] / q[inside])) * step)


def by_bins(p: np.ndarray) -> np.ndarray:
    """Probabilities of the bins between EDGES, and of the two tails, of a density on Z."""
    return np.bincount(np.searchsorted(EDGES, Z), weights=p * (Z[1] - Z[0]), minlength=len(EDGES) + 1)


def of_histogram(sample: Sample) -> tuple[float, float]:
    """KL divergence of the frequencies from the normal law, less its bias, and its standard error."""
    parts = np.array_split(sample.outputs, 8)
    counts = np.array([np.bincount(np.searchsorted(EDGES, p.ravel()), minlength=len(EDGES) + 1) for p in parts])
    law = by_bins(normal_density())
    all_of_them = counts.sum(0)
    bias = len(EDGES) / (2 * all_of_them.sum())
    less = [all_of_them - part for part in counts]
    found = np.array([divergence(c / c.sum(), law, 1.0) for c in less])
    value = divergence(all_of_them / all_of_them.sum(), law, 1.0) - bias
    return value, float(np.sqrt(7 / 8 * np.sum((found - found.mean()) ** 2)))


def distances(run: Run, size: Size, found: dict[int, Sample], uniform: dict[int, Sample]) -> Iterator[Outcome]:
    """How divergence and distance fall with the width."""
    widths, step, normal = np.array([16, 32, 64, 128, 256]), Z[1] - Z[0], normal_density()
    exact = {n: relu_density(n) for n in widths}
    kl = np.array([divergence(p, normal, step) for p in exact.values()])
    tv = np.array([np.abs(p - normal).sum() * step / 2 for p in exact.values()])
    histograms = {n: of_histogram(sample) for n, sample in found.items()}
    for claim, values in ((DIVERGENCE, kl), (DISTANCE, tv)):
        yield claim.check(*limit_power(values))
    ratios = {n: np.array(histograms[n]) / divergence(by_bins(exact[n]), by_bins(normal), 1.0) for n in (16, 32, 64)}
    worst = max((ratio for ratio, _ in ratios.values()), key=lambda ratio: abs(ratio - 1))
    yield HISTOGRAM.check(worst, note=", ".join(f"{v:.3f} +- {e:.3f} at {n}" for n, (v, e) in ratios.items()))
    draw_scaling(run, size, found, uniform, (widths, kl, tv, histograms))


def draw_scaling(run: Run, size: Size, found: Any, uniform: Any, falling: Any) -> None:
    """Hermite coefficients, and divergence and distance, against width."""
    figure, axes = panels(2, width=5.0, height=4.0)
    n = np.array(size.widths)
    cumulants = [relu_cumulants(int(w)) for w in n]
    other = [relu_cumulants(int(w), readout=UNIFORM).fourth / 24 for w in n]
    dots = {"fmt": "o", "ms": 4.5, "capsize": 2}
    lines = (
        ("He$_4$", [c.fourth / 24 for c in cumulants], {w: s.coefficient(4) for w, s in found.items()}),
        ("He$_6$", [c.sixth / 720 for c in cumulants], {w: s.coefficient(6) for w, s in found.items() if w <= 64}),
        ("He$_4$, uniform readout", other, {w: s.coefficient(4) for w, s in uniform.items()}),
    )
    for colour, (name, theory, measured) in zip(COLOURS, lines, strict=False):
        axes[0].loglog(n, theory, color=colour, label=name)
        values, errors = np.array(list(measured.values())).T
        axes[0].errorbar(list(measured), values, 2 * errors, color=colour, **dots)
    axes[0].errorbar([], [], [], color="0.4", label="networks, 2 s.e.", **dots)
    axes[0].set(xlabel="width n", ylabel="coefficient in the density", title="One relu layer")
    widths, kl, tv, histograms = falling
    axes[1].loglog(widths, tv, color=COLOURS[0], label="total variation")
    axes[1].loglog(widths, kl, color=COLOURS[1], label="KL divergence")
    axes[1].loglog(widths, (15 / widths) ** 2 / 48, "--", color=COLOURS[2], label=r"$k_4^2/48$")
    values, errors = np.array(list(histograms.values())).T
    axes[1].errorbar(
        list(histograms), values, 2 * errors, color=COLOURS[1], label="histograms of networks, 2 s.e.", **dots
    )
    axes[1].set(xlabel="width n", title="Distance from the normal density")
    for ax in axes:
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xticks(size.widths, [str(width) for width in size.widths])
        ax.set_ylim(bottom=ax.get_ylim()[0] / 8)  # room for the legend
        ax.legend(loc="lower left")
    save(figure, run, "scaling")


def densities(run: Run, size: Size) -> Iterator[Outcome]:
    """The exact density of relu against its expansion."""
    widths, normal = np.array([32, 64, 128, 256]), normal_density()
    exact = {int(n): relu_density(int(n)) for n in {*widths, *SHOWN}}
    cumulants = {n: relu_cumulants(n) for n in exact}
    for count, claim in zip((2, 3), ORDERS, strict=True):
        errors = [np.max(np.abs(exact[int(n)] - wn.edgeworth(Z, *cumulants[int(n)][:count]))) for n in widths]
        yield claim.check(*limit_power(np.array(errors)))
    figure, axes = panels(len(SHOWN), width=4.2, height=3.7)
    seen = np.abs(Z) < 5
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    smooth = by_bins(normal)[1:-1] / np.diff(EDGES)
    for ax, n in zip(axes, SHOWN, strict=True):
        outputs = drawn(layer(wn.relu), jax.random.fold_in(jax.random.key(run.seed), 100 + n), n, size.networks).ravel()
        counts = np.histogram(outputs, EDGES)[0]
        share = counts / len(outputs) / np.diff(EDGES)
        error = np.sqrt(counts) / len(outputs) / np.diff(EDGES)
        ax.errorbar(middles, n * (share - smooth), 2 * n * error, fmt="k.", ms=3, lw=0.8, label="networks, 2 s.e.")
        ax.plot(Z[seen], n * (exact[n] - normal)[seen], color=COLOURS[0], label="exact")
        for colour, count, name in ((COLOURS[1], 2, "He$_4$ alone"), (COLOURS[2], 3, "next order")):
            expanded = wn.edgeworth(Z, *cumulants[n][:count])
            ax.plot(Z[seen], n * (expanded - normal)[seen], "--", color=colour, label=name)
        ax.set(xlabel="output", title=f"n = {n}", ylim=(-0.75, 1.3))
    axes[0].set_ylabel("n (density - normal density)")
    axes[0].legend(loc="upper right")
    save(figure, run, "density")


def deep(run: Run, size: Size) -> Iterator[Outcome]:
    """The fourth cumulant of deep networks."""
    three = wn.finite_width(wn.zoo.mlp(wn.tanh, 3, sigma_w=DEEP_SCALE), q0=DEEP_SCALE**-2)  # first variance 1
    yield DEEP.check(three.excess_kurtosis(64)[-1])
    yield DEEP_VARIANCE.check(three.K[-1] + three.K1[-1] / 64)
    nets = {phi: wn.zoo.mlp(phi, size.depth, sigma_w=s) for phi, s in ((wn.tanh, DEEP_SCALE), (wn.relu, 2**0.5))}
    found = {
        (phi, n): wn.empirical_fluctuations(net, np.ones((1, n)), key=run.seed + n, width=n, draws=size.deep_networks)
        for phi, net in nets.items()
        for n in progress(size.deep_widths, phi.name)
    }
    theory = {phi: wn.finite_width(net) for phi, net in nets.items()}
    scores = []
    for i in range(1, size.depth + 1):
        parts = [found[wn.tanh, n] for n in size.deep_widths]
        estimates = [
            Estimate(n, {"V": float(p.V[i])}, {"V": float(p.V_error[i])})
            for n, p in zip(size.deep_widths, parts, strict=True)
        ]
        limit = wn.extrapolate_width(estimates)
        scores.append(abs(limit.value["V"] - theory[wn.tanh].V[i]) / limit.error["V"])
    yield MEASURED_DEEP.check(max(scores), note=f"{size.depth} hidden layers, n = {size.deep_widths}")
    exact = {n: n * 4 * ((1 + 5 / n) ** np.arange(size.depth + 1) - 1) for n in size.deep_widths}
    scores = [
        abs(found[wn.relu, n].V[i] - exact[n][i]) / found[wn.relu, n].V_error[i]
        for n in size.deep_widths
        for i in range(1, 1 + min(size.depth, int(SHALLOW * n)))
    ]
    yield RELU.check(max(scores), note=f"depth / width up to {SHALLOW}, {len(scores)} values")
    n = 32
    net = wn.serial(wn.zoo.mlp(wn.tanh, 2, sigma_w=DEEP_SCALE), wn.tanh, wn.dense(sigma_w=DEEP_SCALE, width=OUTPUTS))
    outputs = drawn(net, jax.random.key(run.seed + 7), n, size.networks)
    three = wn.finite_width(wn.zoo.mlp(wn.tanh, 3, sigma_w=DEEP_SCALE))
    yield CLOSER.check(draw_depth(run, size, found, theory, (three, n, outputs)))


def draw_depth(run: Run, size: Size, found: Any, theory: Any, histogram: Any) -> float:
    """Kurtosis by depth and the density of a deep network; how much closer the expansion is to the histogram."""
    figure, axes = panels(3, width=4.2, height=3.8)
    layers = np.arange(size.depth + 1)
    for ax, (phi, c) in zip(axes, theory.items(), strict=False):
        for colour, n in zip(COLOURS, size.deep_widths, strict=False):
            part = found[phi, n]
            unit = 3 / c.K**2
            ax.plot(layers, c.excess_kurtosis(n), color=colour, label=f"n = {n}")
            style = {"fmt": "o", "ms": 4.5, "capsize": 2, "color": colour}
            ax.errorbar(layers, unit * part.V / n, 2 * unit * part.V_error / n, **style)
            if phi is wn.relu:
                ax.plot(layers, 3 * ((1 + 5 / n) ** layers - 1), ":", color=colour)
        ax.errorbar([], [], [], fmt="o", ms=4.5, color="0.4", label="networks, 2 s.e.")
        if phi is wn.relu:
            ax.plot([], [], ":", color="0.4", label="exact")
        ax.set(xlabel="hidden layers", title=f"Excess kurtosis, {phi.name}")
        ax.legend(loc="upper left")
    c, n, outputs = histogram
    spread = float(np.sqrt(c.K[-1]))
    z = spread * Z
    limit, expanded = wn.edgeworth(z, float(c.K[-1]), 0.0), c.density(z, n)
    counts = np.histogram(outputs.ravel(), spread * EDGES)[0]
    shares, error = (part / outputs.size / np.diff(spread * EDGES) for part in (counts, np.sqrt(counts)))
    of_limit, of_expansion = (by_bins(p * spread)[1:-1] / np.diff(spread * EDGES) for p in (limit, expanded))
    middles, seen = spread * (EDGES[1:] + EDGES[:-1]) / 2, np.abs(Z) < 5
    axes[2].plot(z[seen], (expanded - limit)[seen], color=COLOURS[1], label="expansion")
    axes[2].errorbar(middles, shares - of_limit, 2 * error, fmt="k.", ms=3, lw=0.8, label="networks, 2 s.e.")
    axes[2].axhline(0, color="0.4", lw=1, label="limit")
    axes[2].set(xlabel="output", ylabel="density - that of the limit", title=f"tanh, 3 hidden layers, n = {n}")
    axes[2].set_ylim(top=1.6 * float((expanded - limit).max()))
    axes[2].legend(loc="upper right")
    save(figure, run, "depth")
    return float(np.abs(shares - of_expansion).sum() / np.abs(shares - of_limit).sum())


if __name__ == "__main__":
    sys.exit(run(main, __file__))
