"""The principles of deep learning theory (Roberts, Yaida, Hanin; Cambridge University Press 2022).

Paper: roberts2022
Figure: the criticality tables and the flows of chapters 5, 8 and 11, appendix A; drawn anew, beside networks
Claim: activations fall into classes by how variances flow at criticality; fluctuations over networks are of order
    depth over width, all tensors of order 1/width follow recursions in depth, and their growth sets an aspect ratio
Expected: sigma_w^2 = 1.98305826, sigma_b^2 = 0.17292239 for GELU; V/K^2 grows by 5, 2, 2/3 a layer (relu, linear, tanh)
Minutes: 4 (full, 4 cores), 0.6 (--quick, 2 cores)
Command: python paper_repro/pdlt.py [--quick] [--out DIR] [--seed N]

GELU's K* is left from below only, and SWISH's from above, by less than 1e-5 a layer; further out variances come back.
SWISH's sigma_b^2 solves both conditions at 0.55514317; 0.0551, also seen in print, does not.
The tensors are those of one input, with a learning-rate tensor of 1 for weights and 0 for biases.  Their values are
those of a second implementation (six digits), their growth is known in closed form.  Networks are extrapolated to
infinite width by a polynomial of order two in 1/n: the corrections are often larger than the tensor (A, T, U of tanh).
The mutual information has a maximum only where its expansion ends at order three: that of a log-normal scale, which is
what a deep relu network has, goes on growing.  So the ratio says where the expansion turns, and is checked by the
coefficient.  The scale of a relu network of width n is log-normal up to a skewness of relative order 1/n, whatever its
depth: at width 50 some tenths are to be expected.
Data: one vector of ones, as wide as the network.
"""

from __future__ import annotations

import sys
from collections import namedtuple
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import Any

import jax
import numpy as np
from numpy.polynomial.hermite_e import hermegauss

import widenet as wn
from widenet.activations import Activation
from widenet.corrections import Estimate
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_most, panels, run, save

TUNING = {  # sigma_w^2, sigma_b^2, K* (1 where all variances are kept), class
    wn.identity: (1.0, 0.0, 1.0, "scale-invariant"),
    wn.relu: (2.0, 0.0, 1.0, "scale-invariant"),
    wn.leaky_relu(0.1): (2 / 1.01, 0.0, 1.0, "scale-invariant"),
    wn.tanh: (1.0, 0.0, 0.0, "K*=0"),
    wn.sin: (1.0, 0.0, 0.0, "K*=0"),
    wn.erf: (np.pi / 4, 0.0, 0.0, "K*=0"),
    wn.gelu: (1.98305826, 0.17292239, 3.56155281, "half-stable"),
    wn.silu: (1.98800468, 0.55514317, 14.32017362, "half-stable"),
}
GOLDEN = {  # of tanh at a layer
    2: {"K": 0.394294, "Theta": 0.858697, "V": 0.0975237, "D": -0.0105368, "F": 0.075051, "A": 0.00724178}
    | {"B": 0.341509, "P": -0.0956855, "Q": -0.0206345, "R": -0.576005, "S": 0.476642, "T": 0.0188127, "U": 0.135133},
    5: {"K": 0.127905, "Theta": 0.703106, "V": 0.0393984, "D": -0.0081916, "F": 0.0786631, "A": 0.0047662}
    | {"B": 0.744623, "P": -0.244376, "Q": -0.0190114, "R": -1.83959, "S": 1.68265, "T": 0.0149073, "U": 0.172277},
    20: {"K": 0.0272862, "Theta": 0.573489, "V": 0.00890829, "F": 0.0700438, "B": 2.15002, "P": -0.622728},
}
GOLDEN_GELU = dict(zip("VDFABPQ", (88.9836, 145.045, 42.1109, 281.616, 54.2659, 2.94243, 48.3661), strict=True))
SLOPES = {"V": 2 / 3, "F": 1 / 4, "B": 1 / 3, "P": -1 / 12, "R": -1 / 12, "S": 1 / 12}  # per layer, of tanh
GROUPS = ("VDF", "AB", "PQ", "RSTU")
GROWTH = {wn.relu: 5.0, wn.identity: 2.0, wn.tanh: 2 / 3}  # of V/K^2 per layer
FLOWING = (wn.relu, wn.tanh, wn.sin)
BOOK = 20  # of 20 + 3 k


Size = namedtuple(  # how much of it is computed
    "Size",
    "far flow_layers flow_networks depths widths networks growth_layers growth_widths growth_networks aspect_depths "
    "aspect_networks",
)
FULL = Size(1000, 12, 2000, (2, 4, 6), (12, 24, 48), 1500, 10, (32, 64, 128), 3000, (1, 2, 4, 6, 8, 12), 8000)
QUICK = Size(300, 8, 200, (3,), (8, 16, 32), 150, 4, (16, 32, 64), 500, (2, 6), 4000)
FLOW_WIDTH, ASPECT_WIDTH = 128, 50
JACKKNIFE = 8  # parts of a sample

TABLE = Claim("ch. 5", "largest error of sigma_w^2, sigma_b^2 and K* in the tuning table", at_most(1e-6))
CLASSES = Claim("ch. 5", "activations of eight that are in another class", at_most(0.0))
HALF = Claim("ch. 5", "gelu and silu: sides from which K* is left, of two, on average", about(1.0, 0.0))
POWER = {
    wn.tanh: Claim("ch. 5", "tanh: growth of 1/K per layer, far down", about(2.0, 0.02)),
    wn.sin: Claim("ch. 5", "sin: growth of 1/K per layer, far down", about(1.0, 0.01)),
}
MEASURED_FLOW = Claim("ch. 5", "networks: worst K of tanh, sin, relu minus K + K1/n, in standard errors", at_most(4.0))
SECOND = Claim("ch. 8, 11", "largest relative error of the tensors of tanh and gelu", at_most(1e-5))
FAR_DOWN = Claim("ch. 8, 11", "largest relative error of the growth of V, F, B, P, R, S of tanh", at_most(0.01))
MEASURED = Claim("ch. 8, 11", "networks at infinite width: worst tensor minus theory, in standard errors", at_most(4.0))
NU = {
    phi: Claim("ch. 4", f"{phi.name}: growth of V/K^2 per layer, far down", about(value, 0.005))
    for phi, value in GROWTH.items()
}
MEASURED_NU = Claim("ch. 4", "networks at infinite width: worst V minus theory, in standard errors", at_most(4.0))
COEFFICIENT = {
    k: Claim("app. A", f"{k} outputs: relative error of the cubic term's (20 + 3 k)/6", at_most(1e-3)) for k in (2, 4)
}
IN_DEPTH = Claim("app. A", "2 outputs: the same for (14 + 3 k)/6, in the variable nu L/n", at_most(1e-3))
RATIOS = Claim("app. A", "largest error of the optimal ratio of relu, linear, tanh with one output", at_most(1e-3))
MEASURED_INFORMATION = Claim("app. A", "relu nets: largest relative error of log-normal information", at_most(0.25))


def main(run: Run) -> Iterator[Outcome]:
    """Criticality, the tensors of order 1/width, their growth, and the aspect ratio."""
    size = QUICK if run.quick else FULL
    yield from criticality(run, size)
    yield from tensors(run, size)
    yield from growth(run, size)
    yield from aspect_ratio(run, size)


def network(phi: Activation, depth: int, end: bool = True) -> Any:
    """`depth` dense layers at criticality; without `end`, another activation after them."""
    point = wn.critical(phi)
    scales = {"sigma_w": point.sigma_w, "sigma_b": point.sigma_b}
    net = wn.zoo.mlp(phi, depth - 1, **scales)
    return net if end else wn.serial(net, phi)


@cache
def theory(phi: Activation, depth: int, q0: float = 1.0) -> Any:
    """The tensors of that network, with the learning rates of the values above."""
    return wn.finite_width(network(phi, depth), q0=q0, learning_rates=(1.0, 0.0))


def criticality(run: Run, size: Size) -> Iterator[Outcome]:
    """The tuning table, and how variances flow."""
    points = {phi: wn.critical(phi) for phi in TUNING}
    found = {phi: (p.sigma_w**2, p.sigma_b**2, p.q) for phi, p in points.items()}
    errors = {phi.name: float(np.max(np.abs(np.subtract(found[phi], TUNING[phi][:3])))) for phi in TUNING}
    note = ", ".join(f"{phi.name} {w:.6g} {b:.6g} {q:.6g}" for phi, (w, b, q) in found.items())
    yield TABLE.check(max(errors.values()), note=note)
    yield CLASSES.check(sum(points[phi].universality != row[3] for phi, row in TUNING.items()))
    sides = {phi.name: repelling_sides(phi) for phi in (wn.gelu, wn.silu)}
    yield HALF.check(np.mean(list(sides.values())), note=f"{sides}")
    flows = {phi: theory(phi, size.far) for phi in POWER}
    for phi, claim in POWER.items():
        yield claim.check(np.diff(1 / flows[phi].K)[-1], note=f"layer {size.far}")
    given = {"key": run.seed, "width": FLOW_WIDTH, "draws": size.flow_networks}
    x = np.ones((1, FLOW_WIDTH))
    drawn = {phi: wn.empirical_fluctuations(network(phi, size.flow_layers), x, **given) for phi in FLOWING}
    corrected = {phi: (lambda c: c.K + c.K1 / FLOW_WIDTH)(theory(phi, size.flow_layers)) for phi in drawn}
    scores = [np.abs(drawn[phi].K - corrected[phi]) / drawn[phi].K_error for phi in drawn]
    draw_flows(run, size, drawn)
    yield MEASURED_FLOW.check(np.max(scores), note=f"width {FLOW_WIDTH}, {size.flow_networks} networks")


def layer_maps(phi: Activation) -> Any:
    """The maps of one layer at criticality."""
    point = wn.critical(phi)
    return wn.maps(wn.serial(wn.dense(sigma_w=point.sigma_w, sigma_b=point.sigma_b), phi))


def repelling_sides(phi: Activation) -> int:
    """On how many sides of K* variances move away from it."""
    beside = wn.critical(phi).q * np.array([0.99, 1.01])
    return int(np.sum((layer_maps(phi).q(beside) - beside) * [-1, 1] > 0))


def draw_flows(run: Run, size: Size, drawn: dict[Activation, Any]) -> None:
    """K by layer for the classes, and the susceptibilities by K."""
    figure, axes = panels(3, height=3.8)
    layers = np.arange(1, 201)
    shown = np.arange(1, size.flow_layers + 1)
    for colour, (phi, found) in zip(COLOURS, drawn.items(), strict=False):
        axes[0].loglog(layers, theory(phi, len(layers)).K, color=colour, label=phi.name)
        axes[0].errorbar(shown, found.K, 2 * found.K_error, fmt="o", ms=3.5, color=colour)
    axes[0].errorbar([], [], [], fmt="o", ms=3.5, color="0.4", label=f"networks, n = {FLOW_WIDTH}, 2 s.e.")
    axes[0].loglog(layers, 1 / (2 * layers), "k--", lw=1, label="1/(2 l) and 1/l")
    axes[0].loglog(layers, 1 / layers, "k--", lw=1)
    axes[0].set(xlabel="layer l", ylabel="K", title="Scale-invariant and K* = 0", ylim=(2e-3, 4))
    axes[0].legend(loc="lower left")
    star = wn.critical(wn.gelu).q
    k = np.linspace(2.6, 4.2, 161)
    axes[1].plot(k, 1e6 * (layer_maps(wn.gelu).q(k) / k - 1), color=COLOURS[2], label="gelu")
    axes[1].axvline(star, color="k", ls="--", lw=1, label=f"K* = {star:.3f}")
    axes[1].axhline(0, color="0.4", lw=1, label="kept")
    axes[1].set(xlabel="K", ylabel=r"growth of K a layer, $10^{-6}$", title="Half-stable", ylim=(-15, 15))
    axes[1].legend(loc="upper right")
    k = np.geomspace(0.02, 20, 121)
    for colour, phi in zip(COLOURS, (wn.relu, wn.tanh, wn.gelu), strict=False):
        maps = layer_maps(phi)
        axes[2].semilogx(k, maps.chi_par(k), color=colour, label=rf"{phi.name}, $\chi_\parallel$")
        axes[2].semilogx(k, maps.chi_perp(k), color=colour, ls=":", lw=2.2, label=rf"{phi.name}, $\chi_\perp$")
    axes[2].axvline(star, color="k", ls="--", lw=1, label="K* of gelu")
    axes[2].set(xlabel="K", ylabel="factor per layer", title="Susceptibilities", ylim=(0, 1.9))
    axes[2].legend(loc="upper left", ncols=2)
    save(figure, run, "criticality")


def tensors(run: Run, size: Size) -> Iterator[Outcome]:
    """All tensors of tanh against depth, beside networks."""
    deep = theory(wn.tanh, size.far)
    errors = [
        getattr(deep, name)[layer - 1] / value - 1 for layer, row in GOLDEN.items() for name, value in row.items()
    ]
    gelu = theory(wn.gelu, 5)
    errors += [getattr(gelu, name)[-1] / value - 1 for name, value in GOLDEN_GELU.items()]
    yield SECOND.check(np.max(np.abs(errors)), note=f"{len(errors)} numbers")
    slopes = {name: np.diff(deep.normalized[name])[-1] for name in SLOPES}
    note = ", ".join(f"{name} {slope:.4f}" for name, slope in slopes.items())
    yield FAR_DOWN.check(max(abs(slopes[name] / value - 1) for name, value in SLOPES.items()), note=note)
    found = {depth: tuple(measured(run, size, depth)) for depth in size.depths}
    limits = {depth: wn.extrapolate_width(estimates, order=2) for depth, estimates in found.items()}
    scores = {
        f"{name} at {depth}": (limit.value[name] - getattr(deep, name)[depth - 1]) / limit.error[name]
        for depth, limit in limits.items()
        for name in "".join(GROUPS)
    }
    draw_tensors(run, deep, found, limits)
    worst = max(scores, key=lambda name: abs(scores[name]))
    note = (
        f"{worst} layers, of {len(scores)}; root mean square {np.sqrt(np.mean(np.square(list(scores.values())))):.2f}"
    )
    yield MEASURED.check(abs(scores[worst]), note=note)


def measured(run: Run, size: Size, depth: int) -> Iterator[Estimate]:
    """The tensors of networks, a width each."""
    for width in progress(size.widths, f"tensors at depth {depth}"):
        key = jax.random.fold_in(jax.random.key(run.seed), depth)
        given = {"key": jax.random.fold_in(key, width), "width": width, "draws": size.networks}
        net, x = network(wn.tanh, depth), np.ones((1, width))
        found, cheap = wn.empirical_finite_width(net, x, **given), wn.empirical_fluctuations(net, x, **given)
        value, error = found.value | {"V": cheap.V[-1]}, found.error | {"V": cheap.V_error[-1]}
        yield Estimate(width, value, error)


def draw_tensors(run: Run, deep: Any, found: dict[int, Any], limits: dict[int, Estimate]) -> None:
    """A panel a group of tensors, over K^2, K Theta, Theta^2, and Theta^3/K."""
    figure, axes = panels(len(GROUPS), width=3.9, height=3.9)
    layers = np.arange(1, max(found) + 3)
    widest = found[max(found)][-1].width
    for ax, names, unit in zip(axes, GROUPS, ("K^2, K\\Theta", "\\Theta^2", "\\Theta^2", "\\Theta^3/K"), strict=True):
        for colour, name in zip(COLOURS, names, strict=False):
            ax.plot(layers, deep.normalized[name][: len(layers)], color=colour, label=name)
            for shift, style, estimates in (
                (-0.12, {"fmt": "s", "ms": 4, "fillstyle": "none"}, {d: e[-1] for d, e in found.items()}),
                (0.12, {"fmt": "o", "ms": 4.5}, limits),
            ):
                units = {d: getattr(deep, name)[d - 1] / deep.normalized[name][d - 1] for d in estimates}
                values = [e.value[name] / units[d] for d, e in estimates.items()]
                bars = [2 * e.error[name] / abs(units[d]) for d, e in estimates.items()]
                ax.errorbar([d + shift for d in estimates], values, bars, color=colour, lw=1, capsize=2, **style)
        ax.set(xlabel="layer", title=f"{', '.join(names)} in units of ${unit}$")
        ax.legend(loc="upper left" if names in ("VDF", "AB") else "lower left", ncols=2)
    axes[0].set_ylabel("coefficient of 1/n, tanh")
    axes[1].errorbar([], [], [], fmt="s", ms=4, fillstyle="none", color="0.4", label=f"networks, n = {widest:.0f}")
    axes[1].errorbar([], [], [], fmt="o", ms=4.5, color="0.4", label=r"extrapolated, 2 s.e.")
    axes[1].legend(loc="upper left")
    save(figure, run, "tensors")


def growth(run: Run, size: Size) -> Iterator[Outcome]:
    """V/K^2 against depth in the classes, beside networks."""
    slopes = {phi: np.diff(c.V / c.K**2) for phi in GROWTH for c in [theory(phi, size.far)]}
    for phi, claim in NU.items():
        yield claim.check(slopes[phi][-1], note=f"layer {size.far}")
    scores, figure, axes = [], *panels(2, width=5.0, height=3.9)
    layers = np.arange(1, size.growth_layers + 1)
    for i, (phi, colour) in enumerate(zip(GROWTH, COLOURS, strict=False)):
        c = theory(phi, size.growth_layers)
        finite = [drawn_growth(run.seed + i, phi, size, width) for width in progress(size.growth_widths, phi.name)]
        limit = wn.extrapolate_width(finite, order=2)
        value, error = (np.array(list(part.values())) for part in (limit.value, limit.error))
        scores += list(np.abs(value - c.V)[1:] / error[1:])
        axes[0].plot(layers, c.V / c.K**2, color=colour, label=phi.name)
        axes[0].errorbar(layers, value / c.K**2, 2 * error / c.K**2, fmt="o", ms=4, capsize=2, color=colour)
        axes[1].semilogx(np.arange(2, size.far + 1), slopes[phi], color=colour, label=phi.name)
        axes[1].axhline(GROWTH[phi], color=colour, ls=":", lw=2.5, alpha=0.6)
    gelu = theory(wn.gelu, size.growth_layers)
    axes[0].plot(layers, gelu.V / gelu.K**2, color=COLOURS[3], label="gelu")
    deeper = theory(wn.gelu, size.far)
    axes[1].semilogx(np.arange(2, size.far + 1), np.diff(deeper.V / deeper.K**2), color=COLOURS[3], label="gelu")
    axes[0].errorbar([], [], [], fmt="o", ms=4, color="0.4", label="networks, extrapolated, 2 s.e.")
    axes[0].set(xlabel="layer", ylabel=r"$V/K^2$", title="Fluctuations over networks, times n")
    axes[1].plot([], [], color="0.4", ls=":", lw=2.5, label="5, 2, 2/3")
    axes[1].set(xlabel="layer", ylabel=r"growth of $V/K^2$ a layer", title="The slope of the lines on the left")
    for ax in axes:
        ax.legend(loc="best")
    save(figure, run, "growth")
    yield MEASURED_NU.check(max(scores), note=f"{len(scores)} values, n = {', '.join(map(str, size.growth_widths))}")


def drawn_growth(seed: int, phi: Activation, size: Size, width: int) -> Estimate:
    """V of all layers at one width."""
    net, x = network(phi, size.growth_layers), np.ones((1, width))
    given = {"key": jax.random.fold_in(jax.random.key(seed), width), "width": width, "draws": size.growth_networks}
    found = wn.empirical_fluctuations(net, x, **given)
    values, errors = ({str(i): float(v) for i, v in enumerate(part)} for part in (found.V, found.V_error))
    return Estimate(width, values, errors)


def aspect_ratio(run: Run, size: Size) -> Iterator[Outcome]:
    """The mutual information of outputs against depth over width."""
    small = np.linspace(0.004, 0.04, 10)
    for (k1, k2), claim in zip(((1, 1), (1, 3)), COEFFICIENT.values(), strict=True):
        yield claim.check(abs(cubic(log_normal, small, k1, k2) / -((20 + 3 * (k1 + k2)) / 6) - 1))
    yield IN_DEPTH.check(abs(cubic(lambda t: log_normal(np.expm1(t)), small, 1, 1) / -(20 / 6) - 1))
    ratios = {phi: wn.optimal_aspect_ratio(float(slope)) for phi, slope in growth_rates(size).items()}
    expected = dict(zip(GROWTH, (0.0348, 0.0870, 0.2609), strict=True))
    note = ", ".join(f"{phi.name} {ratio:.4f}" for phi, ratio in ratios.items())
    yield RATIOS.check(max(abs(ratios[phi] - expected[phi]) for phi in GROWTH), note=note)
    n = ASPECT_WIDTH
    drawn = {depth: relu_information(run.seed, depth, size) for depth in progress(size.aspect_depths, "information")}
    exact = {depth: information(*log_normal((1 + 5 / n) ** depth - 1), 1, 1) for depth in drawn}
    draw_information(run, size, drawn)
    ratios = {depth: (mean / exact[depth], error / exact[depth]) for depth, (mean, error) in drawn.items()}
    note = ", ".join(f"{ratio:.3f} +- {error:.3f} at {depth} layers" for depth, (ratio, error) in ratios.items())
    worst = max(abs(1 - exact[depth] / mean) for depth, (mean, _) in drawn.items())
    yield MEASURED_INFORMATION.check(worst, note=f"width {n}: {note}")


def growth_rates(size: Size) -> dict[Activation, float]:
    """How fast V/K^2 grows, far down."""
    return {phi: np.diff(c.V / c.K**2)[-1] for phi in GROWTH for c in [theory(phi, size.far)]}


Mixture = tuple[np.ndarray, np.ndarray]  # variances and their weights


def log_normal(v: float) -> Mixture:
    """Variances of mean one and relative variance v."""
    y, weight = hermegauss(60)
    return np.exp(np.sqrt(np.log1p(v)) * y - np.log1p(v) / 2), weight / weight.sum()


def information(variances: np.ndarray, weights: np.ndarray, k1: int, k2: int) -> float:
    """Mutual information of k1 and k2 normal variables that share a random variance."""
    h = partial(entropy, variances, weights)
    return h(k1) + h(k2) - h(k1 + k2)


def entropy(variances: np.ndarray, weights: np.ndarray, k: int) -> float:
    """Of k normal variables with a common random variance, by the trapezoid rule in the logarithm of the radius."""
    u = np.arange(-28.0, 5.0, 0.05)
    density = (weights * (2 * np.pi * variances) ** (-k / 2)) @ np.exp(-np.exp(2 * u) / (2 * variances[:, None]))
    sphere = {1: 2.0, 2: 2 * np.pi, 3: 4 * np.pi, 4: 2 * np.pi**2}[k]
    return float(-np.sum(sphere * np.exp(k * u) * density * np.log(np.maximum(density, np.finfo(float).tiny))) * 0.05)


def cubic(mixture: Callable[[Any], Mixture], small: np.ndarray, k1: int, k2: int) -> float:
    """c in I = (k1 k2/8) t^2 (1 + c t + ...), by a fit."""
    ratio = [information(*mixture(t), k1, k2) / (k1 * k2 * t**2 / 8) - 1 for t in small]
    return float(np.polynomial.polynomial.polyfit(small, np.array(ratio) / small, 4)[0])


def relu_information(seed: int, depth: int, size: Size) -> tuple[float, float]:
    """The information of two outputs of networks of `depth` hidden layers, and its standard error."""
    net, x = network(wn.relu, depth, end=False), np.ones((1, ASPECT_WIDTH), np.float32)

    @jax.jit
    def variance(key: Any) -> Any:
        return (wn.apply(net, wn.init(net, key, x.shape, ASPECT_WIDTH), x) ** 2).mean()

    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), depth), size.aspect_networks)
    drawn = np.asarray(jax.lax.map(variance, keys, batch_size=500), float)
    parts = drawn.reshape(JACKKNIFE, -1)
    every = of_sample(drawn)
    fewer = np.array([of_sample(np.delete(parts, i, axis=0).ravel()) for i in range(JACKKNIFE)])
    error = np.sqrt((JACKKNIFE - 1) * np.mean((fewer - fewer.mean()) ** 2))
    return JACKKNIFE * every - (JACKKNIFE - 1) * float(fewer.mean()), float(error)


def of_sample(variances: np.ndarray) -> float:
    """The information of two variables whose common variance is one of these."""
    return information(variances / variances.mean(), np.full(len(variances), 1 / len(variances)), 1, 1)


def draw_information(run: Run, size: Size, drawn: dict[int, tuple[float, float]]) -> None:
    """Theory and relu networks; and the expansion of three classes, with its maxima."""
    figure, axes = panels(2, width=5.0, height=3.9)
    n = ASPECT_WIDTH
    r = np.linspace(1e-3, 1.15 * max(drawn) / n, 60)
    v = np.exp(n * r * np.log1p(5 / n)) - 1
    axes[0].plot(r, [information(*log_normal(value), 1, 1) for value in v], color=COLOURS[0], label="log-normal scale")
    axes[0].plot(r, expansion(5 * r, 2, BOOK), "--", color=COLOURS[1], label="to order three")
    axes[0].plot(r, (5 * r) ** 2 / 8, ":", color=COLOURS[2], label="to order two")
    values, errors = np.array(list(drawn.values())).T
    axes[0].errorbar(
        np.array(list(drawn)) / n, values, 2 * errors, fmt="o", ms=4, capsize=2, color="k", label="networks, 2 s.e."
    )
    axes[0].set(xlabel="depth / width", ylabel="mutual information (nats)", title=f"Two outputs of relu, n = {n}")
    axes[0].set_ylim(-0.005, 1.6 * max(values))
    r = np.linspace(0, 0.5, 400)
    for colour, (phi, nu) in zip(COLOURS, growth_rates(size).items(), strict=False):
        best = wn.optimal_aspect_ratio(float(nu), 2)
        axes[1].plot(r, expansion(nu * r, 2, BOOK), color=colour, label=phi.name)
        axes[1].plot(best, expansion(nu * best, 2, BOOK), "o", color=colour)
    axes[1].plot([], [], "o", color="0.4", label="optimal_aspect_ratio")
    axes[1].set(xlabel="depth / width", title="Order three, two outputs", ylim=(-4e-4, 1.6e-3))
    for ax in axes:
        ax.legend(loc="best")
    save(figure, run, "aspect_ratio")


def expansion(v: Any, outputs: int, constant: int) -> Any:
    """The information of one output and the others, to order three."""
    return (outputs - 1) / 8 * v**2 * (1 - (constant + 3 * outputs) * v / 6)


if __name__ == "__main__":
    sys.exit(run(main, __file__))
