"""Feature learning in infinite-width neural networks (Yang, Hu; ICML 2021).

Paper: yang2021
Figure: theory against simulation; classification of abc-parametrizations; largest stable learning rate by width
Claim: the limits of networks that learn features can be computed, finite networks come to them as width^(-1/2), one
    number r tells how fast features stop moving with width, and the largest stable learning rate falls as 1/width in
    the standard parametrization but stays in muP
Expected: exponents -1/2 in width and -1 in depth; measured exponents within 0.14 of r, of the output within 0.10, in 14
    random parametrizations; exponents -1 and 0 of the stable rate
Minutes: 2 (full, 4 cores), 0.7 (--quick, 2 cores)
Command: python paper_repro/tp4.py [--quick] [--out DIR] [--seed N]

As in the paper: stochastic gradient descent, tanh for the classification, two hidden relu layers, squared loss and one
rate for all layers for the stable rate.  The residual network is that of yang2023 (prop. 4.4, figures 8 and 9): deep,
linear, without and with finite width and depth.
Not as in the paper: widths up to 2048 instead of 8192, digits instead of CIFAR-10, and four principal coordinates of
two digits for the limits.  A rate is stable if the loss never exceeds that of the start, in 10 steps.
What is expected: the exponents are theorems; 0.14 and 0.10 are how far a second implementation, in numpy, was from
them at width 2048.  Of the random parametrizations, all stable, half are drawn among those whose function moves.
Found: both settings matter at these widths.  Were losses up to twice that of the start stable, narrow networks would
bear more than 2 / lambda_max and the exponent of SP be -1.21 (widths 128 to 1024); at rate 1 instead of 8 in the
classification one of five draws has a gap of 0.15 (from width 256), as two powers compete with unequal constants.
Data: MNIST, if the folder WIDENET_DATA has it; else scikit-learn's digits.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

import widenet as wn
from widenet.datasets import mnist_or_digits
from widenet.limits import (
    HiddenLayer,
    Slope,
    descend,
    error_slope,
    exact_limit,
    hidden_layer_limit,
    linear_limit,
    linear_mup,
    linear_resnet,
    width_errors,
)
from widenet.parametrizations import Classification, Parametrization, abc, check, mup, sgd, sp
from widenet.precision import float64
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_most, panels, run, save

COORDINATES, BATCH, SHOWN = 4, 16, 8  # of the data of the limits; inputs that are looked at
CLASSES = (3, 5)
LIMIT_RATE = {"linear": 0.2, "tanh": 0.5, "residual": 0.05}
ABC_STEPS, ABC_RATE, ABC_BATCH = 2, 8.0, 6  # the loss is a mean over 24 outputs
STABLE_STEPS, STABLE_BATCH, PRECISION = 10, 16, 0.125  # octaves
REGIMES = ("feature learning", "kernel", "trivial")
OCTAVES = (-8.0, 8.0)  # between which the largest stable rate is
DEPTHS, DEEPEST = (4, 8, 16, 32, 64), 128


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    shallow_widths: tuple[int, ...]
    deep_widths: tuple[int, ...]
    depth: int
    steps: int
    draws: int
    parametrizations: int
    abc_widths: tuple[int, ...]
    rate_widths: tuple[int, ...]
    seeds: int


WIDTHS = (16, 64, 256, 1024, 4096, 16384)
FULL = Size(WIDTHS, (32, 64, 128, 256, 512), 32, 10, 32, 14, (512, 1024, 2048), (128, 256, 512, 1024, 2048), 3)
QUICK = Size(WIDTHS[:4:3], (32, 256), 8, 5, 32, 6, (512, 1024, 2048), (128, 512), 3)

SHALLOW = Claim("limits", "exponent of width in the error of linear networks", about(-0.5, 0.06))
TANH = Claim("limits", "exponent of width in the error of networks with a tanh layer", about(-0.5, 0.06))
RESIDUAL = Claim("limits", "exponent of width in the error of deep linear residual networks", about(-0.5, 0.12))
DEPTH = Claim("limits", "exponent of depth in the error of finite depth at infinite width", about(-1.0, 0.1))
FEATURES = Claim("classification", "largest gap of the exponent of features to -r", at_most(0.14))
OUTPUTS = Claim("classification", "largest gap of the exponent of the output to theory", at_most(0.10))
SP_RATE = Claim("stable rate", "exponent of width in the largest stable rate, SP", about(-1.0, 0.15))
MUP_RATE = Claim("stable rate", "exponent of width in the largest stable rate, muP", about(0.0, 0.15))


def main(run: Run) -> Iterator[Outcome]:
    """The limits, the classification and the stable rates."""
    size = QUICK if run.quick else FULL
    yield from limits(run, size)
    yield from classification(run, size)
    yield from stable_rates(run, size)


class Task(NamedTuple):
    """Batches, one a step, and inputs to look at."""

    batches: tuple[Any, Any]
    x: Any
    name: str


def two_digits(seed: int, steps: int) -> Task:
    """Principal coordinates of two kinds of digits, of variance one on average, with targets of -1 and 1."""
    data = mnist_or_digits(seed)
    rows = np.isin(data.y_train, CLASSES)
    images, y = data.x_train[rows].reshape(rows.sum(), -1), np.where(data.y_train[rows] == CLASSES[0], -1.0, 1.0)
    centred = images - images.mean(0)
    x = centred @ np.linalg.svd(centred[:1000], full_matrices=False)[2][:COORDINATES].T
    x = x / np.sqrt(np.mean(x**2))
    order = np.random.default_rng(seed).permutation(len(x))
    picked, looked_at = order[: steps * BATCH].reshape(steps, BATCH), order[-SHOWN:]
    return Task((x[picked], y[picked][..., None]), x[looked_at], data.name)


def squared(f: Any, y: Any) -> Any:
    """Half the mean squared error."""
    return jnp.mean((f - y) ** 2) / 2


def trained(net: Any, task: Task, rate: float, params: Any) -> Any:
    """The outputs in training."""
    return descend(net, params, task.batches, loss=squared, rate=rate, x=task.x)[0]


def limits(run: Run, size: Size) -> Iterator[Outcome]:
    """Three limits against finite networks, and the residual one against finite depth."""
    task = two_digits(run.seed, size.steps)
    linear, deep = linear_mup(COORDINATES, 1), linear_resnet(COORDINATES, 1, size.depth)
    tanh = HiddenLayer(phi=wn.tanh, d_in=COORDINATES, d_out=1)
    nets = {"linear": linear, "tanh": tanh, "residual": deep}
    train = {name: partial(trained, net, task, LIMIT_RATE[name]) for name, net in nets.items()}
    exact = {
        "linear": train["linear"](exact_limit(linear)),
        "tanh": hidden_layer_limit(tanh, train["tanh"], key=run.seed, samples=4096).mean,
        "residual": linear_limit(deep, task.batches, loss=squared, rate=LIMIT_RATE["residual"], x=task.x),
    }
    widths = {"linear": size.shallow_widths, "tanh": size.shallow_widths, "residual": size.deep_widths}
    errors = {
        name: width_errors(net, train[name], exact[name], key=run.seed + 1, widths=widths[name], draws=size.draws)
        for name, net in nets.items()
    }
    slopes = {name: error_slope(widths[name], errors[name]) for name in nets}
    gaps = depth_errors(task)
    depth_slope = error_slope(DEPTHS[2:], gaps[2:])
    figure, axes = panels(3, width=4.4, height=3.6)
    curves = {n: train["residual"](deep.init(jax.random.key(run.seed), n)) for n in size.deep_widths[:-4:-2]}
    draw_training(axes[0], curves, exact["residual"])
    draw_errors(axes[1], widths, errors, slopes)
    draw_depths(axes[2], gaps, depth_slope)
    save(figure, run, "limits")
    for claim, name in ((SHALLOW, "linear"), (TANH, "tanh"), (RESIDUAL, "residual")):
        yield claim.check(slopes[name].value, task.name, told(slopes[name]))
    yield DEPTH.check(depth_slope.value, task.name, told(depth_slope))


def depth_errors(task: Task) -> np.ndarray:
    """Distance of the limit of each depth from that of infinite depth, extrapolated from the two deepest."""
    given = {"loss": squared, "rate": LIMIT_RATE["residual"], "x": task.x}
    few = task.batches[0][:5], task.batches[1][:5]
    at = {depth: linear_limit(linear_resnet(COORDINATES, 1, depth), few, **given) for depth in (*DEPTHS, DEEPEST)}
    endless = 2 * at[DEEPEST] - at[DEEPEST // 2]
    return np.array([np.sqrt(np.mean((at[depth] - endless) ** 2)) for depth in DEPTHS])


def told(slope: Slope) -> str:
    """An exponent and its interval of confidence."""
    return f"{slope.value:.2f} ± {slope.half_width:.2f}"


def draw_training(ax: Axes, curves: dict[int, Any], limit: Any) -> None:
    """Outputs of residual networks and of their limit."""
    for colour, (width, outputs) in zip(COLOURS, curves.items(), strict=False):
        ax.plot(outputs[:, :3, 0], color=colour, lw=1.0)[0].set_label(f"width {width}")
    ax.plot(limit[:, :3, 0], "k--", lw=1.8)[0].set_label("limit")
    ax.set(xlabel="steps", ylabel="outputs on three digits", title="residual networks in training")
    ax.legend()


def draw_errors(ax: Axes, widths: Any, errors: Any, slopes: Any) -> None:
    """Distances from limits by width."""
    for colour, (name, found) in zip(COLOURS, errors.items(), strict=False):
        label = f"{name}: {told(slopes[name])}"
        rms = np.sqrt(np.mean(found**2, axis=1))
        ax.errorbar(widths[name], rms, rms_error(found), fmt="o-", color=colour, capsize=2, label=label)
    first = np.array(widths["linear"], float)
    start = 0.4 * np.sqrt(np.mean(errors["linear"][0] ** 2))
    ax.plot(first, start * (first / first[0]) ** -0.5, "k:", label="width$^{-1/2}$")
    ax.set(xscale="log", yscale="log", xlabel="width", ylabel="distance from the limit", title="fitted exponents")
    ax.legend()


def draw_depths(ax: Axes, gaps: np.ndarray, slope: Slope) -> None:
    """Distances from infinite depth."""
    ax.loglog(DEPTHS, gaps, "o-", color=COLOURS[2], label=f"infinite width: {told(slope)}")
    ax.plot(DEPTHS, 0.6 * gaps[-1] * DEPTHS[-1] / np.array(DEPTHS), "k:", label="1 / depth")
    ax.set(xlabel="depth", ylabel="distance from infinite depth", title="residual networks")
    mark(ax, DEPTHS)
    ax.legend()


def mark(ax: Axes, ticks: tuple[int, ...]) -> None:
    """Ticks where the measurements are, on a logarithmic axis."""
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xticks(ticks, [str(tick) for tick in ticks])


def rms_error(found: np.ndarray) -> np.ndarray:
    """The standard error of root mean squares over draws."""
    squares = found**2
    return squares.std(1, ddof=1) / np.sqrt(found.shape[1]) / (2 * np.sqrt(squares.mean(1)))


class Mlp(NamedTuple):
    """Two hidden layers of one width in a parametrization, W = n^-a w."""

    powers: Any  # a, b, c `[3, 3]`
    width: int
    phi: Any

    @classmethod
    def of(cls, made: Parametrization, width: int, phi: Any) -> Mlp:
        """With the learning rates of gradient descent."""
        return cls(np.array([made.a, made.b, made.rates(sgd)], float), width, phi)

    def start(self, key: Any, inputs: int, outputs: int) -> list[Any]:
        """w ~ N(0, n^-2b)."""
        shapes, scales = [(inputs, self.width), (self.width, self.width), (self.width, outputs)], self.scales(1)
        keys = jax.random.split(key, 3)
        return [scale * jax.random.normal(k, shape) for k, shape, scale in zip(keys, shapes, scales, strict=True)]

    def scales(self, row: int) -> Any:
        """n^-a, n^-b or n^-c of the three layers."""
        return (1.0 * self.width) ** -self.powers[row]

    def layers(self, weights: list[Any], x: Any) -> tuple[Any, Any]:
        """The features after the last hidden layer, and the outputs."""
        first, second, readout = (w * scale for w, scale in zip(weights, self.scales(0), strict=True))
        features = self.phi(self.phi(x @ first) @ second)
        return features, features @ readout

    def step(self, weights: list[Any], x: Any, y: Any, rate: Any) -> list[Any]:
        """Gradient descent with learning rates n^-c."""
        gradients = jax.grad(lambda w: squared(self.layers(w, x)[1], y))(weights)
        return [w - rate * scale * g for w, scale, g in zip(weights, self.scales(2), gradients, strict=True)]


def classification(run: Run, size: Size) -> Iterator[Outcome]:
    """Exponents of what features and outputs change by, in random parametrizations, against r."""
    rng = np.random.default_rng(run.seed)
    x, y = unit(rng.normal(size=(ABC_BATCH, 8))), rng.normal(size=(ABC_BATCH, 4))
    chosen = random_parametrizations(rng, size.parametrizations)
    measured = np.array([exponents(run.seed, made, size, x, y) for made, _ in progress(chosen, "parametrizations")])
    theory = np.array([predicted(made, found) for made, found in chosen])
    figure, axes = panels(2, width=4.4, height=3.8)
    regimes = np.array([found.regime for _, found in chosen])
    for ax, column, what in zip(axes, (0, 1), ("features", "outputs"), strict=True):
        low, high = theory[:, column].min() - 0.1, theory[:, column].max() + 0.1
        ax.plot([low, high], [low, high], "k--", lw=1.0, label="theory")
        for regime, colour, marker in zip(REGIMES, COLOURS, "osD", strict=False):
            here = theory[regimes == regime, column], measured[regimes == regime, column]
            ax.plot(*here, marker, color=colour, mfc="none" if regime == "kernel" else colour, label=regime)
        ax.set(
            xlabel="predicted exponent of width",
            ylabel="measured exponent",
            title=f"change of {what} in {ABC_STEPS} steps",
        )
        ax.legend()
    save(figure, run, "classification")
    gaps = np.abs(measured - theory).max(0)
    note = ", ".join(f"{np.sum(regimes == regime)} {regime}" for regime in REGIMES)
    yield FEATURES.check(gaps[0], note=note)
    yield OUTPUTS.check(gaps[1], note=note)


def random_parametrizations(rng: Any, count: int) -> list[tuple[Parametrization, Classification]]:
    """Stable ones; every other one moves its function, and half of these learn features."""
    found: list[tuple[Parametrization, Classification]] = []
    while len(found) < count:
        a, c, readout = (
            rng.integers(-500, 501, 3) / 1000,
            rng.integers(-1000, 1001) / 1000,
            rng.integers(500, 1251) / 1000,
        )
        hidden = min(2 * a[0] + 1, 2 * a[1])
        match len(found) % 8:
            case 1:
                a[2] = (1 - c) / 2  # the readout is updated maximally
            case 3:
                readout = (2 - c - hidden) / 2  # the readout is initialized maximally
            case 5 | 7:
                c, a[2], readout = -hidden, (1 + hidden) / 2, 1 + readout / 2  # r = 0
        made = abc(a, np.array([0.0, 0.5, readout]) - a, np.full(3, c))
        verdict = check(made, sgd)
        if verdict.stable and (verdict.nontrivial or len(found) % 2 == 0):
            found.append((made, verdict))
    return found


def predicted(made: Parametrization, found: Classification) -> tuple[float, float]:
    """Exponents of the changes of features, n^-r, and of outputs."""
    a, b, c = (float(exponents.output) for exponents in (made.a, made.b, made.c))
    r = float(found.r)
    return -r, -min(a + b + r - 1, 2 * a + c - 1)


def exponents(seed: int, made: Parametrization, size: Size, x: Any, y: Any) -> tuple[float, float]:
    """Measured exponents of the changes of features and outputs."""
    with float64():
        keys = jax.random.split(jax.random.key(seed), size.seeds)
        nets = [Mlp.of(made, width, jnp.tanh) for width in size.abc_widths]
        means = [np.mean([changes(net.powers, net.width, key, x, y) for key in keys], axis=0) for net in nets]
    slopes = np.polyfit(np.log(size.abc_widths), np.array(means), 1)[0]
    return float(slopes[0]), float(slopes[1])


@partial(jax.jit, static_argnames="width")
def changes(powers: Any, width: int, key: Any, x: Any, y: Any) -> Any:
    """Logarithms of how much features and outputs of a tanh network change in training."""
    net = Mlp(powers, width, jnp.tanh)
    weights = begin = net.start(key, x.shape[1], y.shape[1])
    for _ in range(ABC_STEPS):
        weights = net.step(weights, x, y, ABC_RATE)
    ends = zip(net.layers(weights, x), net.layers(begin, x), strict=True)
    return jnp.stack([jnp.log(jnp.mean((after - before) ** 2)) / 2 for after, before in ends])


def stable_rates(run: Run, size: Size) -> Iterator[Outcome]:
    """The largest stable learning rate by width, in the standard parametrization and in muP."""
    data = mnist_or_digits(run.seed).drawn(STABLE_BATCH, seed=run.seed)
    x = jnp.asarray(unit(data.x_train.reshape(STABLE_BATCH, -1)), jnp.float32)
    y = jnp.eye(10)[data.y_train]
    figure, axes = panels(1, width=5.2, height=3.8)
    for colour, (label, made, claim) in zip(COLOURS, (("SP", sp, SP_RATE), ("muP", mup, MUP_RATE)), strict=False):
        nets = [Mlp.of(made, width, jax.nn.relu) for width in size.rate_widths]
        keys = jax.random.split(jax.random.key(run.seed), size.seeds)
        found = [[largest_rate(net, key, x, y) for key in keys] for net in progress(nets, f"{label}, widths")]
        octaves, log_widths = np.log2(found), np.log2(size.rate_widths)
        fit = np.polyfit(log_widths, octaves.mean(1), 1)
        for widths, rates in zip(size.rate_widths, found, strict=True):
            axes[0].plot([widths] * len(rates), rates, "o", color=colour, ms=4)[0].set_label(None)
        fitted = 2.0 ** np.polyval(fit, log_widths)
        axes[0].plot(size.rate_widths, fitted, "--", color=colour, label=f"{label}: exponent {fit[0]:.2f}")
        yield claim.check(fit[0], data.name, f"{size.seeds} networks a width")
    axes[0].set(xscale="log", yscale="log", xlabel="width", ylabel="largest stable learning rate")
    mark(axes[0], size.rate_widths)
    axes[0].set_title(f"two hidden relu layers, {data.name}; a point a network")
    axes[0].legend()
    save(figure, run, "stable_rate")


def unit(x: Any) -> Any:
    """The inputs with norm one."""
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def largest_rate(net: Mlp, key: Any, x: Any, y: Any) -> float:
    """Bisection, in octaves, of the rate above which the loss exceeds that of the start."""
    low, high = OCTAVES
    while high - low > PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if is_stable(net.powers, net.width, key, x, y, 2.0**middle) else (low, middle)
    return 2.0**low


@partial(jax.jit, static_argnames="width")
def is_stable(powers: Any, width: int, key: Any, x: Any, y: Any, rate: Any) -> Any:
    """Does the loss of a relu network never exceed that of the start?"""
    net = Mlp(powers, width, jax.nn.relu)
    begin = net.start(key, x.shape[1], y.shape[1])

    def step(weights: list[Any], _: Any) -> tuple[list[Any], Any]:
        weights = net.step(weights, x, y, rate)
        return weights, squared(net.layers(weights, x)[1], y)

    losses = jax.lax.scan(step, begin, length=STABLE_STEPS)[1]
    return jnp.all(losses < squared(net.layers(begin, x)[1], y))


if __name__ == "__main__":
    sys.exit(run(main, __file__))
