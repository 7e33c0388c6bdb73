"""Depthwise hyperparameter transfer in residual networks (Bordelon, Noci, Li, Hanin and Pehlevan; ICLR 2024).

Paper: bordelon2024
Figure: loss over learning rate for several depths and widths; convergence of training in width and depth; deep linear
    networks against their exact limit
Claim: with branches 1/sqrt(depth) in muP the best learning rate moves with neither width nor depth, in muP alone it
    falls with depth; training converges to a limit of infinite width and depth, in either order
Expected: drift of the best rate over depth 0 octaves per doubling with 1/sqrt(depth), below 0 without; over width 0;
    variance of outputs -1 in width, distances -1 in depth, of linear networks -1/2 in width
Minutes: 7 (full, 4 cores), 0.7 (--quick, 2 cores)
Command: python paper_repro/depthwise.py [--quick] [--out DIR] [--seed N]

As in the paper: x <- x + (beta / sqrt(L N)) W phi(x), a convolutional network without normalization, gradient descent.
Not as in the paper: images of CIFAR-10 averaged to 8 x 8 pixels, read in patches of 2 x 2, 100 steps, widths 16 to 64
and depths 2 to 32; dynamics are those of tanh networks on 8 images.  The theory of the paper is computed for linear
networks, where it is exact.  Depths are compared under one Brownian motion: weights of neighbouring blocks are added.
Data: CIFAR-10, if the folder WIDENET_DATA has it; else scikit-learn's digits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.ticker import NullFormatter

import widenet as wn
from widenet import limits
from widenet import parametrizations as wp
from widenet.datasets import cifar10, digits
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save
from widenet.transfer import Sweep


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    images: int
    depths: tuple[int, ...]  # of the sweep at WIDTH
    widths: tuple[int, ...]  # of that at DEPTH, in the full run
    rates: Any
    steps: int
    seeds: int
    dynamics: tuple[int, ...]  # widths where variances are measured
    coarse: tuple[int, ...]  # depths that are compared
    draws: int  # of networks there
    linear_draws: int
    linear: tuple[int, ...]  # depths of linear networks
    linear_widths: tuple[int, ...]


RATES = 2.0 ** np.arange(-9, 2)
FULL = Size(
    1000, (2, 4, 8, 16, 32), (16, 32, 64), RATES, 100, 3, (16, 32, 64, 128, 256), (2, 4, 8, 16, 32), 192, 24,
    (2, 8, 32), (32, 64, 128, 256, 512),
)  # fmt: skip
QUICK = Size(500, (2, 8), (), RATES[2::2], 40, 2, (16, 32, 64), (2, 4, 8, 16), 48, 16, (2, 8), (32, 64, 128))
WIDTH, DEPTH, BATCH = 16, 4, 16
PATCH, SIDE = 2, 4  # pixels of a patch, patches along a side
SCHEMES = {"muP and 1/sqrt(depth)": wp.depth_sqrt, "muP": wp.depth_none}
POINTS, TIMES, TRAINED_WIDTH, TRAINED_DEPTH, RATE = 8, 16, 128, 8, 0.5

OVER_DEPTH = Claim("depth", "drift of the best rate with 1/sqrt(depth), octaves per doubling of depth", about(0.0, 0.3))
FALLS = Claim("depth", "the same in muP without it", at_most(-0.4))
KEPT = Claim("depth", "share of the deepest network's gain that the shallowest one's rate keeps", at_least(0.95))
OVER_WIDTH = Claim("width", "drift of the best rate with 1/sqrt(depth), octaves per doubling of width", about(0.0, 0.4))
ALSO = Claim("width", "the same in muP without it", about(0.0, 0.4))
VARIANCE = Claim("dynamics", "exponent in width of the variance of outputs in training, tanh", about(-1.0, 0.15))
HALVES = Claim("dynamics", "exponent in depth of the change of outputs when depth is doubled, tanh", about(-1.0, 0.25))
LINEAR = Claim("exact limit", "exponent in width of the distance of linear networks from their limit", about(-0.5, 0.1))
LINEAR_DEPTH = Claim("exact limit", "exponent in depth of the distance from infinite depth, linear", about(-1.0, 0.15))
COMMUTE = Claim("exact limit", "that of wide networks of the least depth over the exact one", about(1.0, 0.15))


def main(run: Run) -> Iterator[Outcome]:
    """Transfer, dynamics, linear networks."""
    size = QUICK if run.quick else FULL
    x, y, name = patches(run.seed, size.images)
    yield from transfer(run, size, (x, y), name)
    few = x[:POINTS].reshape(POINTS, -1)
    few = few / np.linalg.norm(few, axis=1, keepdims=True)
    labels = np.where(y[:POINTS] >= 5, 1.0, -1.0)[:, None]
    yield from dynamics(run, size, few, labels, name)
    yield from linear(run, size, few, labels, name)


def patches(seed: int, count: int) -> tuple[np.ndarray, np.ndarray, str]:
    """Images in patches `[count, side, side, features]`, labels, and the name of the data."""
    try:
        split = cifar10()
        images, labels, name = split.x_train, split.y_train, split.name
    except FileNotFoundError:
        (pixels, labels), name = digits(), "scikit-learn's digits"
        images = pixels.reshape(-1, 8, 8, 1)
    rows = np.random.default_rng(seed).permutation(len(labels))[:count]
    images, step = np.asarray(images[rows], np.float32), images.shape[1] // (SIDE * PATCH)
    images = images.reshape(count, SIDE * PATCH, step, SIDE * PATCH, step, -1).mean((2, 4))
    x = images.reshape(count, SIDE, PATCH, SIDE, PATCH, -1).swapaxes(2, 3).reshape(count, SIDE, SIDE, -1)
    return (x - x.mean()) / x.std(), labels[rows].astype(np.int32), name


def convolutional(
    features: int, scheme: wp.Depth, base: int, width: int, depth: int
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Patches, residual blocks of 3 x 3 convolutions behind relu, the mean over places, ten outputs."""
    scale = wp.branch_scale(depth, scheme, base)
    shapes = {"stem": (features, width), "blocks": (depth, 9 * width, width), "head": (width, 10)}

    def init(key: Any) -> Any:
        keys = jax.random.split(key, 3)
        return {
            name: jax.random.normal(k, s) * s[-2] ** -0.5 for k, (name, s) in zip(keys, shapes.items(), strict=True)
        }

    def block(h: Any, w: Any) -> tuple[Any, None]:
        padded = jnp.pad(jax.nn.relu(h), ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = [padded[:, i : i + SIDE, j : j + SIDE] for i in range(3) for j in range(3)]
        return h + scale * (jnp.concatenate(windows, -1) @ w), None

    def apply(params: Any, x: Any) -> Any:
        h, _ = jax.lax.scan(block, x @ params["stem"], params["blocks"])
        return jax.nn.relu(h).mean((1, 2)) @ params["head"]

    return init, apply


def transfer(run: Run, size: Size, data: Any, name: str) -> Iterator[Outcome]:
    """Loss over learning rate, for several depths and for several widths."""
    features = data[0].shape[-1]
    given: dict[str, Any] = {
        "steps": size.steps, "seeds": size.seeds, "batch_size": BATCH, "key": run.seed, "chunk": 1,
        "optimizer": wp.sgd, "infer": {"stacked": "blocks", "branches": "blocks"},
    }  # fmt: skip
    depths, widths = {}, {}
    for kind, scheme in SCHEMES.items():
        mup = wp.mup.with_depth(scheme)
        model: Any = partial(convolutional, features, scheme, size.depths[0], WIDTH)
        depths[kind] = wn.lr_sweep(model, size.depths, data, size.rates, parametrization=mup, **given)
        if not run.quick:
            model = partial(convolutional_of_width, features, scheme, size.depths[0])
            rates = size.rates[len(size.rates) // 3 :]
            widths[kind] = wn.lr_sweep(model, size.widths, data, rates, parametrization=mup, **given)
    draw_sweeps(run, depths, f"width {WIDTH}", "transfer_depth")
    with_it, without = depths.values()
    bounds = ", ".join(str(depth) for depth, edge in zip(size.depths, without.at_edge, strict=True) if edge)
    note = f"; a bound, as the lowest rate is best at depth {bounds}" if bounds else ""
    yield FALLS.check(without.drift.value, name, f"95 %: {without.drift}{note}")
    yield KEPT.check(with_it.transfer_score, name, f"{without.transfer_score:.3f} without")
    if run.quick:
        for claim in (OVER_DEPTH, OVER_WIDTH, ALSO):
            yield claim.skip("needs the full run")
        return
    yield OVER_DEPTH.check(with_it.drift.value, name, f"95 %: {with_it.drift}")
    draw_sweeps(run, widths, f"depth {DEPTH}", "transfer_width")
    for claim, sweep in zip((OVER_WIDTH, ALSO), widths.values(), strict=True):
        yield claim.check(sweep.drift.value, name, f"95 %: {sweep.drift}")


def convolutional_of_width(features: int, scheme: wp.Depth, base: int, width: int) -> Any:
    """What `lr_sweep` over widths is given."""
    return convolutional(features, scheme, base, width, DEPTH)


def draw_sweeps(run: Run, sweeps: dict[str, Sweep], other: str, name: str) -> None:
    """Loss over learning rate, a line a size; other: what does not change."""
    axis = name.removeprefix("transfer_")
    figure, axes = panels(2, sharey=True)
    for ax, (kind, sweep) in zip(axes, sweeps.items(), strict=True):
        for colour, size, loss, best in zip(COLOURS, sweep.sizes, sweep.loss, sweep.optimum, strict=False):
            kept = np.isfinite(loss).all(-1)
            rates, mean, spread = sweep.learning_rates[kept], loss[kept].mean(-1), loss[kept].std(-1)
            ax.plot(rates, mean, ".-", color=colour, label=f"{axis} {size}")
            ax.fill_between(rates, mean - spread, mean + spread, color=colour, alpha=0.15, lw=0)
            ax.axvline(best, color=colour, ls=":", lw=1)
        smallest = f"{axis} {sweep.sizes[0]}"
        ax.set(title=f"{kind}: drift {sweep.drift.value:+.2f}", xlabel=f"learning rate of {smallest}", xscale="log")
    lowest = min(s.loss.min() for s in sweeps.values())
    axes[0].set(ylabel="training loss (dotted: best rate)", ylim=(0.9 * lowest, 2.6))
    axes[0].legend(title=f"at {other}")
    save(figure, run, name)


def trajectories(x: np.ndarray, y: np.ndarray, key: Any, width: int, depths: tuple[int, ...]) -> dict[int, Any]:
    """Outputs in gradient descent `[times, points]` of networks of several depths under one Brownian motion.

    f = v . tanh(h_L) / n,  h_l = h_(l-1) + W_l tanh(h_(l-1)) / sqrt(n L),  rate times n for all weights: muP
    """
    keys = jax.random.split(key, 3)
    finest = max(depths)
    increments = jax.random.normal(keys[0], (finest, width, width))
    start = {"u": jax.random.normal(keys[1], (x.shape[1], width)), "v": jax.random.normal(keys[2], (width,))}

    def apply(params: Any, x: Any) -> Any:
        scale = (width * len(params["w"])) ** -0.5

        def block(h: Any, w: Any) -> tuple[Any, None]:
            return h + scale * (jnp.tanh(h) @ w), None

        h, _ = jax.lax.scan(block, x @ params["u"], params["w"])
        return jnp.tanh(h) @ params["v"] / width

    def step(params: Any, _: Any) -> tuple[Any, Any]:
        f, back = jax.vjp(lambda p: apply(p, x), params)
        (gradients,) = back(2 * (f - y[:, 0]) / len(x))
        return jax.tree.map(lambda p, g: p - RATE * width * g, params, gradients), f

    found = {}
    for depth in depths:
        together = finest // depth
        w = increments.reshape(depth, together, width, width).sum(1) * together**-0.5
        _, found[depth] = jax.lax.scan(step, {**start, "w": w}, None, TIMES)
    return found


def dynamics(run: Run, size: Size, x: np.ndarray, y: np.ndarray, name: str) -> Iterator[Outcome]:
    """Variance over networks by width, distance by depth."""
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    keys = jax.random.split(jax.random.key(run.seed), size.draws)

    def drawn(width: int, depths: tuple[int, ...]) -> dict[int, np.ndarray]:
        made = jax.jit(partial(jax.lax.map, lambda key: trajectories(x, y, key, width, depths)))(keys)
        return {depth: np.asarray(f) for depth, f in made.items()}

    by_width = {width: drawn(width, (TRAINED_DEPTH,))[TRAINED_DEPTH] for width in size.dynamics}
    variances = np.array([f.var(0, ddof=1).mean() for f in by_width.values()])
    noise = np.stack([np.sqrt(((f - f.mean(0)) ** 2).mean((1, 2))) for f in by_width.values()])
    slope = limits.error_slope(size.dynamics, noise)
    by_depth = drawn(TRAINED_WIDTH, size.coarse)
    pairs = size.coarse[:-1]
    whole = (by_depth[size.coarse[0]] - by_depth[size.coarse[-1]]).mean(0)
    apart = [by_depth[depth] - by_depth[2 * depth] for depth in pairs]
    along = np.array([(each * whole).sum((1, 2)) for each in apart]) / np.sum(whole**2)
    gaps, errors = along.mean(1), along.std(1, ddof=1) / np.sqrt(size.draws)
    halving = limits.error_slope(pairs, gaps[:, None])
    figure, axes = panels(3, width=4.0, height=3.6)
    for colour, (width, f) in zip(COLOURS, by_width.items(), strict=False):
        losses = ((f - np.asarray(y)[:, 0]) ** 2).mean(-1)
        axes[0].plot(losses.mean(0), color=colour, label=f"width {width}")
        axes[0].fill_between(range(TIMES), *np.quantile(losses, [0.1, 0.9], axis=0), color=colour, alpha=0.15, lw=0)
    axes[0].set(xlabel="step", ylabel="training loss", title=f"tanh, depth {TRAINED_DEPTH} (bands: 80 %)")
    axes[1].loglog(size.dynamics, variances, "o", color=COLOURS[0], label=f"measured: {2 * slope.value:.2f}")
    guide(axes[1], size.dynamics, variances, -1, "1 / width")
    axes[1].set(xlabel="width", ylabel="variance of outputs", title="over networks, mean over steps")
    axes[2].errorbar(pairs, gaps, errors, fmt="o", color=COLOURS[0], label=f"measured: {halving.value:.2f}")
    guide(axes[2], pairs, abs(gaps), -1, "1 / depth")
    title = f"mean outputs, width {TRAINED_WIDTH}"
    axes[2].set(xlabel="depth", ylabel="share of all change when doubled", title=title)
    labelled(axes[1:], (size.dynamics, pairs))
    for ax in axes:
        ax.legend()
    save(figure, run, "dynamics")
    yield VARIANCE.check(2 * slope.value, name, f"+- {2 * slope.half_width:.2f}")
    yield HALVES.check(halving.value, name, f"+- {halving.half_width:.2f}")


def guide(ax: Any, sizes: Any, values: Any, power: float, label: str) -> None:
    """A dashed line of a power through the middle of the values."""
    at = np.asarray(sizes, float) ** power
    ax.loglog(sizes, at * np.exp(np.mean(np.log(values) - np.log(at))), "k--", lw=1, label=label)


def labelled(axes: Any, sizes: Any) -> None:
    """Ticks at the sizes alone."""
    for ax, ticks in zip(axes, sizes, strict=True):
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set_xticks(ticks, [str(tick) for tick in ticks])


def linear(run: Run, size: Size, x: np.ndarray, y: np.ndarray, name: str) -> Iterator[Outcome]:
    """Deep linear networks of finite size against the limits of width, and of width and depth."""
    x = np.linalg.qr(np.asarray(x, float).T)[1].T  # coordinates with the same inner products
    steps = 8
    batches = np.repeat(x[None], steps, 0), np.repeat(y[None], steps, 0)
    given: Any = {"loss": lambda f, y: jnp.mean((f - y) ** 2), "rate": 0.05, "x": x}
    deep = (8, 16, 32) if run.quick else (8, 16, 32, 64)
    nets = {depth: limits.linear_resnet(len(x), 1, depth) for depth in {*deep, *size.linear, 2 * deep[-1]}}
    exact = {depth: limits.linear_limit(net, batches, **given) for depth, net in nets.items()}
    infinite = 2 * exact[2 * deep[-1]] - exact[deep[-1]]
    keys = jax.random.split(jax.random.key(run.seed), size.linear_draws)

    def outputs(depth: int, width: int) -> np.ndarray:
        one = lambda key: limits.descend(nets[depth], nets[depth].init(key, width), batches, **given)[0]  # noqa: E731
        return np.asarray(jax.jit(partial(jax.lax.map, one))(keys))

    found = {depth: [outputs(depth, width) for width in size.linear_widths] for depth in size.linear}
    figure, axes = panels(3, width=4.0, height=3.6)
    for colour, (depth, by_width) in zip(COLOURS, found.items(), strict=False):
        label = f"depth {depth}"
        errors = [distance(f - infinite).mean() for f in by_width]
        axes[1].loglog(size.linear_widths, errors, "o", color=colour, label=label)
        own = np.array([distance(f - exact[depth]) for f in by_width])
        plateau = distance(exact[depth] - infinite)
        predicted = np.sqrt((own[-1] ** 2).mean() * size.linear_widths[-1] / np.array(size.linear_widths) + plateau**2)
        axes[1].loglog(size.linear_widths, predicted, "--", color=colour, lw=1)
        axes[0].plot(
            ((by_width[-1] - y) ** 2).mean((0, 2, 3)),
            "o",
            color=colour,
            label=f"width {size.linear_widths[-1]}, {label}",
        )
        axes[0].plot(((exact[depth] - y) ** 2).mean((1, 2)), color=colour, label=f"infinite width, {label}")
    axes[0].plot(((infinite - y) ** 2).mean((1, 2)), "k:", label="infinite width and depth")
    axes[0].set(xlabel="step", ylabel="training loss", title="linear residual networks")
    axes[1].plot([], [], "k--", lw=1, label="sqrt(c / width + limits' distance^2)")
    axes[1].set(xlabel="width", ylabel="distance from infinite width and depth", title="finite networks")
    gaps = np.array([distance(exact[depth] - infinite) for depth in deep])
    fall = limits.error_slope(deep, gaps[:, None])
    axes[2].loglog(deep, gaps, "o", color=COLOURS[0], label=f"infinite width: {fall.value:.2f}")
    guide(axes[2], deep, gaps, -1, "1 / depth")
    axes[2].set(xlabel="depth", ylabel="distance from infinite depth", title="exact limits")
    labelled(axes[1:], (size.linear_widths, deep))
    for ax in axes:
        ax.legend(fontsize=8)
    save(figure, run, "exact_limit")
    middle = size.linear[len(size.linear) // 2]
    slope = limits.error_slope(size.linear_widths, np.array([distance(f - exact[middle]) for f in found[middle]]))
    yield LINEAR.check(slope.value, name, f"+- {slope.half_width:.2f}, depth {middle}")
    yield LINEAR_DEPTH.check(fall.value, name, f"+- {fall.half_width:.2f}")
    least = size.linear[0]
    wide = distance(found[least][-1].mean(0) - infinite) / distance(exact[least] - infinite)
    yield COMMUTE.check(wide, name, f"depth {least}, width {size.linear_widths[-1]}, mean of {size.linear_draws}")


def distance(outputs: np.ndarray) -> Any:
    """Root mean square over steps, points and outputs, the last three axes."""
    return np.sqrt((outputs**2).mean((-3, -2, -1)))


if __name__ == "__main__":
    sys.exit(run(main, __file__))
