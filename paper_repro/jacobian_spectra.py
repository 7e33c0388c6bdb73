"""Resurrecting the sigmoid in deep learning through dynamical isometry (Pennington, Schoenholz, Ganguli; NeurIPS 2017).

Paper: pennington2017
Figure: singular values of Jacobians of linear, ReLU, hard-tanh and erf networks; their spread by depth; learning speed
Claim: free probability gives the singular values of deep Jacobians; orthogonal weights near the critical point keep
    them within a narrow range at any depth for sigmoidal activations, never for ReLU or Gaussian weights, and such
    networks learn faster
Expected: variances 16 (linear, 16 Gaussian layers), 8 and 4 (ReLU, 4 layers), 0.293 and 1.170 (tanh, 4 and 16)
Minutes: 5 (full, 2 cores), 0.7 (--quick, 2 cores)
Command: python paper_repro/jacobian_spectra.py [--quick] [--out DIR] [--seed N]

Of pennington2018: the densities, whose depth dependence does not depend on the activation but by its class.
J has as many activations as matrices, all square.  Scales are critical (chi_1 = 1): sigma_b^2 = 0.05 for erf; for
hard-tanh the variance is 0.5.
Not as in the papers: learning is on 2000 digits, tanh networks of 40 layers of width 100, plain stochastic descent in
the NTK parametrization, each initialization at the best of its rates; the paper has 200 layers of width 400, CIFAR-10.
What is expected: variances follow from moments of phi' and were confirmed by a second implementation, in numpy; that
networks agree within 10 % and distributions within 0.03, and by how much faster the isometric one is at least, is our
own.  Gaussian variances exceed the limit by about depth / width; those of single ReLU networks of 64 layers and width
200 spread by a fifth.
Data: MNIST, if the folder WIDENET_DATA has it; else scikit-learn's digits.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import widenet as wn
from widenet.corrections.ensembles import draw_params
from widenet.datasets import mnist_or_digits
from widenet.initializers import edge_of_chaos
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save

NAMES = {"iid": "Gaussian", "orthogonal": "orthogonal"}
TANH = {0.0025: wn.critical(wn.tanh, 0.05), 0.05: wn.critical(wn.tanh, 0.05**0.5)}  # by sigma_b^2
TARGET = 0.25  # of the isometric networks
LOGS = np.linspace(-3.5, 1.2, 300)  # decimal logarithms of singular values
HIGHEST = 2.5  # density that is drawn: single points have none
EVERY = 10  # steps between looks at the accuracy
TESTED = 500  # images
LEARNED = 0.8  # test accuracy


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    width: int
    draws: int
    depths: tuple[int, ...]  # of the densities
    spread_depths: tuple[int, ...]
    spread_width: int
    spread_draws: int
    samples: int
    layers: int
    learning_width: int
    steps: int
    rates: tuple[float, ...]
    seeds: int


FULL = Size(400, 3, (4, 16), (4, 16, 64), 200, 12, 2000, 40, 100, 300, (0.1, 0.3, 1.0), 3)
QUICK = Size(150, 3, (4,), (4, 16), 100, 8, 500, 20, 60, 150, (0.3, 1.0), 2)


class Chain(NamedTuple):
    """An activation and the scales of its layers, at the variance q of preactivations."""

    phi: Any
    sigma_w: float
    sigma_b: float
    q: float

    @property
    def q0(self) -> float:
        """The mean square of inputs that the first layer gives the variance q."""
        return (self.q - self.sigma_b**2) / self.sigma_w**2

    def spectrum(self, depth: int, ensemble: str) -> Any:
        """That of infinite width."""
        return wn.jacobian_spectrum(net_of(self, depth), q0=self.q0, ensemble=ensemble)

    def values(self, depth: int, ensemble: str, width: int, draws: int, seed: int) -> np.ndarray:
        """Singular values of random networks `[draws, width]`."""
        x = np.random.default_rng(seed).normal(size=(draws, 1, width)).astype(np.float32)
        x *= np.float32(self.q0**0.5) / np.sqrt(np.mean(x**2, axis=2, keepdims=True))
        net, keys = net_of(self, depth), jax.random.split(jax.random.key(seed), draws)
        rows = zip(keys, x, strict=True)
        drawn = [wn.empirical_spectrum(net, draw_params(net, k, r.shape, width, ensemble), r)[0] for k, r in rows]
        return np.array(drawn, np.float64)


@lru_cache
def net_of(chain: Chain, depth: int) -> Any:
    """As many activations as dense layers; the same object each time, which is compiled once."""
    return wn.serial(wn.zoo.mlp(chain.phi, depth - 1, sigma_w=chain.sigma_w, sigma_b=chain.sigma_b), chain.phi)


LINEAR, RELU = Chain(wn.identity, 1.0, 0.0, 1.0), Chain(wn.relu, 2**0.5, 0.0, 1.0)
HARD, ERF = Chain(wn.hard_tanh, *edge_of_chaos(wn.hard_tanh, 0.5)), Chain(wn.erf, *wn.critical(wn.erf, 0.05**0.5)[:3])
SMALL, LARGE = (Chain(wn.tanh, *point[:3]) for point in TANH.values())
CHAINS = {"iid": (LINEAR, RELU, HARD, ERF), "orthogonal": (RELU, HARD, ERF)}

THEORY = {  # chain, depth, ensemble
    (LINEAR, 16, "iid"): Claim("theory", "variance, linear, 16 Gaussian layers", about(16.0, 1e-3)),
    (RELU, 4, "iid"): Claim("theory", "variance, ReLU, 4 Gaussian layers", about(8.0, 1e-3)),
    (RELU, 4, "orthogonal"): Claim("theory", "variance, ReLU, 4 orthogonal layers", about(4.0, 1e-3)),
    (SMALL, 4, "orthogonal"): Claim("theory", "variance, tanh, sigma_b^2 = 0.0025, 4 orthogonal", about(0.293, 1e-3)),
    (SMALL, 16, "orthogonal"): Claim("theory", "variance, tanh, sigma_b^2 = 0.0025, 16 orthogonal", about(1.170, 1e-3)),
    (SMALL, 4, "iid"): Claim("theory", "variance, tanh, sigma_b^2 = 0.0025, 4 Gaussian", about(4.29, 5e-3)),
    (LARGE, 4, "orthogonal"): Claim("theory", "variance, tanh, sigma_b^2 = 0.05, 4 orthogonal", about(1.369, 1e-3)),
}
NETWORKS = Claim("networks", "variance over that of theory, all of the above, at worst", about(1.0, 0.1))
DISTANCE = Claim("densities", "largest distance of distribution functions, networks and theory", at_most(0.03))
ISOMETRIC = Claim("spread", "isometric tanh, deepest: variance over its target", about(1.0, 0.1))
CRITICAL = Claim(
    "spread", "the same of Gaussian weights of the same scales, at least the depth: over it", at_least(0.9)
)
RELU_NEVER = Claim("spread", "ReLU, orthogonal, deepest: variance over the depth", about(1.0, 0.15))
FASTER = Claim("learning", "Gaussian over isometric: steps to a test accuracy of 80 %, or to the end", at_least(1.2))


def main(run: Run) -> Iterator[Outcome]:
    """Variances, densities, spread by depth, and learning."""
    size = QUICK if run.quick else FULL
    yield from variances(run, size)
    yield from densities(run, size)
    yield from spreads(run, size)
    yield from learning(run, size)


def relative_variance(values: np.ndarray) -> float:
    """Variance of the squared singular values over their squared mean, mean of draws."""
    squares = values**2
    return float(np.mean(squares.var(axis=1) / squares.mean(axis=1) ** 2))


def variances(run: Run, size: Size) -> Iterator[Outcome]:
    """Theory against the table, networks against theory."""
    ratios = {}
    for (chain, depth, ensemble), claim in progress(THEORY.items(), "variances", len(THEORY)):
        expected = chain.spectrum(depth, ensemble).variance
        yield claim.check(expected)
        found = relative_variance(chain.values(depth, ensemble, size.width, size.draws, run.seed))
        ratios[f"{chain.phi.name}, {depth} {NAMES[ensemble]}"] = found / expected
    note = ", ".join(f"{ratio:.3f} {name}" for name, ratio in ratios.items())
    yield NETWORKS.check(max(ratios.values(), key=lambda ratio: abs(ratio - 1)), note=f"n = {size.width}: {note}")


def densities(run: Run, size: Size) -> Iterator[Outcome]:
    """Histograms of networks beside the densities of free probability."""
    distances = {}
    for ensemble, chains in CHAINS.items():
        figure, axes = panels(len(chains), width=3.5, height=3.4)
        for ax, chain in zip(axes, progress(chains, f"densities, {NAMES[ensemble]}"), strict=True):
            for colour, depth in zip(COLOURS, size.depths, strict=False):
                spectrum = chain.spectrum(depth, ensemble)
                values = chain.values(depth, ensemble, size.width, size.draws, run.seed)
                density = 10**LOGS * np.log(10) * spectrum.singular_density(10**LOGS)
                ax.hist(
                    np.log10(np.maximum(values.ravel(), 1e-30)),
                    np.linspace(LOGS[0], LOGS[-1], 60),
                    weights=np.full(values.size, 59 / np.ptp(LOGS) / values.size),
                    color=colour,
                    alpha=0.35,
                    label=f"{depth} layers, n = {size.width}",
                )
                ax.plot(LOGS, density, color=colour, label="infinite width")
                distances[chain.phi.name, depth, ensemble] = distance(values, spectrum, density)
            ax.set(xlabel=r"$\log_{10}$ singular value", xlim=(-3.5, 1.2))
            ax.set_title(titled(chain, size.depths, ensemble), fontsize=10)
            ax.set_ylim(0, min(ax.get_ylim()[1], HIGHEST))
        axes[0].set_ylabel("density")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        save(figure, run, f"densities_{NAMES[ensemble].lower()}")
    worst = max(distances, key=lambda which: distances[which])
    yield DISTANCE.check(
        distances[worst], note=f"{len(distances)} laws, worst: {worst[0]}, {worst[1]} {NAMES[worst[2]]}"
    )


def titled(chain: Chain, depths: tuple[int, ...], ensemble: str) -> str:
    """The name of an activation, and its masses at single points."""
    lines = [f"{chain.phi.name}, {NAMES[ensemble]}"]
    for depth in depths:
        atoms = sorted(chain.spectrum(depth, ensemble).atoms.items())
        masses = " and ".join(f"{mass:.2f} at {place**0.5:.3g}" for place, mass in atoms)
        lines.append(f"{depth} layers: mass {masses}" if atoms else "")
    return "\n".join(lines)


def distance(values: np.ndarray, spectrum: Any, density: np.ndarray) -> float:
    """The largest difference of distribution functions on the grid, from its upper end, and not beside atoms."""
    steps = np.diff(LOGS) * (density[1:] + density[:-1]) / 2
    above = np.append(np.cumsum(steps[::-1])[::-1], 0.0)
    for place, mass in spectrum.atoms.items():
        above += mass * (place**0.5 > 10**LOGS)
    measured = np.mean(values.ravel()[:, None] > 10**LOGS, axis=0)
    near = [np.abs(LOGS - np.log10(place) / 2) < 0.05 for place in spectrum.atoms if place > 0]
    return float(np.max(np.abs(measured - above)[~np.any([*near, np.zeros_like(LOGS, bool)], axis=0)]))


def spreads(run: Run, size: Size) -> Iterator[Outcome]:
    """The variance of squared singular values by depth, of isometric and other networks."""
    figure, (ax,) = panels(1, width=6.4, height=4.2)
    depths = np.array(size.spread_depths)
    told = {
        "ReLU, orthogonal": [(RELU, "orthogonal")] * len(depths),
        "tanh, critical, orthogonal": [(LARGE, "orthogonal")] * len(depths),
        "tanh, isometric scales, Gaussian": [(isometric(depth), "iid") for depth in size.spread_depths],
        "tanh, isometric scales, orthogonal": [(isometric(depth), "orthogonal") for depth in size.spread_depths],
    }
    last = {}
    for colour, (name, chains) in zip(COLOURS, progress(told.items(), "spread", len(told)), strict=False):
        pairs = list(zip(depths, chains, strict=True))
        theory = [chain.spectrum(int(depth), ensemble).variance for depth, (chain, ensemble) in pairs]
        found = [
            relative_variance(chain.values(int(depth), ensemble, size.spread_width, size.spread_draws, run.seed))
            for depth, (chain, ensemble) in pairs
        ]
        ax.loglog(depths, theory, color=colour, label=name)
        ax.plot(depths, found, "o", color=colour)
        last[name] = found[-1]
    ax.plot([], [], "ko", label=f"networks of width {size.spread_width} (lines: theory)")
    ax.set_xticks(depths, [str(depth) for depth in depths])
    ax.minorticks_off()
    ax.set(xlabel="layers", ylabel="relative variance of squared singular values")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, run, "spread")
    yield ISOMETRIC.check(last["tanh, isometric scales, orthogonal"] / TARGET, note=f"{depths[-1]} layers")
    yield CRITICAL.check(last["tanh, isometric scales, Gaussian"] / depths[-1], note=f"{depths[-1]} layers")
    yield RELU_NEVER.check(last["ReLU, orthogonal"] / depths[-1], note=f"{depths[-1]} layers")


def isometric(depth: int) -> Chain:
    """tanh with the scales at which orthogonal weights have variance TARGET."""
    return Chain(wn.tanh, *wn.isometric_init(wn.tanh, depth, TARGET)[:3])


def classifier(chain: Chain, layers: int) -> Any:
    """A deep network with ten outputs."""
    layer = wn.dense(chain.sigma_w, chain.sigma_b)
    return wn.serial(layer, wn.repeat(wn.serial(chain.phi, layer), layers - 1), chain.phi, wn.dense(width=10))


@partial(jax.jit, static_argnames=("net", "steps"))
def accuracies(net: Any, params: Any, key: Any, rate: Any, data: Any, *, steps: int) -> Any:
    """Test accuracies every EVERY steps of stochastic descent `[steps / EVERY]`."""
    x, y, x_test, y_test = data

    def loss(p: Any, batch: Any) -> Any:
        logs = jax.nn.log_softmax(wn.apply(net, p, x[batch]))
        return -jnp.mean(jnp.take_along_axis(logs, y[batch][:, None], 1))

    def step(p: Any, key: Any) -> tuple[Any, None]:
        slope = jax.grad(loss)(p, jax.random.choice(key, len(x), (100,)))
        return jax.tree.map(lambda w, g: w - rate * g, p, slope), None

    def stretch(p: Any, keys: Any) -> tuple[Any, Any]:
        p, _ = jax.lax.scan(step, p, keys)
        return p, jnp.mean(jnp.argmax(wn.apply(net, p, x_test), axis=1) == y_test)

    return jax.lax.scan(stretch, params, jax.random.split(key, (steps // EVERY, EVERY)))[1]


def learning(run: Run, size: Size) -> Iterator[Outcome]:
    """Test accuracy of deep tanh networks by steps, each from its best rate."""
    near = isometric(size.layers)
    split = mnist_or_digits(run.seed)
    rows = np.random.default_rng(run.seed).permutation(len(split.y_train))[: size.samples]
    kinds = {
        "isometric, orthogonal": (near, "orthogonal"),
        "isometric scales, Gaussian": (near, "iid"),
        "critical, Gaussian": (LARGE, "iid"),
    }
    figure, (ax,) = panels(1, width=6.0, height=4.0)
    steps = EVERY * np.arange(1, size.steps // EVERY + 1)
    needed, told = {}, {}
    for colour, (name, (chain, ensemble)) in zip(COLOURS, kinds.items(), strict=False):
        net = classifier(chain, size.layers)
        x, x_test = (scaled(part, chain.q0) for part in (split.x_train[rows], split.x_test[:TESTED]))
        data = x, split.y_train[rows].astype(np.int32), x_test, split.y_test[:TESTED].astype(np.int32)

        def curve(rate: float, seed: int, net=net, data=data, ensemble=ensemble) -> np.ndarray:
            params = draw_params(net, seed, data[0].shape, size.learning_width, ensemble)
            return np.asarray(accuracies(net, params, jax.random.key(seed), rate, data, steps=size.steps))

        first = {rate: curve(rate, 1000 + run.seed).mean() for rate in progress(size.rates, f"{name}, rates")}
        best = max(first, key=lambda rate: first[rate])
        seeds = progress(range(run.seed, run.seed + size.seeds), name)
        curves = np.array([curve(best, seed) for seed in seeds])
        ax.plot(steps, curves.mean(0), color=colour, label=f"{name}, rate {best:g}")
        low, high = curves.min(0), curves.max(0)
        ax.fill_between(steps, low, high, color=colour, alpha=0.2, lw=0)
        learned = curves >= LEARNED
        needed[name] = np.where(learned.any(axis=1), steps[learned.argmax(axis=1)], size.steps)
        missed = f", {np.sum(~learned.any(axis=1))} not within {size.steps}" if not learned.any(axis=1).all() else ""
        told[name] = f"{name} {needed[name].mean():.0f} +- {needed[name].std(ddof=1):.0f}{missed}"
    ax.axhline(LEARNED, color="k", ls="--", lw=1, label="learned")
    ax.set(xlabel="steps", ylabel="test accuracy", ylim=(0, 1))
    ax.set_title(f"{size.layers} tanh layers, {size.seeds} networks, {size.samples} of {split.name}")
    ax.legend(loc="lower right")
    save(figure, run, "learning")
    gaussian = min(needed[name].mean() for name in kinds if "Gaussian" in name)
    yield FASTER.check(
        gaussian / needed["isometric, orthogonal"].mean(), split.name, "steps: " + "; ".join(told.values())
    )


def scaled(images: np.ndarray, mean_square: float) -> np.ndarray:
    """Flat images, each with this mean square."""
    x = images.reshape(len(images), -1)
    return (x * (mean_square / np.mean(x**2, axis=1, keepdims=True)) ** 0.5).astype(np.float32)


if __name__ == "__main__":
    sys.exit(run(main, __file__))
