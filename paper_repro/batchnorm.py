"""Batch normalization without gradient explosion (Meterez, Joudaki, Orabona, Immer, Raetsch, Daneshmand; ICLR 2024).

Paper: meterez2024
Figure: gradients by depth with orthogonal and Gaussian weights, with and without the mean (1); decay of the isometry
    gap and its bound (2); activation shaping (3); training of deep networks; before all, the explosion that it cures
Claim: with orthogonal weights and linear layers, batch normalization makes a batch orthogonal exponentially fast and
    keeps gradients bounded at any depth; gains l^-0.4 do the same for tanh and sin, and such networks train
Expected: with Gaussian weights squared gradients grow by (B - 2)/(B - 3) a layer if linear, pi/(pi - 1) for relu and
    large batches; with orthogonal ones log |dW_1| is flat, and the gap below gap_0 exp(-l/k), k = C d^2 (1 + d gap_0)
Minutes: 6 (full, 2 cores), 0.7 (--quick, 2 cores)
Command: python paper_repro/batchnorm.py [--quick] [--out DIR] [--seed N]

Layers are x' = phi(alpha_l BN(x W_l)), batch and width are equal; |dW_1| is that of a random direction at the output.
As the authors do: C = 0.015, and data (1 - f) I + f u v^T with f = 0.005, in the figure of the bound.
Not as in the paper: CIFAR-10 is brought to the width of the network by a fixed orthogonal matrix; training is 15 epochs
of plain gradient descent on 1300 digits at width 64 (1000 epochs on CIFAR-10 at width 100 there).
What is expected: the rates are formulas (B8), up to 3 % at these widths; slopes of log |dW| below 0.002 and above 0.005
a layer, and 0.0876 and 0.134 for tanh and sin without gains, were measured by a second implementation, in numpy, at
d = 64; that an exponent above 1/4 is enough is (S6), derived here.  With gains the slope is to be below 0.005: the
output itself shrinks as l^-0.4, which is -0.0037 a layer between 50 and 200 layers.
Data: CIFAR-10, if the folder WIDENET_DATA has it, else scikit-learn's digits; training on these digits.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import widenet as wn
from widenet.datasets import cifar10, digits
from widenet.diagnostics import batch_norm_layers
from widenet.precision import float64
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save

HAAR, GAUSS = wn.initializers.orthogonal(), wn.initializers.normal(1.0)
LAWS = {"orthogonal": HAAR, "Gaussian": GAUSS}
RATES = {
    wn.identity: (5, 8, 16, 64),
    wn.relu: (8, 32, 128, 512),
    wn.tanh: (8, 32, 256),
}
TRAINED_KINDS = {
    "orthogonal, gains": (HAAR, 0.4),
    "orthogonal": (HAAR, 0.0),
    "Gaussian, gains": (GAUSS, 0.4),
    "Gaussian": (GAUSS, 0.0),
}
RATE_DEPTH = 16
WIDTH, FROM, TO = 64, 50, 200  # of the slopes
NEAR = 0.005  # how far the batch of the figure of the bound is from an isometry
EXPONENTS = (0.1, 0.2, 0.25, 0.4)
RATE_OF_LEARNING, BATCH, TRAINED = 0.01, 100, 1300
DIGITS = "scikit-learn's digits"


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    rate_width: int
    batches: tuple[int, int]  # from, to
    seeds: int
    depths: tuple[int, ...]
    gap_widths: tuple[int, ...]
    gap_seeds: int
    train_depths: tuple[int, ...]
    train_seeds: int
    epochs: int
    trained: tuple[str, ...]


FULL = Size(1000, (5, 512), 3, (5, 20, 50, 200, 1000), (50, 100), 10, (10, 50, 200), 3, 15, tuple(TRAINED_KINDS))
QUICK = Size(400, (16, 128), 2, (50, 200), (50,), 4, (10, 200), 1, 15, ("orthogonal, gains", "Gaussian"))

LINEAR_RATE = Claim("the explosion", "measured rate over (B - 2)/(B - 3), linear, furthest from 1", about(1.0, 0.03))
RELU_RATE = Claim("the explosion", "measured rate over that of infinite width, relu, furthest from 1", about(1.0, 0.03))
TANH_RATE = Claim("the explosion", "measured rate over that of infinite width, tanh, furthest from 1", about(1.0, 0.03))
LARGE = Claim("the explosion", "rate of relu for a batch of 512", about(math.pi / (math.pi - 1), 0.015))
ORTHOGONAL = Claim("fig. 1", "slope of log |dW_1| between 50 and 200 layers, orthogonal", about(0.0, 2e-3))
WITH_MEAN = Claim("fig. 1", "the same with the mean taken out", about(0.0, 2e-3))
GAUSSIAN = Claim("fig. 1", "the same with Gaussian weights, without the mean", at_least(5e-3))
BOUNDED = Claim("fig. 1", "log |dW_1| of the deepest minus that at 50 layers, orthogonal, real data", at_most(1.0))
BOUND = Claim("fig. 2", "largest mean gap over its bound", at_most(1.0))
DECAY = Claim("fig. 2", "gap after the last layer over that of the data", at_most(0.5))
REAL_DECAY = Claim("fig. 2", "the same for real data, with the mean taken out", at_most(0.5))
TANH_SLOPE = Claim("fig. 3", "slope of log |dW_1| between 50 and 200 layers, tanh", about(0.0876, 0.009))
SIN_SLOPE = Claim("fig. 3", "slope of log |dW_1| between 50 and 200 layers, sin", about(0.134, 0.013))
TANH_GAIN = Claim("fig. 3", "the same for tanh with gains l^-0.4", about(0.0, 5e-3))
SIN_GAIN = Claim("fig. 3", "the same for sin with gains l^-0.4", about(0.0, 5e-3))
SMALL_EXPONENT = Claim(
    "fig. 3", "log of the product of rates of tanh, layers 500 to 1000, gains l^-0.1", at_least(10.0)
)
LARGE_EXPONENT = Claim("fig. 3", "the same with gains l^-0.4", at_most(0.1))
LEARNED = Claim("training", "accuracy of the deepest, gains and orthogonal, in %", at_least(70.0))
TRAINS = Claim(
    "training", "accuracy of the deepest minus that of the shallowest, gains and orthogonal, points", at_least(-10.0)
)
FAILS = Claim("training", "accuracy of the deepest without gains, Gaussian, in %", at_most(30.0))


def main(run: Run) -> Iterator[Outcome]:
    """The explosion, gradients by depth, the gap, gains, and training."""
    size = QUICK if run.quick else FULL
    yield from explosion(run, size)
    with float64():  # gradients of 1000 layers of sin are beyond float32
        yield from by_depth(run, size)
        yield from gaps(run, size)
        yield from shaped(run, size)
    yield from training(run, size)


def stack(key: Any, law: Any, depth: int, width: int) -> Any:
    """Square weights `[depth, width, width]`."""
    return jax.vmap(lambda key: law(key, (width, width)))(jax.random.split(key, depth))


def keys(run: Run, figure: int, count: int) -> Any:
    """Keys of one figure."""
    return jax.random.split(jax.random.fold_in(jax.random.key(run.seed), figure), count)


def explosion(run: Run, size: Size) -> Iterator[Outcome]:
    """Rates of Gaussian networks by batch size, beside those of infinite width."""
    figure, axes = panels(1, width=5.5, height=3.8)
    at = [4, 5, 6, 7, 8, 10, 12, 16, 23, 32, 64, 128, 256, 700]
    claims = {wn.identity: LINEAR_RATE, wn.relu: RELU_RATE, wn.tanh: TANH_RATE}
    found = {}
    shown = {phi: [b for b in batches if size.batches[0] <= b <= size.batches[1]] for phi, batches in RATES.items()}
    for colour, (phi, batches) in zip(COLOURS, progress(list(shown.items()), "rates"), strict=False):
        name = "linear" if phi is wn.identity else phi.name
        axes[0].semilogx(
            at, [wn.batch_norm_rate(phi, b) for b in at], "-", color=colour, label=f"{name}, infinite width"
        )
        found[phi] = np.array([rates(run, size, phi, batch) for batch in batches])
        bars = found[phi].std(1, ddof=1) / math.sqrt(size.seeds)
        style = {"color": colour, "capsize": 3, "label": f"{name}, width {size.rate_width}"}
        axes[0].errorbar(batches, found[phi].mean(1), bars, fmt="o", **style)
    axes[0].axhline(math.pi / (math.pi - 1), color="k", ls="--", label=r"$\pi/(\pi - 1)$")
    axes[0].set(xlabel="batch size", ylabel="squared gradient, factor per layer", ylim=(0.95, 2.6))
    axes[0].legend()
    save(figure, run, "explosion")
    for phi, claim in claims.items():
        ratios = found[phi].mean(1) / [wn.batch_norm_rate(phi, batch) for batch in shown[phi]]
        told = ", ".join(f"{m:.4g} at {b}" for m, b in zip(found[phi].mean(1), shown[phi], strict=True))
        yield claim.check(ratios[np.argmax(abs(ratios - 1))], note=told)
    yield LARGE.skip("needs the full run") if run.quick else LARGE.check(found[wn.relu].mean(1)[-1])


def rates(run: Run, size: Size, phi: Any, batch: int) -> list[float]:
    """Measured rates of some networks; layers next to the data and the output are left out."""
    found = []
    for key in keys(run, batch, size.seeds):
        weights, x = stack(key, GAUSS, RATE_DEPTH, size.rate_width), jax.random.normal(key, (batch, size.rate_width))
        gradient = wn.batch_norm_report(weights, x, phi, key=key).gradient[3:-2]
        found.append(float((gradient[0] / gradient[-1]) ** (2 / (len(gradient) - 1))))
    return found


class Images(NamedTuple):
    """A batch of as many images as features."""

    x: np.ndarray
    name: str


def images(run: Run) -> Images:
    """100 images of CIFAR-10 in 100 orthogonal directions, or 48 digits in 48: 64 of them are dependent."""
    try:
        flat, name, d = cifar10().x_train, "CIFAR-10", 100
    except FileNotFoundError:
        flat, name, d = digits()[0], "scikit-learn's digits", 48
    flat = flat.reshape(len(flat), -1)
    part = flat[np.random.default_rng(run.seed).permutation(len(flat))[:d]]
    part = (part - part.mean()) / part.std()
    return Images(part @ np.asarray(HAAR(jax.random.key(run.seed), (flat.shape[1], d))), f"{d} images of {name}")


def first_gradients(run: Run, size: Size, x: np.ndarray, law: Any, **how: Any) -> np.ndarray:
    """log |dW_1| `[seeds, depths]`."""
    phi, exponent = how.pop("phi", wn.identity), how.pop("exponent", 0.0)
    gains, found = wn.depth_gain(np.arange(1, size.depths[-1] + 1), exponent), []
    for key in keys(run, 1, size.seeds):
        weights = deepest(key, law, size.depths[-1], x.shape[1])
        reports = (wn.batch_norm_report(weights[:depth], x, phi, gains=gains[:depth], **how) for depth in size.depths)
        found.append([report.gradient[0] for report in reports])
    return np.log(found)


KEPT: dict[tuple[str, int, int], Any] = {}  # weights that several networks share


def deepest(key: Any, law: Any, depth: int, width: int) -> Any:
    """`stack`, drawn once."""
    name = f"{jax.random.key_data(key)} {law}"
    if (name, depth, width) not in KEPT:
        KEPT[name, depth, width] = stack(key, law, depth, width)
    return KEPT[name, depth, width]


def slope(size: Size, logs: np.ndarray) -> tuple[float, str]:
    """Slope between two depths, and its standard error as a note."""
    a, b = (size.depths.index(depth) for depth in (FROM, TO))
    slopes = (logs[:, b] - logs[:, a]) / (TO - FROM)
    return float(slopes.mean()), f"+- {slopes.std(ddof=1) / math.sqrt(len(slopes)):.1g}, {len(slopes)} networks"


def draw_depths(ax: Any, size: Size, logs: np.ndarray, style: str, **how: Any) -> None:
    """Mean and standard deviation over networks, by depth."""
    ax.errorbar(size.depths, logs.mean(0), logs.std(0, ddof=1), fmt=style, capsize=3, ms=4, **how)


def by_depth(run: Run, size: Size) -> Iterator[Outcome]:
    """log |dW_1| of linear networks by depth: laws of weights, with and without the mean, normal and real data."""
    figure, axes = panels(2, width=4.8, height=3.8, sharey=True)
    normal = np.asarray(jax.random.normal(jax.random.key(run.seed), (WIDTH, WIDTH)))
    real = images(run)
    found: dict[tuple[bool, str, bool], np.ndarray] = {}
    for ax, x, name in ((axes[0], normal, f"{WIDTH} normal samples"), (axes[1], *real)):
        for colour, (law_name, law) in zip(COLOURS, LAWS.items(), strict=False):
            for centre, style in ((False, "o-"), (True, "s--")):
                logs = first_gradients(run, size, x, law, centre=centre)
                found[x is normal, law_name, centre] = logs
                label = f"{law_name}, {'with' if centre else 'without'} mean"
                draw_depths(ax, size, logs, style, color=colour, label=label)
        ax.set(xscale="log", xlabel="depth", title=name)
    axes[0].set_ylabel(r"$\log|\partial y / \partial W_1|$")
    axes[0].legend(title="linear; normalization")
    save(figure, run, "fig1_gradients")
    for claim, law, centre in (
        (ORTHOGONAL, "orthogonal", False),
        (WITH_MEAN, "orthogonal", True),
        (GAUSSIAN, "Gaussian", False),
    ):
        value, note = slope(size, found[True, law, centre])
        yield claim.check(value, f"{WIDTH} normal samples", note)
    logs = found[False, "orthogonal", False].mean(0)
    told = ", ".join(f"{log:.3g} at {depth}" for log, depth in zip(logs, size.depths, strict=True))
    yield BOUNDED.check(logs[-1] - logs[size.depths.index(FROM)], real.name, told)


def gaps(run: Run, size: Size) -> Iterator[Outcome]:
    """The isometry gap by layer, with the bound for batches near an isometry, and for real data."""
    figure, axes = panels(2, width=4.8, height=3.8)
    depth, worst, left = 100, 0.0, []
    for colour, d in zip(COLOURS, size.gap_widths, strict=False):
        u, v = np.random.default_rng(run.seed).uniform(size=(2, d))
        x = (1 - NEAR) * np.eye(d) + NEAR * np.outer(u, v)
        made = [
            wn.batch_norm_report(stack(key, HAAR, depth, d), x, centre=False).gap
            for key in keys(run, 2, size.gap_seeds)
        ]
        mean, bound = np.mean(made, 0), wn.gap_bound(made[0][0], d, depth)
        axes[0].semilogy(mean, color=colour, label=f"width {d}")
        axes[0].semilogy(bound, "--", color=colour, label=f"width {d}, bound")
        worst, left = max(worst, float(np.max(mean[1:] / bound[1:]))), [*left, mean[-1] / mean[0]]
    axes[0].set(xlabel="layer", ylabel="isometry gap", title="orthogonal, near an isometry")
    axes[0].legend()
    x, name = images(run)
    ends = {}
    for colour, (law_name, law) in zip(COLOURS, LAWS.items(), strict=False):
        made = [wn.batch_norm_report(stack(key, law, TO, x.shape[1]), x).gap for key in keys(run, 3, size.seeds)]
        mean = np.mean(made, 0)
        ends[law_name] = mean[-1] / mean[0]
        axes[1].semilogy(np.where(np.isfinite(mean), mean, np.nan), color=colour, label=law_name)
    axes[1].set(xlabel="layer", title=f"{name}, mean taken out")
    axes[1].legend()
    save(figure, run, "fig2_gap")
    yield BOUND.check(worst, note=f"{size.gap_seeds} networks, {depth} layers")
    yield DECAY.check(max(left), note="widths " + ", ".join(map(str, size.gap_widths)))
    yield REAL_DECAY.check(ends["orthogonal"], name, f"{TO} layers; x {ends['Gaussian']:.3g} with Gaussian weights")


def shaped(run: Run, size: Size) -> Iterator[Outcome]:
    """log |dW_1| of tanh and sin with and without gains, and how large the exponent must be."""
    figure, axes = panels(2, width=4.8, height=3.8)
    x = np.asarray(jax.random.normal(jax.random.key(run.seed), (WIDTH, WIDTH)))
    claims = {wn.tanh: (TANH_SLOPE, TANH_GAIN), wn.sin: (SIN_SLOPE, SIN_GAIN)}
    outcomes = []
    for colour, (phi, pair) in zip(COLOURS, claims.items(), strict=False):
        for claim, exponent, style in zip(pair, (0.0, 0.4), ("s--", "o-"), strict=True):
            logs = first_gradients(run, size, x, HAAR, phi=phi, exponent=exponent)
            outcomes.append(claim.check(*slope(size, logs)[:1], f"{WIDTH} normal samples", slope(size, logs)[1]))
            label = f"{phi.name}, {'gains $l^{-0.4}$' if exponent else 'no gains'}"
            draw_depths(axes[0], size, logs, style, color=colour, label=label)
    depths = np.arange(1, 1001)
    for colour, exponent in zip(COLOURS, EXPONENTS, strict=False):
        gains = wn.depth_gain(depths, exponent)
        shown = np.unique(np.geomspace(1, 1000, 40).round().astype(int))
        at = np.log([wn.batch_norm_rate(wn.dyt(gains[i - 1]), math.inf) for i in shown])
        total = np.cumsum(np.interp(depths, shown, at))
        axes[1].loglog(depths, total, color=colour, label=f"$l^{{-{exponent}}}$")
        if exponent in (EXPONENTS[0], EXPONENTS[-1]):
            claim = SMALL_EXPONENT if exponent == EXPONENTS[0] else LARGE_EXPONENT
            outcomes.append(claim.check(total[-1] - total[499], note=f"total {total[-1]:.3g}"))
    axes[0].set(
        xscale="log",
        yscale="symlog",
        ylim=(-0.3, 300),
        xlabel="depth",
        ylabel=r"$\log|\partial y / \partial W_1|$",
        title="orthogonal weights",
    )
    axes[0].legend()
    axes[1].set(xlabel="depth", ylabel="log of the product of rates", title="tanh, infinite width and batch")
    axes[1].legend(title="gains")
    save(figure, run, "fig3_gains")
    yield from outcomes


@partial(jax.jit, static_argnames="phi")
def descend(params: Any, x: Any, y: Any, batches: Any, gains: Any, phi: Any) -> Any:
    """Stochastic gradient descent on cross entropy: loss and accuracy of each step, on its batch."""

    def loss(p: Any, batch: Any) -> tuple[Any, Any]:
        logits = batch_norm_layers(p["w"], x[batch] @ p["first"], phi, gains=gains)[-1] @ p["last"]
        found = jnp.take_along_axis(jax.nn.log_softmax(logits), y[batch][:, None], 1)
        return -jnp.mean(found), jnp.mean(logits.argmax(1) == y[batch])

    def step(p: Any, batch: Any) -> tuple[Any, Any]:
        (value, right), grads = jax.value_and_grad(loss, has_aux=True)(p, batch)
        return jax.tree.map(lambda w, g: w - RATE_OF_LEARNING * g, p, grads), (value, right)

    return jax.lax.scan(step, params, batches)[1]


def training(run: Run, size: Size) -> Iterator[Outcome]:
    """Accuracy on training batches, by depth: orthogonal with gains, and Gaussian without."""
    x, y = digits()
    part = np.random.default_rng(run.seed).permutation(len(x))[:TRAINED]
    x, y = x.reshape(len(x), -1)[part], jnp.asarray(y[part])
    x = jnp.asarray((x - x.mean()) / x.std(), jnp.float32)
    figure, axes = panels(2, width=4.8, height=3.8)
    last = {}
    for colour, name in zip(COLOURS, progress(size.trained, "training"), strict=False):
        law, exponent = TRAINED_KINDS[name]
        curves = [
            [accuracies(run, size, x, y, depth, law, exponent, seed) for depth in size.train_depths]
            for seed in range(size.train_seeds)
        ]
        found = 100 * np.array(curves)  # [seeds, depths, epochs]
        last[name] = found[:, :, -1]
        bars = last[name].std(0, ddof=1) if size.train_seeds > 1 else None
        axes[0].errorbar(size.train_depths, last[name].mean(0), bars, fmt="o-", capsize=3, color=colour, label=name)
        axes[1].plot(np.arange(1, size.epochs + 1), found[:, -1].mean(0), color=colour, label=name)
    axes[0].set(
        xscale="log",
        xlabel="depth",
        ylabel="accuracy on training batches (%)",
        ylim=(0, 103),
        title=f"after {size.epochs} epochs",
    )
    axes[0].set_xticks(size.train_depths, [str(depth) for depth in size.train_depths])
    axes[0].minorticks_off()
    axes[1].set(xlabel="epochs", ylim=(0, 103), title=f"tanh, {size.train_depths[-1]} layers")
    axes[0].legend(loc="lower left")
    save(figure, run, "training")
    deep = last["orthogonal, gains"].mean(0)
    told = ", ".join(f"{points:.1f} % at {depth}" for points, depth in zip(deep, size.train_depths, strict=True))
    yield LEARNED.check(deep[-1], DIGITS)
    yield TRAINS.check(deep[-1] - deep[0], DIGITS, told)
    others = ", ".join(f"{name} {values[:, -1].mean():.1f} %" for name, values in last.items())
    yield FAILS.check(last["Gaussian"][:, -1].mean(), DIGITS, f"{others}, depth {size.train_depths[-1]}")


def accuracies(run: Run, size: Size, x: Any, y: Any, depth: int, law: Any, exponent: float, seed: int) -> np.ndarray:
    """Accuracy by epoch of one network."""
    first, middle, last = keys(run, 4 + seed, 3)
    params = {
        "first": HAAR(first, (x.shape[1], WIDTH)),
        "w": stack(middle, law, depth, WIDTH),
        "last": GAUSS(last, (WIDTH, 10)),
    }
    rng, steps = np.random.default_rng([run.seed, seed]), len(x) // BATCH
    batches = np.concatenate(
        [rng.permutation(len(x))[: steps * BATCH].reshape(steps, BATCH) for _ in range(size.epochs)]
    )
    gains = jnp.asarray(wn.depth_gain(np.arange(1, depth + 1), exponent), jnp.float32)
    right = descend(params, x, y, jnp.asarray(batches), gains, wn.tanh)[1]
    return np.asarray(right).reshape(size.epochs, steps).mean(1)


if __name__ == "__main__":
    sys.exit(run(main, __file__))
