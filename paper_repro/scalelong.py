"""ScaleLong: stable diffusion models by scaling long skip connections (Huang, Zhou, Yan, Lin; NeurIPS 2023).

Paper: huang2023
Figure: size of outputs, features and sensitivity with scaled long skips, by depth; training of a denoiser
Claim: features, gradients and sensitivity of a U-Net range as sum kappa_i^2 of its long skips, so that 1 for all of
    them grows with depth, while kappa^(i - 1) (CS) is bounded; scaled U-Nets train more stably and faster
Expected: output variance 1 + sum kappa_i^2 in a linear U-Net: 1 + n unscaled, below 1 + 1/(1 - kappa^2) with CS
Minutes: 3 (full, 2 cores), 0.5 (--quick, 2 cores)
Command: python paper_repro/scalelong.py [--quick] [--out DIR] [--seed N]

A U-Net of n skips: n layers down, one in the middle, n up, each of which is given h + kappa_i skip_i; skip 1 is the
outermost.  Learned gates (LS) are sigmoid(B relu(A skip)), one pair A, B for all skips as in the paper, B = 0 first.
The paper's theorems bound features and gradients by constants times sum kappa_i^2; in a linear U-Net of orthogonal
blocks, the first part here, this is exact up to 1/sqrt(width).  With relu, features are positive and add up coherently,
so that sums are larger than in the linear theory.
Not as in the paper: its models are U-ViT on CIFAR-10 and larger; here a relu U-Net with 12 skips between layers of
width 96 predicts the noise in 8 x 8 digits (Adam, 400 steps of 128 images, 3 seeds), and a convolutional one with 9
skips is measured at initialization.  Faster training, about 1.5 times, is not checked in such short runs.
What does not hold: at the largest learning rate CS was expected to be 10 % better than no scales, and is 7 %.
Tolerances: 10 % in the linear network; ratios of depths 32 and 8 are to tell linear growth (3.7) from none (1); of
training only the order is expected, as the paper's curves are of other models.
Data: scikit-learn's digits.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import widenet as wn
from widenet.datasets import digits
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save

HAAR, HE, LINEAR = wn.initializers.orthogonal(), wn.initializers.normal(wn.relu), wn.initializers.normal(1.0)
KAPPA = 0.7
DEPTHS = (2, 8, 32)
WIDTH, SAMPLES, CHANNELS = 96, 16, 16
SKIPS, STEPS, BATCH, LAST = 12, 400, 128, 50
LEARNED = "LS, learned gates"
NAMES = {
    "unscaled": ("none", None),
    r"$1/\sqrt{2}$": ("constant", None),
    f"CS, {KAPPA}": ("cs", KAPPA),
    "1/2": ("ls", None),
}
UNSCALED, CONSTANT, CS, HALF = NAMES


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    networks: int
    rates: tuple[float, ...]
    seeds: int


FULL = Size(8, (1e-3, 3e-3, 1e-2), 3)
QUICK = Size(4, (3e-3,), 1)

EXACT = Claim(
    "linear", "output variance over 1 + sum kappa^2, furthest from 1 of all depths and scales", about(1.0, 0.1)
)
SENSITIVE = Claim("linear", "input sensitivity over 1 + sum kappa^2, furthest from 1", about(1.0, 0.1))
FEATURES = Claim(
    "linear", "size of decoder features over 1 + sum over deeper skips of kappa^2, furthest from 1", about(1.0, 0.1)
)
GROWS = Claim("linear", "output variance unscaled, slope over the number of skips", about(1.0, 0.1))
BOUNDED = Claim("linear", "output variance with CS at any depth over 1 + 1/(1 - kappa^2), largest", at_most(1.1))
RELU_GROWS = Claim("relu", "output variance with 32 skips over that with 8, unscaled", at_least(2.5))
RELU_BOUNDED = Claim("relu", "the same with CS", at_most(1.5))
CONV = Claim("convolutions", "input sensitivity by 9 skips, CS over unscaled", at_most(0.5))
FIRST = Claim("training", "loss before training, unscaled over CS", at_least(2.0))
BETTER = Claim("training", "loss of the last 50 steps, CS over unscaled, worst of the rates", at_most(1.0))
LEARNS = Claim("training", "the same with learned gates, best rate of each", at_most(1.0))
LARGE_RATE = Claim("training", "the same with CS at the largest rate", at_most(0.9))


def scales(n: int) -> dict[str, np.ndarray]:
    """All schemes for n skips."""
    return {name: wn.skip_scales(n, *how) for name, how in NAMES.items()}


def main(run: Run) -> Iterator[Outcome]:
    """The linear U-Net, relu and convolutional ones at initialization, and training."""
    size = QUICK if run.quick else FULL
    yield from linear(run, size)
    yield from initial(run, size)
    yield from training(run, size)


def draw(key: Any, n: int, law: Any) -> dict[str, Any]:
    """Square weights of a U-Net of n skips, at most 32, those of a deeper one among them."""
    middle, down, up = squares(jax.random.split(key, 2 * DEPTHS[-1] + 1), law)
    return {"down": down[:n], "middle": middle, "up": up[:n]}


@partial(jax.jit, static_argnames="law")
def squares(keys: Any, law: Any) -> tuple[Any, Any, Any]:
    """A square matrix a key: the first, those of even and those of odd place after it."""
    made = jax.vmap(lambda key: law(key, (WIDTH, WIDTH), jnp.float32))(keys)
    return made[0], made[1::2], made[2::2]


def decoder(phi: Any, p: dict[str, Any], x: Any, kappas: Any) -> tuple[Any, Any]:
    """The output of a U-Net, and what its up layers make `[n, samples, width]`, the outermost first."""

    def down(h: Any, w: Any) -> tuple[Any, Any]:
        h = phi(h @ w)
        return h, h

    def up(h: Any, layer: Any) -> tuple[Any, Any]:
        w, scale, skip = layer
        h = phi((h + scale * skip) @ w)
        return h, h

    h, skips = jax.lax.scan(down, x, p["down"])
    kappas = p["gates"](skips) if "gates" in p else kappas
    return jax.lax.scan(up, phi(h @ p["middle"]), (p["up"], kappas, skips), reverse=True)


def linear_unet(p: Any, x: Any, kappas: Any) -> Any:
    """Without activations."""
    return decoder(lambda h: h, p, x, kappas)[0]


def relu_unet(p: Any, x: Any, kappas: Any) -> Any:
    """With relu."""
    return decoder(jax.nn.relu, p, x, kappas)[0]


def reports(run: Run, size: Size, unet: Any, law: Any, n: int) -> np.ndarray:
    """Output variance, over that of the input, and input sensitivity, mean over networks; one a scheme."""
    found = []
    for key in jax.random.split(jax.random.fold_in(jax.random.key(run.seed), n), size.networks):
        x = jax.random.normal(key, (SAMPLES, WIDTH), jnp.float32)
        report = wn.unet_signal_report(unet, draw(key, n, law), x, scales(n), key=key)
        found.append([report.variance[:, -1] / float(jnp.mean(x**2)), report.sensitivity[:, -1]])
    return np.mean(found, 0)


def linear(run: Run, size: Size) -> Iterator[Outcome]:
    """Orthogonal linear U-Nets by depth, and the features of the deepest, layer by layer."""
    made = np.array([reports(run, size, linear_unet, HAAR, n) for n in progress(DEPTHS, "linear U-Nets")])
    expected = np.array([[1 + np.sum(kappas**2) for kappas in scales(n).values()] for n in DEPTHS])
    figure, axes = panels(3, width=4.2, height=3.6)
    for i, (colour, name) in enumerate(zip(COLOURS, NAMES, strict=False)):
        for ax, values in zip(axes[:2], np.moveaxis(made, 1, 0), strict=True):
            ax.loglog(DEPTHS, values[:, i], "o", color=colour, label=name)
            ax.loglog(*theory(i), "--", color=colour)
    n = DEPTHS[-1]
    worst, levels = [], np.arange(1, n + 1)
    for colour, (name, kappas) in zip(COLOURS, scales(n).items(), strict=False):
        said = 1 + np.cumsum(kappas[::-1] ** 2)[::-1]
        sizes = features(run, size, n, kappas)
        worst.append(furthest(sizes / said))
        axes[2].semilogy(levels, sizes, ".", color=colour, label=name)
        axes[2].semilogy(levels, said, "--", color=colour)
    for ax, title in zip(
        axes,
        ("output variance / input variance", "input sensitivity", f"features of the decoder, {n} skips"),
        strict=True,
    ):
        ax.plot([], [], "k--", label=r"$1 + \sum \kappa_i^2$")
        ax.set(title=title)
    mark_depths(axes[0])
    mark_depths(axes[1])
    axes[2].set(xlabel="layer of the decoder (1: the last)", ylabel="mean square")
    axes[0].legend()
    save(figure, run, "linear")
    yield EXACT.check(furthest(made[:, 0] / expected), note=f"{size.networks} networks a depth, width {WIDTH}")
    yield SENSITIVE.check(furthest(made[:, 1] / expected))
    yield FEATURES.check(furthest(np.array(worst)))
    yield GROWS.check(np.polyfit(DEPTHS, made[:, 0, list(NAMES).index(UNSCALED)], 1)[0])
    yield BOUNDED.check(made[:, 0, list(NAMES).index(CS)].max() / (1 + 1 / (1 - KAPPA**2)))


def theory(i: int) -> tuple[np.ndarray, list[float]]:
    """1 + sum kappa^2 of scheme i by the number of skips."""
    skips = np.arange(DEPTHS[0], DEPTHS[-1] + 1)
    return skips, [1 + float(np.sum(list(scales(int(n)).values())[i] ** 2)) for n in skips]


def mark_depths(ax: Any) -> None:
    """Ticks at the depths alone, and readable ones on the other axis."""
    ax.minorticks_off()
    ax.set_xticks(DEPTHS, [str(n) for n in DEPTHS])
    values = [value for value in (1, 2, 5, 10, 20, 50, 100, 200, 500) if value < ax.get_ylim()[1]]
    ax.set_yticks(values, [str(value) for value in values])
    ax.set_xlabel("skips")


def furthest(ratios: np.ndarray) -> float:
    """The one furthest from 1."""
    flat = ratios.ravel()
    return float(flat[np.argmax(abs(flat - 1))])


def features(run: Run, size: Size, n: int, kappas: np.ndarray) -> np.ndarray:
    """Mean squares of what the up layers make, over networks, `[n]`."""

    def sizes(key: Any) -> Any:
        x = jax.random.normal(key, (SAMPLES, WIDTH), jnp.float32)
        made = decoder(lambda h: h, draw(key, n, HAAR), x, jnp.asarray(kappas, jnp.float32))[1]
        return jnp.mean(made**2, axis=(1, 2)) / jnp.mean(x**2)

    found = [sizes(key) for key in jax.random.split(jax.random.key(run.seed), size.networks)]
    return np.mean(np.asarray(found, np.float64), 0)


def conv_unet(p: list[Any], x: Any, kappas: Any) -> Any:
    """Convolutions of periodic images, 8 x 8 for four skips and 4 x 4 for five; pooling keeps the variance."""

    def conv(h: Any, w: Any) -> Any:
        h = jnp.pad(h, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
        return jax.nn.relu(
            jax.lax.conv_general_dilated(h, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        )

    weights, skips, h = iter(p), [], x
    for i in range(9):
        h = h.reshape(len(h), 4, 2, 4, 2, -1).sum((2, 4)) / 2 if i == 4 else h
        h = conv(h, next(weights))
        skips.append(h)
    h = conv(h, next(weights))
    for i in reversed(range(9)):
        h = jnp.repeat(jnp.repeat(h, 2, 1), 2, 2) if i == 3 else h
        h = conv(h + kappas[i] * skips[i], next(weights))
    return h


def initial(run: Run, size: Size) -> Iterator[Outcome]:
    """Relu U-Nets by depth, and a convolutional one as its skips grow."""
    figure, axes = panels(2, width=4.8, height=3.7)
    made = np.array([reports(run, size, relu_unet, HE, n)[0] for n in progress(DEPTHS, "relu U-Nets")])
    for i, (colour, name) in enumerate(zip(COLOURS, NAMES, strict=False)):
        axes[0].loglog(DEPTHS, made[:, i], "o-", color=colour, label=name)
        axes[0].loglog(*theory(i), ":", color=colour)
    axes[0].plot([], [], "k:", label="linear theory")
    axes[0].set(ylabel="output variance, over that of the input", title=f"relu, width {WIDTH}")
    mark_depths(axes[0])
    axes[0].legend()
    found = []
    x = jnp.asarray(digits()[0][:SAMPLES].reshape(-1, 8, 8, 1), jnp.float32)
    for key in jax.random.split(jax.random.key(run.seed), size.networks):
        first, *rest = jax.random.split(key, 19)
        weights = [HE(first, (3, 3, 1, CHANNELS)), *(HE(each, (3, 3, CHANNELS, CHANNELS)) for each in rest)]
        report = wn.unet_signal_report(conv_unet, weights, x, scales(9), key=key, probes=4)
        found.append(report.sensitivity)
    mean = np.mean(found, 0)
    for colour, name, kappas, values in zip(COLOURS, NAMES, scales(9).values(), mean, strict=False):
        axes[1].semilogy(report.levels, values / values[0], "o-", color=colour, label=name)
        axes[1].semilogy(report.levels, 1 + report.levels**2 * np.sum(kappas**2), ":", color=colour)
    axes[1].set(
        xlabel="t, all scales times t", ylabel="input sensitivity, over t = 0", title="convolutions, 9 skips, digits"
    )
    save(figure, run, "initial")
    deep, shallow = (made[DEPTHS.index(n)] for n in (32, 8))
    for claim, name in ((RELU_GROWS, UNSCALED), (RELU_BOUNDED, CS)):
        i = list(NAMES).index(name)
        yield claim.check(deep[i] / shallow[i], note=f"{deep[i]:.3g} and {shallow[i]:.3g}")
    i, j = (list(NAMES).index(name) for name in (CS, UNSCALED))
    yield CONV.check(mean[i, -1] / mean[j, -1], "scikit-learn's digits", f"{mean[i, -1]:.3g} and {mean[j, -1]:.3g}")


def start(key: Any, learned: bool) -> dict[str, Any]:
    """Parameters of the denoiser."""
    first, last, gates, inner = jax.random.split(key, 4)
    made = {"unet": draw(inner, SKIPS, HE), "first": LINEAR(first, (66, WIDTH)), "last": LINEAR(last, (WIDTH, 64))}
    few = WIDTH // 16
    return made | ({"a": HE(gates, (WIDTH, few)), "b": jnp.zeros((few, WIDTH))} if learned else {})


def denoised(p: dict[str, Any], noisy: Any, angle: Any, kappas: Any) -> Any:
    """The noise that the network sees in images `[n, 64]` of cos(angle) image + sin(angle) noise."""
    x = jnp.concatenate([noisy, jnp.cos(angle), jnp.sin(angle)], 1) @ p["first"]
    gated = {"gates": lambda skips: jax.nn.sigmoid(jax.nn.relu(skips @ p["a"]) @ p["b"])} if "a" in p else {}
    return decoder(jax.nn.relu, p["unet"] | gated, x, kappas)[0] @ p["last"]


@jax.jit
def trained(p: Any, images: Any, kappas: Any, key: Any, rate: Any) -> Any:
    """Adam on the squared error of the noise; the loss of each step."""

    def loss(p: Any, key: Any) -> Any:
        which, angles, noises = jax.random.split(key, 3)
        image = images[jax.random.randint(which, (BATCH,), 0, len(images))]
        angle = jax.random.uniform(angles, (BATCH, 1)) * math.pi / 2
        noise = jax.random.normal(noises, image.shape)
        return jnp.mean((denoised(p, jnp.cos(angle) * image + jnp.sin(angle) * noise, angle, kappas) - noise) ** 2)

    def step(carry: Any, key: Any) -> Any:
        p, m, v, t = carry
        value, g = jax.value_and_grad(loss)(p, key)
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, g)
        size = rate * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        p = jax.tree.map(lambda p, m, v: p - size * m / (jnp.sqrt(v) + 1e-8), p, m, v)
        return (p, m, v, t + 1), value

    zeros = jax.tree.map(jnp.zeros_like, p)
    return jax.lax.scan(step, (p, zeros, zeros, 1.0), jax.random.split(key, STEPS))[1]


def training(run: Run, size: Size) -> Iterator[Outcome]:
    """Loss of the denoiser by learning rate and scheme."""
    x, _ = digits()
    images = jnp.asarray((x.reshape(len(x), -1) - x.mean()) / x.std(), jnp.float32)
    schemes = {name: kappas for name, kappas in scales(SKIPS).items() if name != HALF} | {LEARNED: np.ones(SKIPS)}
    curves = {}
    for name in progress(list(schemes), "training"):
        kappas = jnp.asarray(schemes[name], jnp.float32)
        curves[name] = np.array(
            [
                [np.asarray(trained(start(key, name == LEARNED), images, kappas, key, rate)) for key in keys(run, size)]
                for rate in size.rates
            ]
        )  # [rates, seeds, steps]
    ends = {name: found[:, :, -LAST:].mean(2) for name, found in curves.items()}
    figure, axes = panels(2, width=4.8, height=3.7)
    middle = size.rates.index(3e-3)
    for colour, (name, found) in zip((*COLOURS[:3], COLOURS[4]), curves.items(), strict=True):
        smooth = found[middle].mean(0).reshape(-1, 10).mean(1)
        axes[0].semilogy(np.arange(5, STEPS, 10), smooth, color=colour, label=name)
        spread = ends[name].std(1, ddof=1) if size.seeds > 1 else None
        axes[1].errorbar(size.rates, ends[name].mean(1), spread, fmt="o-", capsize=3, color=colour, label=name)
    axes[0].set(
        xlabel="steps",
        ylabel="mean squared error of the noise",
        title=f"Adam, rate {size.rates[middle]}, {SKIPS} skips",
    )
    axes[1].axhline(1.0, color="k", ls="--", label="predicting nothing")
    axes[1].set(
        xscale="log",
        xlabel="learning rate",
        ylabel=f"error, last {LAST} steps",
        title=f"{STEPS} steps, {size.seeds} seeds, digits",
    )
    axes[1].legend()
    save(figure, run, "training")
    data = "scikit-learn's digits"
    yield FIRST.check(curves[UNSCALED][..., 0].mean() / curves[CS][..., 0].mean(), data)
    ratios = ends[CS].mean(1) / ends[UNSCALED].mean(1)
    told = ", ".join(f"{ratio:.3g} at {rate}" for ratio, rate in zip(ratios, size.rates, strict=True))
    yield BETTER.check(ratios.max(), data, told)
    best = {name: values.mean(1).min() for name, values in ends.items()}
    note = ", ".join(f"{name} {value:.3g}" for name, value in best.items())
    yield LEARNS.check(best[LEARNED] / best[UNSCALED], data, note)
    yield LARGE_RATE.skip("needs the full run") if run.quick else LARGE_RATE.check(ratios[-1], data)


def keys(run: Run, size: Size) -> list[Any]:
    """One key a seed, the same for all schemes and rates."""
    return list(jax.random.split(jax.random.key(run.seed + 7), size.seeds))


if __name__ == "__main__":
    sys.exit(run(main, __file__))
