"""Tensor Programs VI: feature learning in infinite-depth neural networks (Yang, Yu, Zhu and Hayou; ICLR 2024).

Paper: yang2023
Figure: 1, phases of (alpha, gamma); 8 and 9, linear networks come close to their limit; 10 to 13, loss over learning
    rate for several depths; 17 to 19, diversity of features; and section 9, blocks of two layers
Claim: branches L^-alpha with updates L^-gamma are stable and nontrivial where alpha >= 1/2 and alpha + gamma = 1;
    finite linear networks converge to an exact limit; at alpha = gamma = 1/2 the best learning rate does not move with
    depth and features are most diverse; blocks of two layers become linear in their own weights there
Expected: errors -1/2 in width and -1 in depth; drift of the best rate of (1/2, 1/2) 0 octaves per doubling of depth, of
    (1/2, 0) -1/2; diversity 1/2 at alpha = 1/2, 0 at alpha = 1; nonlinearity of blocks -1/2 and 0
Minutes: 8 (full, 4 cores), 1.2 (--quick, 2 cores)
Command: python paper_repro/tp6.py [--quick] [--out DIR] [--seed N]

As in the paper: x <- x + L^-alpha (phi - mean of phi), phi = relu(W x), and Adam.
Not as in the paper: digits averaged to 7 x 7 pixels and cross entropy on the training set instead of CIFAR-10, width
64 instead of 256, depths 4 to 64 for 200 steps instead of 8 to 1024 for 50 epochs; linear networks see 6 images.
Blocks of two layers are of tanh: the kink of relu lets their nonlinearity fall slower.  The paper finds the best rate
of (1, 0) to go up a little with depth.
Data: MNIST, if the folder WIDENET_DATA has it; else scikit-learn's digits.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.ticker import NullFormatter

import widenet as wn
from widenet import limits
from widenet import parametrizations as wp
from widenet.datasets import mnist_or_digits, small
from widenet.optimizers import scale_by_adam
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save
from widenet.transfer import Sweep, linearization_distance

RATES = 2.0 ** np.arange(-12, -3)
PLACES = ("1/4", "1/2", "3/4", "1")  # alpha of the phase diagram


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    images: int
    places: tuple[str, ...]  # alpha in the phase diagram
    checked: tuple[int, ...]  # depths there
    widths: tuple[int, ...]  # of linear networks
    linear_depth: int
    linear_depths: tuple[int, ...]
    times: tuple[int, ...]  # steps after which they are compared
    draws: int
    depths: tuple[int, ...]  # of the sweeps
    rates: Any
    steps: int
    seeds: int
    deep: tuple[int, ...]  # where diversity is measured
    linearized: tuple[int, ...]


FULL = Size(
    2000, PLACES, (16, 64, 256), (32, 64, 128, 256, 512), 32, (8, 16, 32, 64), (1, 3, 6), 24, (4, 8, 16, 32, 64),
    RATES, 200, 3, (256, 1024), (16, 32, 64, 128, 256),
)  # fmt: skip
QUICK = Size(
    1000, PLACES[1:2], (16, 32, 64), (32, 64, 128), 8, (8, 16, 32), (3,), 12, (4, 16), RATES[::2], 60, 2, (1024,),
    (16, 64, 256),
)  # fmt: skip
WIDTH, BASE, BATCH = 64, 4, 32
SCHEMES = {
    "(1/2, 1/2), Depth-muP": wp.depth_sqrt,
    "(1/2, 0)": wp.depth("1/2", 0),
    "(1, 0)": wp.depth_linear,
    "(0, 0), no scaling": wp.depth_none,
}
REGIONS = {"stable at initialization": "#bfbfbf", "stable in training": "#f6dca4", "nontrivial": "#d5ebf9"}
RATE = 2.0**-7  # where one is trained alone
SHARES = 2.0 ** -np.arange(4, 8)  # of depth, over which features change

PHASES = Claim(
    "figure 1", "share of (alpha, gamma) that are stable and nontrivial if the inequalities hold", about(1.0, 0.0)
)
SIZES = Claim("figure 1", "largest distance of the exponent of a step's effect from 1 - alpha - gamma", at_most(0.2))
WIDE = Claim("figure 8", "exponent in width of the error of linear networks, after the last step", about(-0.5, 0.1))
DEEP = Claim("figure 9", "exponent in depth of the distance to infinite depth, infinite width", about(-1.0, 0.15))
FIXED = Claim("figure 10", "drift of the best rate at (1/2, 1/2), octaves per doubling of depth", about(0.0, 0.25))
MOVES = Claim("figure 10", "the same at (1/2, 0)", about(-0.5, 0.25))
LINEAR = Claim("figure 10", "the same at (1, 0)", about(0.1, 0.3))
DEEPER = Claim("figure 10", "best loss of the deepest network over that of the shallowest, (1/2, 1/2)", at_most(1.0))
WORSE = Claim("figure 10", "the same without scaling", at_least(1.0))
DIVERSE = Claim("figures 17 to 19", "diversity exponent kappa at (1/2, 1/2)", about(0.5, 0.1))
REDUNDANT = Claim("figures 17 to 19", "the same at (1, 0)", about(0.0, 0.1))
LAZY = Claim("section 9", "exponent in depth of how nonlinear blocks of two layers are, alpha = 1/2", about(-0.5, 0.15))
RICH = Claim("section 9", "the same at alpha = 1", about(0.0, 0.1))


def main(run: Run) -> Iterator[Outcome]:
    """Phases, linear networks, transfer, diversity, blocks of two layers."""
    size = QUICK if run.quick else FULL
    split = mnist_or_digits(run.seed).drawn(size.images, seed=run.seed)
    x = small(split.x_train.astype(np.float32))
    data = (x - x.mean()) / x.std(), split.y_train.astype(np.int32)
    yield from phases(run, size, data, split.name)
    yield from linear(run, size, data, split.name)
    yield from transfer(run, size, data, split.name)
    yield from features(run, size, data, split.name)


class Net(NamedTuple):
    """A network as functions."""

    init: Callable[..., Any]
    apply: Callable[..., Any]
    stream: Callable[..., Any]  # (params, x) -> x after all blocks, and before each of them `[depth, samples, width]`


def residual(
    features: int, scheme: wp.Depth, base: int, width: int, depth: int, *, two: bool = False, fixed: bool = False
) -> Net:
    """A residual network; branches are not scaled at depth `base`.

    two: layers in a block.  fixed: is the first layer not trained?
    """
    scale = wp.branch_scale(depth, scheme, base)
    first = jax.random.normal(jax.random.key(1), (features, width)) * features**-0.5

    def init(key: Any) -> Any:
        keys = jax.random.split(key, 4)
        shape = (depth, width, width)
        blocks = {"ab"[i]: jax.random.normal(keys[i], shape) * width**-0.5 for i in range(1 + two)}
        params = {"blocks": blocks, "head": jax.random.normal(keys[2], (width, 10)) / width}
        return params if fixed else {**params, "embed": jax.random.normal(keys[3], first.shape) * features**-0.5}

    def stream(params: Any, x: Any) -> tuple[Any, Any]:
        start = x @ params.get("embed", first)
        return jax.lax.scan(lambda h, w: (h + scale * branch(w, h), h), start, params["blocks"])

    def apply(params: Any, x: Any) -> Any:
        return stream(params, x)[0] @ params["head"]

    return Net(init, apply, stream)


def branch(weights: Any, h: Any) -> Any:
    """One layer of relu with its mean over units subtracted, or two layers of tanh."""
    if "b" in weights:
        return jnp.tanh(h @ weights["a"]) @ weights["b"]
    z = jax.nn.relu(h @ weights["a"])
    return z - z.mean(-1, keepdims=True)


def phases(run: Run, size: Size, data: Any, name: str) -> Iterator[Outcome]:
    """Figure 1: one step of Adam, from which exponents in depth are measured."""
    x, y = data[0][:16], data[1][:16]
    figure, (left, right) = panels(2, width=4.6, height=4.0)
    right.plot([-0.75, 0.75], [-0.75, 0.75], "k--", lw=1, label="1 - alpha - gamma")
    agrees, distances = [], []
    for alpha in size.places:
        for total in (0.5, 1.0, 1.5):
            scheme = wp.depth(alpha, total - float(Fraction(alpha)))
            model = partial(residual, x.shape[1], scheme, 1, fixed=True)
            report = wn.depth_check(
                model, size.checked, (x, y), branches="blocks", width=WIDTH, learning_rate=2.0**-10, seeds=size.seeds,
                key=run.seed, parametrization=wp.mup.with_depth(scheme), optimizer=wp.adam, drop=0,
                infer={"stacked": "blocks"},
            )  # fmt: skip
            moved = next(f.slope for f in report.findings if (f.layer, f.quantity) == ("stream", "dx"))
            agrees.append(report.passed == (not scheme.violated()))
            at, stable = (float(scheme.alpha), float(scheme.gamma)), scheme.alpha >= 0.5
            left.plot(*at, "o", color=COLOURS[2] if report.passed else COLOURS[1])
            text = f"{moved.value:+.2f}" if stable else "blows up"
            left.annotate(text, at, (0, 6), textcoords="offset points", ha="center")
            if stable:
                distances.append(abs(moved.value - (1 - total)))
                right.plot(1 - total, moved.value, "o", color=COLOURS[PLACES.index(alpha)])
    draw_phases(left)
    for alpha in [alpha for alpha in size.places if alpha != "1/4"]:
        right.plot([], [], "o", color=COLOURS[PLACES.index(alpha)], label=f"alpha = {alpha}")
    right.set(xlabel="1 - alpha - gamma", ylabel="exponent in depth of the change of x", title="one step of Adam")
    right.legend()
    save(figure, run, "fig1_phases")
    yield PHASES.check(float(np.mean(agrees)), name, f"{len(agrees)} places, depths {told(size.checked)}")
    yield SIZES.check(max(distances), name, f"{len(distances)} places")


def draw_phases(ax: Any) -> None:
    """What is violated first, by `Depth.violated`."""
    alphas, gammas = np.linspace(0.003, 1.247, 200), np.linspace(-0.997, 1.747, 200)
    first = [[wp.depth(a, g).violated()[0].split(":")[0] for a in alphas] for g in gammas]
    kinds = np.array([[list(REGIONS).index(each) for each in row] for row in first])
    ax.pcolormesh(alphas, gammas, kinds, cmap=ListedColormap(list(REGIONS.values())), rasterized=True)
    for region, colour in REGIONS.items():
        ax.plot([], [], "s", color=colour, label="trivial" if region == "nontrivial" else f"not {region}")
    ax.plot([0.5, 1], [0.5, 0], color=COLOURS[2], lw=3, label="stable, nontrivial, faithful")
    ax.axvline(1, color="k", ls=":", lw=1, label="faithful up to here")
    ax.plot([], [], "o", color=COLOURS[2], label="passes the check of depth")
    ax.plot([], [], "o", color=COLOURS[1], label="fails it")
    ax.set(xlabel="alpha", ylabel="gamma", title="measured: exponent of the change of x")
    ax.legend(fontsize=7, loc="lower left", frameon=True)


def told(numbers: Any) -> str:
    """Numbers in a row."""
    return ", ".join(f"{number:g}" for number in numbers)


def linear(run: Run, size: Size, data: Any, name: str) -> Iterator[Outcome]:
    """Figures 8 and 9: linear residual networks against their limit."""
    few, k = np.asarray(data[0][:6], float), 6
    x = np.linalg.qr(few.T)[1].T[:, :k] / np.sqrt(few.shape[1])  # their coordinates: the same inner products
    y = np.where(data[1][:6] >= 5, 1.0, -1.0)[:, None]
    steps = max(size.times)
    batches = np.repeat(x[None], steps, 0), np.repeat(y[None], steps, 0)
    given: Any = {"loss": lambda f, y: jnp.mean((f - y) ** 2), "rate": 0.1, "x": x}
    net = limits.linear_resnet(k, 1, size.linear_depth)
    exact = limits.linear_limit(net, batches, **given)
    figure, axes = panels(3, width=4.0, height=3.6)
    slopes = []
    for colour, t in zip(COLOURS, size.times, strict=False):
        first = tuple(part[:t] for part in batches)
        errors = limits.width_errors(
            net, lambda p, first=first: limits.descend(net, p, first, **given)[0][-1], exact[t], key=run.seed,
            widths=size.widths, draws=size.draws,
        )  # fmt: skip
        slopes.append(limits.error_slope(size.widths, errors))
        rms = np.sqrt((errors**2).mean(1))
        axes[0].loglog(size.widths, rms, "o", color=colour, label=f"step {t}: {slopes[-1].value:.2f}")
        guide(axes[0], size.widths, rms, -0.5, color=colour)
    axes[0].plot([], [], "k--", lw=1, label="width^(-1/2)")
    axes[0].set(xlabel="width", ylabel="distance of outputs from the limit", title=f"depth {size.linear_depth}")
    found = [limits.linear_limit(limits.linear_resnet(k, 1, depth), batches, **given) for depth in size.linear_depths]
    twice = limits.linear_limit(limits.linear_resnet(k, 1, 2 * size.linear_depths[-1]), batches, **given)
    infinite = 2 * twice - found[-1]
    gaps = np.array([np.sqrt(np.mean((f[steps] - infinite[steps]) ** 2)) for f in found])
    deep = limits.error_slope(size.linear_depths, gaps[:, None])
    axes[1].loglog(size.linear_depths, gaps, "o", color=COLOURS[0], label=f"infinite width: {deep.value:.2f}")
    guide(axes[1], size.linear_depths, gaps, -1, color="k", label="1 / depth")
    axes[1].set(xlabel="depth", ylabel="distance from infinite depth", title=f"after {steps} steps")
    for colour, depth, f in zip(COLOURS, size.linear_depths, found, strict=False):
        axes[2].plot(np.mean((f - y) ** 2, axis=(1, 2)), ".-", color=colour, label=f"depth {depth}")
    axes[2].plot(np.mean((infinite - y) ** 2, axis=(1, 2)), "k--", label="infinite depth")
    axes[2].set(xlabel="step", ylabel="training loss", title="infinite width")
    labelled(axes[0], size.widths)
    labelled(axes[1], size.linear_depths)
    axes[2].legend()
    save(figure, run, "fig8_linear")
    note = f"+- {slopes[-1].half_width:.2f}; {told(round(s.value, 2) for s in slopes)} at steps {told(size.times)}"
    yield WIDE.check(slopes[-1].value, name, note)
    yield DEEP.check(deep.value, name, f"+- {deep.half_width:.2f}")


def guide(ax: Any, sizes: Any, values: Any, power: float, **how: Any) -> None:
    """A dashed line of a power through the middle of the values."""
    at = np.asarray(sizes, float) ** float(power)
    ax.loglog(sizes, at * np.exp(np.mean(np.log(values) - np.log(at))), "--", lw=1, **how)


def labelled(ax: Any, sizes: Any, title: str | None = None) -> None:
    """Ticks at the sizes alone, and the legend."""
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_xticks(sizes, [str(Fraction(float(n))) for n in sizes])
    ax.legend(title=title)


def transfer(run: Run, size: Size, data: Any, name: str) -> Iterator[Outcome]:
    """Figures 10 to 13: loss over learning rate."""
    sweeps = {
        kind: wn.lr_sweep(
            partial(residual, data[0].shape[1], scheme, BASE, WIDTH), size.depths, data, size.rates, steps=size.steps,
            seeds=size.seeds, batch_size=BATCH, key=run.seed, chunk=1, parametrization=wp.mup.with_depth(scheme),
            optimizer=wp.adam, infer={"stacked": "blocks", "branches": "blocks"},
        )
        for kind, scheme in list(SCHEMES.items())[: 2 if run.quick else None]
    }  # fmt: skip
    draw_sweeps(run, sweeps)
    best, at_zero, *others = sweeps.values()
    yield FIXED.check(best.drift.value, name, f"95 %: {best.drift}")
    yield MOVES.check(at_zero.drift.value, name, f"95 %: {at_zero.drift}")
    if run.quick:
        for claim in (LINEAR, DEEPER, WORSE):
            yield claim.skip("needs the full run")
        return
    linear, none = others
    yield LINEAR.check(linear.drift.value, name, f"95 %: {linear.drift}")
    yield DEEPER.check(lowest(best)[-1] / lowest(best)[0], name, f"losses {told(np.round(lowest(best), 3))}")
    note = f"losses {told(np.round(lowest(none), 3))}; drift {none.drift}"
    yield WORSE.check(lowest(none)[-1] / lowest(none)[0], name, note)


def lowest(sweep: Sweep) -> np.ndarray:
    """The loss at the best rate of every depth."""
    return sweep.loss.mean(-1).min(1)


def draw_sweeps(run: Run, sweeps: dict[str, Sweep]) -> None:
    """Loss over learning rate, a line a depth; dotted, the best rate."""
    figure, axes = panels(len(sweeps), width=3.4, height=3.4, sharey=True)
    for ax, (kind, sweep) in zip(axes, sweeps.items(), strict=True):
        for colour, depth, loss, best in zip(COLOURS, sweep.sizes, sweep.loss, sweep.optimum, strict=False):
            kept = np.isfinite(loss).all(-1)
            rates, runs = sweep.learning_rates[kept], loss[kept]
            ax.plot(rates, runs.mean(-1), ".-", color=colour, label=f"depth {depth}")
            ax.fill_between(rates, runs.min(-1), runs.max(-1), color=colour, alpha=0.15, lw=0)
            ax.axvline(best, color=colour, ls=":", lw=1)
        ax.set(title=f"{kind}\ndrift {sweep.drift.value:+.2f}", xlabel=f"learning rate of depth {BASE}", xscale="log")
    axes[0].set(ylabel="training loss\n(dotted: best rate, bands: seeds)", yscale="log", ylim=(0.15, 300))
    axes[0].legend()
    save(figure, run, "fig10_transfer")


def trained(scheme: wp.Depth, depth: int, data: Any, steps: int, key: int, *, two: bool) -> tuple[Any, Any]:
    """Parameters before and after `steps` of Adam."""
    features = data[0].shape[1]
    init, apply, _ = residual(features, scheme, 1, WIDTH, depth, two=two)
    sizes = (WIDTH, 8), (WIDTH, depth), (2 * WIDTH, 8)  # base, target, delta
    models = (partial(residual(features, scheme, 1, *n, two=two).init, jax.random.key(0)) for n in sizes)
    specs = wp.infer(*models, stacked="blocks", branches="blocks")
    found = wp.factors(specs, wp.mup.with_depth(scheme), wp.adam)
    optimizer = wp.parametrized(scale_by_adam(), found, RATE)
    x, y = (jnp.asarray(part) for part in data)

    def loss(params: Any, rows: Any) -> Any:
        logs = jax.nn.log_softmax(apply(params, x[rows]))
        return -jnp.mean(jnp.take_along_axis(logs, y[rows][:, None], 1))

    def step(carry: Any, key: Any) -> tuple[Any, None]:
        params, state = carry
        gradients = jax.grad(loss)(params, jax.random.randint(key, (BATCH,), 0, len(x)))
        updates, state = optimizer.update(gradients, state, params)
        return (jax.tree.map(jnp.add, params, updates), state), None

    start = init(jax.random.key(key))
    keys = jax.random.split(jax.random.key(key + 1000), steps)
    (end, _), _ = jax.jit(partial(jax.lax.scan, step))((start, optimizer.init(start)), keys)
    return start, end


def features(run: Run, size: Size, data: Any, name: str) -> Iterator[Outcome]:
    """Figures 17 to 19, diversity; and nonlinearity of blocks."""
    kinds = {"(1/2, 1/2)": wp.depth_sqrt, "(1, 0)": wp.depth_linear}
    (figure, axes), kappas, slopes = panels(2, width=4.8, height=3.8), {}, {}
    seeds = range(run.seed, run.seed + size.seeds - 1)
    for colour, (kind, scheme) in zip(COLOURS, kinds.items(), strict=False):
        for depth, style in zip(size.deep, ("^:", "o-")[-len(size.deep) :], strict=True):
            changes = np.array([diversity(scheme, depth, data, seed) for seed in seeds])
            found = [1 - np.polyfit(np.log(SHARES), np.log(each), 1)[0] for each in changes]
            kappas[kind] = float(np.mean(found))
            label = f"{kind}, depth {depth}: {kappas[kind]:.2f}"
            axes[0].loglog(SHARES, changes.mean(0), style, color=colour, label=label)
        guide(axes[0], SHARES, changes.mean(0), 1 - scheme.diversity, color=colour)
        errors = [np.mean([nonlinearity(scheme, depth, data, s) for s in seeds]) for depth in size.linearized]
        slopes[kind] = limits.error_slope(size.linearized, np.array(errors)[:, None])
        axes[1].loglog(size.linearized, errors, "o", color=colour, label=f"{kind}: {slopes[kind].value:.2f}")
        guide(axes[1], size.linearized, errors, -0.5 if scheme.linearizes else 0, color=colour)
    axes[0].plot([], [], "k--", lw=1, label="share^(1 - kappa): powers 1/2 and 1")
    axes[1].plot([], [], "k--", lw=1, label="powers -1/2 and 0")
    axes[0].set(xlabel="share of the depth", ylabel="change of x over it", title="diversity, after training")
    axes[1].set(xlabel="depth", ylabel="nonlinearity in its own weights", title="blocks of two layers")
    axes[0].set_ylim(bottom=axes[0].get_ylim()[0] / 10)  # room for the legend
    labelled(axes[0], SHARES, title="measured kappa")
    labelled(axes[1], size.linearized, title="measured exponent")
    save(figure, run, "fig17_features")
    for claim, kappa in zip((DIVERSE, REDUNDANT), kappas.values(), strict=True):
        yield claim.check(kappa, name, f"depth {size.deep[-1]}")
    for claim, found in zip((LAZY, RICH), slopes.values(), strict=True):
        yield claim.check(found.value, name, f"+- {found.half_width:.2f}, depths {told(size.linearized)}")


def diversity(scheme: wp.Depth, depth: int, data: Any, seed: int) -> np.ndarray:
    """Root mean square changes of the stream over shares of the depth, after training."""
    _, params = trained(scheme, depth, data, 40, seed, two=False)
    _, stream = jax.jit(residual(data[0].shape[1], scheme, 1, WIDTH, depth).stream)(params, data[0][:32])
    lags = [round(share * depth) for share in SHARES]
    return np.array([np.sqrt(np.mean((stream[lag:] - stream[:-lag]) ** 2)) for lag in lags])


def nonlinearity(scheme: wp.Depth, depth: int, data: Any, seed: int) -> float:
    """How far one step takes blocks, given the stream at the start, from their linearizations."""
    before, after = trained(scheme, depth, data, 1, seed, two=True)
    _, stream = residual(data[0].shape[1], scheme, 1, WIDTH, depth, two=True).stream(before, data[0][:8])
    return linearization_distance(jax.vmap(branch), before["blocks"], after["blocks"], stream)


if __name__ == "__main__":
    sys.exit(run(main, __file__))
