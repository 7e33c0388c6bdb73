"""Deep information propagation (Schoenholz, Gilmer, Ganguli, Sohl-Dickstein; ICLR 2017), with Poole et al. 2016.

Paper: schoenholz2017
Figure: phase diagrams of tanh and erf, correlations and their depth scale, gradients, which depths train
Claim: random networks are ordered or chaotic; correlations converge within a depth scale xi_c that diverges between
    the two, squared gradients change by the factor chi_1 a layer, and networks train up to about 6 xi_c
Expected: the critical line of tanh at sigma_b^2 = 0.05 at sigma_w^2 = 1.760955, variance 0.570048
Minutes: 7 (full, 2 cores), 0.6 (--quick, 2 cores)
Command: python paper_repro/phase_diagrams.py [--quick] [--out DIR] [--seed N]

As in the papers: tanh, sigma_b^2 = 0.05 but for the diagrams; independent Gaussian weights and biases.
Not as in the papers: networks of width 500 (300, gradients; 128, training); 400 steps on 2000 digits in batches of 100,
at the better of two learning rates of the standard parametrization, falling linearly to 0; inputs of mean 0 and
variance 1.  Accuracies are those on the data of training.
One network of width 500 spreads by about 0.09 in c: only means of many can be held to 0.02.  In the chaotic phase the
depth scale of networks exceeds that of theory by 26 % at width 200 and by 11 % at width 500.
What is expected: the tables were computed by a second implementation, in numpy, to six digits (xi_c: four).  "Above
0.9 up to 3 xi_c, below 0.5 from 12 xi_c on", half and twice the paper's 6 xi_c, is our own way to hold it to numbers.
Data: MNIST, if the folder WIDENET_DATA has it; else scikit-learn's digits.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import widenet as wn
from widenet.datasets import mnist_or_digits
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save

BIAS2 = 0.05
BIASES2 = np.array([0.0, 0.0025, 0.01, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0])
LINE = {  # at these sigma_b^2: critical sigma_w^2, q* and chi_par, `[3, sigma_b^2]`
    wn.tanh: np.array(
        [
            [1.0, 1.260094, 1.424205, 1.760955, 1.986073, 2.285152, 2.505127, 2.843167, 3.443211],
            [0.0, 0.153692, 0.273301, 0.570048, 0.805799, 1.164496, 1.461169, 1.971031, 3.036396],
            [1.0, 0.782196, 0.678191, 0.518186, 0.439453, 0.358688, 0.312085, 0.255726, 0.186371],
        ]
    ),
    wn.erf: np.array(
        [
            [0.785398, 0.987412, 1.114280, 1.375839, 1.552118, 1.788180, 1.963071, 2.233660, 2.718381],
            [0.0, 0.145146, 0.253210, 0.517177, 0.726359, 1.045933, 1.311824, 1.772061, 2.744891],
            [1.0, 0.775019, 0.663826, 0.491557, 0.407711, 0.323429, 0.275965, 0.220065, 0.154088],
        ]
    ),
}
OFF_LINE = np.array(  # tanh: sigma_w^2, q*, chi_1, c*, xi_c
    [
        (1.0, 0.193593, 0.759032, 1.0, 3.627),
        (1.3, 0.315316, 0.880164, 1.0, 7.834),
        (1.5, 0.418037, 0.938636, 1.0, 15.79),
        (2.0, 0.721762, 1.047666, 0.744082, 25.21),
        (2.5, 1.063958, 1.133516, 0.446804, 11.80),
        (4.0, 2.195494, 1.342402, 0.165065, 6.980),
    ]
)
CRITICAL2 = 1.760955
STARTS = (0.0, 0.3, 0.6, 0.9)  # correlations of inputs
FAR = 0.1  # from the fixed point: there a mean of networks is more than noise
SCHOENHOLZ = 6.0  # depths up to so many xi_c train


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    grid: int
    width: int
    depth: int
    networks: int
    gradient_width: int
    gradient_depth: int
    gradient_networks: int
    samples: int
    train_width: int
    train_depths: tuple[int, ...]
    train_sigma_w2: tuple[float, ...]
    steps: int
    rates: tuple[float, ...]


FULL = Size(
    grid=60,
    width=500,
    depth=40,
    networks=100,
    gradient_width=300,
    gradient_depth=60,
    gradient_networks=60,
    samples=2000,
    train_width=128,
    train_depths=(5, 10, 20, 40, 60),
    train_sigma_w2=(0.6, 1.0, 1.3, 1.5, CRITICAL2, 2.0, 2.5, 4.0, 6.0, 9.0),
    steps=400,
    rates=(0.02, 0.06),
)
QUICK = Size(
    grid=20,
    width=200,
    depth=30,
    networks=120,
    gradient_width=150,
    gradient_depth=30,
    gradient_networks=100,
    samples=500,
    train_width=64,
    train_depths=(5, 15, 30),
    train_sigma_w2=(0.6, CRITICAL2, 6.0),
    steps=300,
    rates=(0.04,),
)

ON_LINE = {
    phi: Claim("phase diagram", f"{phi.name}: largest error of sigma_w^2, q* and chi_par on the line", at_most(1e-4))
    for phi in LINE
}
CROSSED = {
    phi: Claim("phase diagram", f"{phi.name}: the same of sigma_w^2, where the map's chi_1 reaches 1", at_most(1e-4))
    for phi in LINE
}
BESIDE = Claim("phase diagram", "tanh beside the line: largest relative error of q*, chi_1, c*, xi_c", at_most(1e-3))
CORRELATIONS = Claim("correlations", "mean c of networks - c of theory, root mean square, at worst", at_most(0.02))
CHANCE = Claim("correlations", "largest difference of any layer, in standard errors", at_most(4.5))
DEPTH_SCALE = Claim("correlations", "depth scale of networks over that of theory, at worst", about(1.0, 0.15))
GRADIENTS = Claim("gradients", "slope of log |g|^2 over log chi_1, at worst", about(1.0, 0.05))
FLAT = Claim("gradients", "slope of log |g|^2 at criticality", about(0.0, 0.01))
TRAINS = Claim("training", "least accuracy at depths up to 3 xi_c", at_least(0.9))
FAILS = Claim("training", "largest accuracy at depths from 12 xi_c on", at_most(0.5))


def main(run: Run) -> Iterator[Outcome]:
    """Diagrams, correlations, gradients and training."""
    size = QUICK if run.quick else FULL
    yield from diagrams(run, size)
    yield from correlations(run, size)
    yield from gradients(run, size)
    yield from training(run, size)


def dense(sigma_w2: Any, **how: Any) -> Any:
    """A dense layer of this variance, which may be traced."""
    return wn.dense(sigma_w2**0.5, BIAS2**0.5, **how)


def diagrams(run: Run, size: Size) -> Iterator[Outcome]:
    """chi_1 on a grid with the critical line, and the tables."""
    sigma_b = np.linspace(0.0, 1.0, size.grid)
    figure, axes = panels(2, width=4.9, height=3.8, sharey=True)
    for ax, (phi, table) in zip(axes, LINE.items(), strict=True):
        phase = wn.phase(phi, sigma_w=np.linspace(0.5, 2.5, size.grid), sigma_b=sigma_b)
        grid = phase.sigma_w**2, sigma_b**2
        image = ax.pcolormesh(*grid, phase.chi_1.T, cmap="RdBu_r", vmin=0.2, vmax=1.8, shading="gouraud")
        ax.plot(phase.critical_sigma_w**2, sigma_b**2, "k-", label=r"$\chi_1 = 1$ of the map")
        ax.plot(table[0], BIASES2, "ko", ms=5, fillstyle="none", label="table")
        for place, name in ((0.06, "ordered"), (0.74, "chaotic")):
            ax.text(place, 0.45, name, transform=ax.transAxes)
        ax.set(xlabel=r"$\sigma_w^2$", title=phi.name, xlim=(0.5**2, 2.1**2), ylim=(0, 1.02))
        ax.grid(visible=False)
        yield ON_LINE[phi].check(np.abs(np.transpose([on_line(phi, b2) for b2 in BIASES2]) - table).max())
        crossed = wn.phase(phi, sigma_w=np.linspace(0.5, 2.5, 9), sigma_b=BIASES2**0.5).critical_sigma_w ** 2
        yield CROSSED[phi].check(np.abs(crossed - table[0]).max())
    axes[0].set_ylabel(r"$\sigma_b^2$")
    axes[1].legend(loc="lower right")
    figure.colorbar(image, ax=axes, label=r"$\chi_1$", extend="both")
    save(figure, run, "diagrams")
    phase = wn.phase(wn.tanh, sigma_w=OFF_LINE[:, 0] ** 0.5, sigma_b=[BIAS2**0.5])
    found = np.stack([phase.q, phase.chi_1, phase.c, phase.xi_c], axis=-1)[:, 0]
    yield BESIDE.check(np.abs(found / OFF_LINE[:, 1:] - 1).max())


def on_line(phi: Any, sigma_b2: float) -> tuple[float, float, float]:
    """The critical sigma_w^2, variance and slope at a sigma_b^2, from one equation in the variance."""
    point = wn.critical(phi, sigma_b=sigma_b2**0.5)
    return point.sigma_w**2, point.q, point.chi_par


@partial(jax.jit, static_argnames=("depth", "width"))
def correlations_of_network(key: Any, sigma_w2: Any, x: Any, *, depth: int, width: int) -> Any:
    """Correlations of all samples with the first, in each layer of a random network `[depth, samples - 1]`."""
    keys = jax.random.split(key, depth)
    layer = dense(sigma_w2)

    def random(key: Any, data: Any) -> Any:
        return wn.apply(layer, wn.init(layer, key, data.shape, width, dtype=jnp.float32), data)

    def step(h: Any, key: Any) -> tuple[Any, Any]:
        unit = h / jnp.linalg.norm(h, axis=1, keepdims=True)
        return random(key, wn.tanh(h)), unit[1:] @ unit[0]

    return jax.lax.scan(step, random(keys[0], x), jnp.roll(keys, -1, axis=0))[1]


def inputs(sigma_w2: float, q: float, width: int, seed: int) -> np.ndarray:
    """One input and others of given correlations with it, which the first layer gives the variance q."""
    rng = np.random.default_rng(seed)
    one, *others = np.linalg.qr(rng.normal(size=(width, len(STARTS) + 1)))[0].T * width**0.5
    mixed = [c * one + (1 - c**2) ** 0.5 * other for c, other in zip(STARTS, others, strict=True)]
    return np.stack([one, *mixed]).astype(np.float32) * np.float32(((q - BIAS2) / sigma_w2) ** 0.5)


def correlations(run: Run, size: Size) -> Iterator[Outcome]:
    """Correlations layer by layer and their depth scales, in networks and in theory."""
    drawn: dict[float, int] = {1.3: 0, CRITICAL2: 1, 2.5: 2}
    off, chance, ratios, scales = {}, {}, {}, {}
    figure, axes = panels(4, width=3.6, height=3.5)
    every = sorted({*OFF_LINE[:, 0], CRITICAL2})
    for sigma_w2 in progress([float(s) for s in every], "correlations"):
        block = wn.serial(wn.tanh, dense(sigma_w2))
        reached, maps = wn.depth_scales(block), wn.maps(block)
        x = inputs(sigma_w2, reached.q, size.width, run.seed)
        draws = [jax.random.fold_in(jax.random.key(run.seed), i) for i in range(size.networks)]
        how = {"depth": size.depth, "width": size.width}
        found = np.array([correlations_of_network(key, sigma_w2, x, **how) for key in draws], np.float64)
        theory = [(np.array(STARTS) * (reached.q - BIAS2) + BIAS2) / reached.q]
        for _ in range(size.depth - 1):
            theory.append(maps.c(theory[-1], q=reached.q))
        difference, error = found.mean(0) - theory, found.std(0, ddof=1) / size.networks**0.5
        off[sigma_w2], chance[sigma_w2] = float(np.mean(difference**2) ** 0.5), float(np.abs(difference / error).max())
        if sigma_w2 != CRITICAL2:
            ratios[sigma_w2] = measured_scale(found.mean(0), np.array(theory), reached.c)
            scales[sigma_w2] = reached.xi_c * ratios[sigma_w2]
        if sigma_w2 in drawn:
            ax = axes[drawn[sigma_w2]]
            draw_correlations(ax, found, np.array(theory), size)
            ax.set(xlabel="layer", ylim=(-0.03, 1.04), title=rf"$\sigma_w^2 = {sigma_w2:.4g}$, $c^* = {reached.c:.3g}$")
    axes[0].set_ylabel("correlation")
    axes[0].legend(loc="lower right")
    fine = np.linspace(0.8, 4.2, 35 if run.quick else 120)
    xi = wn.phase(wn.tanh, sigma_w=fine**0.5, sigma_b=[BIAS2**0.5]).xi_c[:, 0]
    axes[3].semilogy(fine, xi, color=COLOURS[0], label="theory")
    axes[3].plot(list(scales), list(scales.values()), "o", color=COLOURS[1], label="networks")
    axes[3].axvline(CRITICAL2, color="k", ls="--", lw=1, label="critical")
    axes[3].set(xlabel=r"$\sigma_w^2$", ylabel=r"$\xi_c$, layers", ylim=(2, 300), title="depth scale")
    axes[3].legend(loc="upper right")
    save(figure, run, "correlations")
    note = f"{size.networks} networks of width {size.width}; "
    yield CORRELATIONS.check(max(off.values()), note=note + told(off))
    yield CHANCE.check(max(chance.values()), note=note + told(chance))
    wide = DEPTH_SCALE.check(furthest(ratios), note=note + told(ratios))
    yield DEPTH_SCALE.skip("needs the full run") if run.quick else wide


def measured_scale(c: np.ndarray, theory: np.ndarray, fixed: float) -> float:
    """How many layers the correlations of networks take, relative to those of theory, to come close to the fixed point.

    By lines through log |c - c*| of the inputs that begin furthest away, whose errors go as 1 / |c - c*|.
    """
    furthest = np.argmax(np.abs(theory[0] - fixed))
    gap, expected = (np.abs(part[:, furthest] - fixed) for part in (c, theory))
    layers = np.flatnonzero(expected > FAR)
    slopes = [np.polyfit(layers, np.log(g[layers]), 1, w=expected[layers])[0] for g in (expected, gap)]
    return float(slopes[0] / slopes[1])


def draw_correlations(ax: Any, found: np.ndarray, theory: np.ndarray, size: Size) -> None:
    """Lines of theory, and the mean of networks with two standard errors."""
    layers = np.arange(1, size.depth + 1)
    for i, (c, colour) in enumerate(zip(STARTS, COLOURS, strict=False)):
        ax.plot(layers, theory[:, i], color=colour, label=f"inputs of correlation {c:g}")
        error = found[:, :, i].std(0, ddof=1) / size.networks**0.5
        ax.errorbar(layers[::3], found[:, ::3, i].mean(0), 2 * error[::3], fmt=".", color=colour, ms=4, lw=1)
    ax.plot([], [], "k.", ms=4, label=f"{size.networks} networks")


def told(by_sigma: dict[float, float]) -> str:
    """Numbers by sigma_w^2."""
    return ", ".join(f"{value:.3g} at {sigma_w2:g}" for sigma_w2, value in by_sigma.items())


def furthest(ratios: dict[float, float]) -> float:
    """The ratio that is furthest from one."""
    return max(ratios.values(), key=lambda ratio: abs(ratio - 1))


@partial(jax.jit, static_argnames=("depth", "width"))
def squared_gradients(key: Any, sigma_w2: Any, x: Any, *, depth: int, width: int) -> Any:
    """|dy/dW_l|^2 for the repeated layers of a random network with one output `[depth]`."""
    blocks = wn.repeat(wn.serial(wn.tanh, dense(sigma_w2)), depth)
    net = wn.serial(dense(sigma_w2), blocks, wn.tanh, wn.dense(width=1))
    params = wn.init(net, key, x.shape, width, dtype=jnp.float32)
    weights = jax.grad(lambda p: wn.apply(net, p, x)[0, 0])(params)["repeat1"]["dense1"]["w"]
    return jnp.sum(weights**2, axis=(1, 2))


def gradients(run: Run, size: Size) -> Iterator[Outcome]:
    """Squared gradients of the weights of each layer in the two phases and between them."""
    figure, (ax,) = panels(1, width=7.4, height=4.0)
    slopes = {}
    layers = np.arange(1, size.gradient_depth + 1)
    for colour, sigma_w2 in zip(COLOURS, (1.0, 1.3, CRITICAL2, 2.5, 4.0), strict=False):
        reached = wn.depth_scales(wn.serial(wn.tanh, dense(sigma_w2)))
        chi = float(wn.maps(wn.serial(wn.tanh, dense(sigma_w2))).chi_perp(reached.q))
        x = inputs(sigma_w2, reached.q, size.gradient_width, run.seed)[:1]
        draws = progress(jax.random.split(jax.random.key(run.seed), size.gradient_networks), "gradients")
        how = {"depth": size.gradient_depth, "width": size.gradient_width}
        found = np.array([squared_gradients(key, sigma_w2, x, **how) for key in draws], np.float64)
        mean = found.mean(0)
        unit = 1.0 if sigma_w2 == CRITICAL2 else np.log(chi)
        slopes[sigma_w2] = -np.polyfit(layers, np.log(mean), 1)[0] / unit
        label = rf"$\sigma_w^2 = {sigma_w2:.4g}$, $\chi_1 = {chi:.4g}$"
        ax.semilogy(layers, mean / mean[-1], ".", color=colour, label=label)
        ax.plot(layers, chi ** (size.gradient_depth - layers), color=colour, lw=1)
    ax.plot([], [], "k-", lw=1, label=r"$\chi_1^{L-l}$")
    ax.set(xlabel="layer $l$", ylabel=r"$|dy/dW_l|^2$ over that of the last layer")
    ax.set_title(f"tanh, mean of {size.gradient_networks} networks of width {size.gradient_width}")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, run, "gradients")
    flat = slopes.pop(CRITICAL2)
    yield GRADIENTS.check(furthest(slopes), note=told(slopes))
    yield FLAT.check(flat)


@partial(jax.jit, static_argnames=("depth", "width", "steps"))
def trained(key: Any, sigma_w2: Any, rate: Any, x: Any, y: Any, *, depth: int, width: int, steps: int) -> Any:
    """Accuracy on its data of a network with `depth` hidden layers, after stochastic descent.

    A rate of standard weights sigma_w w / sqrt(fan_in) is rate fan_in / sigma_w^2 for standard normal ones.
    """
    blocks = wn.repeat(wn.serial(wn.tanh, dense(sigma_w2)), depth - 1)
    net = wn.serial(dense(sigma_w2), blocks, wn.tanh, dense(sigma_w2, width=10))
    start, order = jax.random.split(key)
    params = wn.init(net, start, x.shape, width, dtype=jnp.float32)

    def own_rate(path: Any, leaf: Any) -> Any:
        return rate * leaf.shape[-2] / sigma_w2 if path[-1].key == "w" else rate / BIAS2

    rates = jax.tree_util.tree_map_with_path(own_rate, params)

    def loss(p: Any, batch: Any) -> Any:
        logs = jax.nn.log_softmax(wn.apply(net, p, x[batch]))
        return -jnp.mean(jnp.take_along_axis(logs, y[batch][:, None], 1))

    def step(p: Any, part: Any) -> tuple[Any, None]:
        slope = jax.grad(loss)(p, jax.random.choice(part[0], len(x), (100,)))
        return jax.tree.map(lambda w, g, r: w - part[1] * r * g, p, slope, rates), None

    falling = 1 - jnp.arange(steps) / steps
    params, _ = jax.lax.scan(step, params, (jax.random.split(order, steps), falling))
    return jnp.mean(jnp.argmax(wn.apply(net, params, x), axis=1) == y)


def training(run: Run, size: Size) -> Iterator[Outcome]:
    """Which depths train at which sigma_w^2."""
    split = mnist_or_digits(run.seed).drawn(size.samples, seed=run.seed)
    x = split.x_train.reshape(len(split.x_train), -1)
    x, y = ((x - x.mean()) / x.std()).astype(np.float32), split.y_train.astype(np.int32)
    cells = [(depth, sigma_w2) for depth in size.train_depths for sigma_w2 in size.train_sigma_w2]
    how, key = {"width": size.train_width, "steps": size.steps}, jax.random.key(run.seed)
    reached = [
        max(float(trained(key, sigma_w2, rate, x, y, depth=depth, **how)) for rate in size.rates)
        for depth, sigma_w2 in progress(cells, "training")
    ]
    scales = [wn.depth_scales(wn.serial(wn.tanh, dense(s))).xi_c for s in size.train_sigma_w2]
    accuracy = np.array(reached).reshape(len(size.train_depths), len(scales))
    draw_training(run, size, accuracy, split.name)
    shallow = np.array([[2 * depth <= SCHOENHOLZ * xi for xi in scales] for depth in size.train_depths])
    deep = np.array([[depth >= 2 * SCHOENHOLZ * xi for xi in scales] for depth in size.train_depths])
    yield TRAINS.check(
        accuracy[shallow].min(), split.name, f"{shallow.sum()} networks, mean {accuracy[shallow].mean():.3f}"
    )
    yield FAILS.check(accuracy[deep].max(), split.name, f"{deep.sum()} networks, mean {accuracy[deep].mean():.3f}")


def draw_training(run: Run, size: Size, accuracy: np.ndarray, name: str) -> None:
    """Accuracies as numbers on colours, with the depths that theory gives."""
    figure, (ax,) = panels(1, width=7.0, height=4.0)
    places = np.arange(len(size.train_sigma_w2))
    image = ax.pcolormesh(places, np.arange(len(size.train_depths)), accuracy, vmin=0, vmax=1, cmap="magma")
    for (row, column), value in np.ndenumerate(accuracy):
        ax.text(column, row, f"{value:.2f}", ha="center", va="center", color="w" if value < 0.6 else "k", fontsize=9)
    fine = np.geomspace(size.train_sigma_w2[0], size.train_sigma_w2[-1], 80)
    xi = wn.phase(wn.tanh, sigma_w=fine**0.5, sigma_b=[BIAS2**0.5]).xi_c[:, 0]
    column = np.interp(fine, size.train_sigma_w2, places)
    for factor, style in ((0.5, ":"), (1.0, "-"), (2.0, "--")):
        depth = factor * SCHOENHOLZ * xi
        row = np.interp(depth, size.train_depths, np.arange(len(size.train_depths)), left=np.nan, right=np.nan)
        ax.plot(column, row, style, color=COLOURS[4], lw=2, label=rf"depth ${factor * SCHOENHOLZ:.0f}\,\xi_c$")
    ax.set_xticks(places, [f"{sigma_w2:.3g}" for sigma_w2 in size.train_sigma_w2])
    ax.set_yticks(np.arange(len(size.train_depths)), [str(depth) for depth in size.train_depths])
    ax.set(xlabel=r"$\sigma_w^2$", ylabel="hidden layers")
    ax.set_title(f"training accuracy after {size.steps} steps, {size.samples} of {name}")
    ax.grid(visible=False)
    figure.colorbar(image, label="accuracy")
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    save(figure, run, "training")


if __name__ == "__main__":
    sys.exit(run(main, __file__))
