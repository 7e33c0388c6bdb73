"""Exact solutions to the nonlinear dynamics of learning in deep linear neural networks (Saxe et al.; ICLR 2014).

Paper: saxe2014
Figure: learning curves of singular modes, learning time by depth and initialization, singular values of products
Claim: the modes of a deep linear network are learned along known curves; from orthogonal or pretrained weights the
    number of steps does not grow with depth, from Gaussian ones it does, since their products lose most directions
Expected: half strength from 0.01 after 2.2976 (one hidden layer); curves within 2 %; steps within a factor of 1.3
Minutes: 2 (full, 2 cores), 0.5 (--quick, 2 cores)
Command: python paper_repro/deep_linear.py [--quick] [--out DIR] [--seed N]

As in the paper: whitened inputs, squared error, full-batch descent, time in units of 1/rate; learning rates are chosen
for each depth and initialization.  Weights are decoupled (the modes of the teacher) or small and random for the
curves; random orthogonal, pretrained (orthogonal along the teacher's modes) and Gaussian (variance 1/n) for the steps.
Not as in the paper: a random teacher of 10 outputs and 50 inputs with singular values from 2 to 0.5 (1 to 0.8 for
the steps), not digits; 50 units a layer, not 1000; depths of 2 to 32 matrices.  Learned means 0.1 % of the
teacher's squares; rates are a quarter of 1/(N s^(2 - 2/N)) or less, where modes do not jump.
What is expected: 2 % and 1.3 were set before the first run; products of Gaussian matrices have the densities of
free probability (J4), whose largest squares are (N + 1)^(N + 1)/N^N.
The rate N s^(2 - 2/N) of a mode near its target says that a teacher whose singular values differ by a factor r takes
r^(2 - 2/N) as long for the last as for the first: r times more with many layers than with two, from any weights.
Found: steps from orthogonal weights grow by a third from 2 to 4 matrices, and by no more than a fifth from there to 32;
in theory too, N t grows from two matrices on towards a limit (right panel).
For small random weights the curve begins at |a + b|^2/4, where a and b are the parts of the first and the last layer in
a mode: so much of them grows as exp(s t).
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
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save

INPUTS, OUTPUTS = 50, 10
SHOWN = (0, 3, 6, 9)  # modes
START = 0.05  # of decoupled weights
LEARNED = 1e-3  # of |T|^2
SMALL_STEP = 0.02  # of the time in which the fastest mode changes
POINTS = 80  # of a curve
RANDOM = 0.01  # standard deviation of small random weights
CAP = 1500  # steps
DEEP = 4  # matrices
RATES = 2.0 ** np.arange(-7, -1)  # in units of 1/(N s^(2 - 2/N)), s the largest: 2 is unstable
FIXED = 0.05  # of these units, where descent is compared with the flow


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    curves: tuple[int, ...]  # matrices
    seeds: int
    depths: tuple[int, ...]  # matrices
    products: tuple[int, ...]  # matrices
    product_width: int
    draws: int


FULL = Size((2, 4, 8, 32), 5, (2, 4, 8, 16, 32), (1, 5, 20, 100), 200, 5)
QUICK = Size((2, 4, 8), 2, (4, 16), (1, 5, 20), 150, 2)

HALF_TIME = Claim("theory", "time from 0.01 to 0.5 of s = 1, one hidden layer", about(2.2976, 1e-4))
INFINITE = Claim("theory", "N t from 0.2 to 1.1 of s = 1.3, 10^5 layers, over the limit in closed form", about(1, 1e-3))
CURVES = Claim("curves", "largest gap of a mode to its curve, over its target, any depth", at_most(0.02))
HALVES = Claim("curves", "small random weights: half-time of modes over the curve's, mean", about(1.0, 0.1))
FLAT = {
    "orthogonal": Claim("learning time", "orthogonal: most over fewest steps, 4 matrices or more", at_most(1.3)),
    "pretrained": Claim("learning time", "pretrained: most over fewest steps, 4 matrices or more", at_most(1.3)),
}
FLOW = Claim("learning time", "pretrained: time over that of the exact curves, at worst", about(1.0, 0.1))
GROWS = Claim("learning time", "Gaussian: steps of the deepest over those of the shallowest", at_least(3.0))
SHARES = Claim("products", "share of singular values below 0.1, networks over theory, at worst", about(1.0, 0.1))
LARGEST = Claim("products", "largest square over (N + 1)^(N + 1)/N^N, up to 5 matrices, at worst", about(1.0, 0.15))
ISOMETRY = Claim("products", "orthogonal: largest |singular value - 1|, any depth", at_most(1e-4))

Weights = tuple[Any, Any]  # hidden layers `[N - 1, fan_in, fan_out]`, and the last one


def main(run: Run) -> Iterator[Outcome]:
    """Curves, steps by depth, and products of random matrices."""
    size = QUICK if run.quick else FULL
    yield HALF_TIME.check(wn.learning_time(1.0, 0.01, 0.5, matrices=2))
    yield infinite_depth()
    yield from curves(run, size)
    yield from learning_times(run, size)
    yield from products(run, size)


def infinite_depth() -> Outcome:
    """The learning time of very many layers."""
    s, u0, u, count = 1.3, 0.2, 1.1, 10**5
    limit = np.log(u * (s - u0) / (u0 * (s - u))) / s**2 + (1 / u0 - 1 / u) / s
    return INFINITE.check(count * wn.learning_time(s, u0, u, matrices=count) / limit)


def teacher_of(seed: int, largest: float, smallest: float) -> np.ndarray:
    """A matrix `[outputs, inputs]` with random singular vectors."""
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=(n, OUTPUTS)))[0] for n in (OUTPUTS, INPUTS))
    return (u * np.linspace(largest, smallest, OUTPUTS)) @ v.T


def product(weights: Weights) -> Any:
    """W_1 W_2 ... W_N `[inputs, outputs]`, the transpose of what the teacher is."""
    hidden, last = weights
    return jax.lax.scan(lambda h, w: (h @ w, None), jnp.eye(INPUTS, dtype=last.dtype), hidden)[0] @ last


def cost(weights: Weights, teacher: Any) -> Any:
    """|T - W_N ... W_1|^2 / 2."""
    return jnp.sum((teacher - product(weights).T) ** 2) / 2


def descended(weights: Weights, teacher: Any, rate: Any) -> Weights:
    """One step of gradient descent."""
    return jax.tree.map(lambda w, g: w - rate * g, weights, jax.grad(cost)(weights, teacher))


@partial(jax.jit, static_argnames="every")
def modes_along(weights: Weights, teacher: Any, rate: Any, *, every: int) -> Any:
    """The strengths of the teacher's modes after every so many steps `[POINTS, modes]`."""
    u, _, vt = jnp.linalg.svd(teacher, full_matrices=False)

    def stretch(w: Weights, _: Any) -> tuple[Weights, Any]:
        strengths = jnp.sum((vt @ product(w)) * u.T, axis=1)
        return jax.lax.fori_loop(0, every, lambda _, w: descended(w, teacher, rate), w), strengths

    return jax.lax.scan(stretch, weights, length=POINTS)[1]


def layers(matrices: Any) -> Weights:
    """Weights in the form of `product`."""
    *hidden, last = (jnp.asarray(w, jnp.float32) for w in matrices)
    return jnp.stack(hidden), last


def speed(count: int, s: float) -> float:
    """The rate at which a mode that is nearly learned comes closer, N s^(2 - 2/N)."""
    return count * s ** (2 - 2 / count)


def curves(run: Run, size: Size) -> Iterator[Outcome]:
    """Strengths of modes in networks beside the exact curves."""
    teacher = teacher_of(run.seed, 2.0, 0.5)
    figure, axes = panels(len(size.curves) + 1, width=3.4, height=3.5)
    gaps = {}
    for ax, count in zip(axes, progress(size.curves, "curves"), strict=False):
        weights = wn.decoupled_weights(teacher, [INPUTS] * (count - 1), START, key=run.seed)
        last = wn.learning_time(weights.target[-1], START, 0.95 * weights.target[-1], matrices=count)
        rate = SMALL_STEP / speed(count, weights.target[0])
        every = int(np.ceil(last / rate / POINTS))
        found = np.asarray(modes_along(layers(weights.matrices), jnp.asarray(teacher, jnp.float32), rate, every=every))
        times = np.arange(POINTS)[:, None] * every * rate
        expected = wn.mode_curve(weights.target, START, times, matrices=count)
        gaps[count] = float(np.max(np.abs(found - expected) / weights.target))
        draw_curves(ax, times[:, 0], found, expected, weights.target)
        ax.set_title(f"{count} matrices, decoupled")
    halves = random_start(run, size, teacher, axes[-1])
    axes[0].set_ylabel("strength of a mode of the product")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    save(figure, run, "curves")
    yield CURVES.check(max(gaps.values()), note=", ".join(f"{gap:.2g} with {n} matrices" for n, gap in gaps.items()))
    note = f"{size.seeds} networks, 10 modes, spread {halves.std(ddof=1):.2g}, one hidden layer"
    yield HALVES.check(halves.mean(), note=note)


def draw_curves(ax: Any, times: np.ndarray, found: np.ndarray, expected: np.ndarray, target: np.ndarray) -> None:
    """Lines of theory and points of networks, for some modes."""
    for colour, mode in zip(COLOURS, SHOWN, strict=False):
        ax.plot(times, expected[:, mode], color=colour, label=f"s = {target[mode]:.2g}")
        ax.plot(times[::4], found[::4, mode], "o", color=colour, ms=3.5, fillstyle="none")
    ax.plot([], [], "ko", ms=3.5, fillstyle="none", label="networks (lines: theory)")
    ax.set(xlabel="time, steps times rate")


def random_start(run: Run, size: Size, teacher: np.ndarray, ax: Any) -> np.ndarray:
    """One hidden layer from small random weights: times to half strength over those of the curves."""
    u, target, vt = np.linalg.svd(teacher, full_matrices=False)
    ratios = []
    for i in range(size.seeds):
        rng = np.random.default_rng((run.seed, i))
        first, last = RANDOM * rng.normal(size=(INPUTS, INPUTS)), RANDOM * rng.normal(size=(INPUTS, OUTPUTS))
        start = np.sum((vt @ first + (last @ u).T) ** 2, axis=1) / 4
        rate = SMALL_STEP / speed(2, target[0])
        end = wn.learning_time(target[-1], start[-1], 0.95 * target[-1], matrices=2)
        every = int(np.ceil(end / rate / POINTS))
        times = np.arange(POINTS) * every * rate
        given = layers((first, last)), jnp.asarray(teacher, jnp.float32), rate
        found = np.asarray(modes_along(*given, every=every))
        halves = [np.interp(s / 2, mode, times) for s, mode in zip(target, np.maximum.accumulate(found).T, strict=True)]
        ratios.append(halves / wn.learning_time(target, start, target / 2, matrices=2))
        if i == 0:
            draw_curves(ax, times, found, wn.mode_curve(target, start, times[:, None], matrices=2), target)
            ax.set_title("2 matrices, small and random")
    return np.array(ratios)


@partial(jax.jit, static_argnames="cap")
def steps_to_learn(weights: Weights, teacher: Any, rate: Any, *, cap: int) -> Any:
    """Steps until the cost is LEARNED of that of nothing; `cap` if it is not."""
    goal = LEARNED * jnp.sum(teacher**2) / 2

    def unfinished(state: tuple[Weights, Any]) -> Any:
        now = cost(state[0], teacher)
        return (now > goal) & (state[1] < cap) & jnp.isfinite(now)

    def step(state: tuple[Weights, Any]) -> tuple[Weights, Any]:
        return descended(state[0], teacher, rate), state[1] + 1

    weights, steps = jax.lax.while_loop(unfinished, step, (weights, jnp.zeros((), int)))
    return jnp.where(cost(weights, teacher) <= goal, steps, cap)


def drawn(kind: str, count: int, teacher: np.ndarray, seed: int) -> Weights:
    """Initial weights of `count` matrices."""
    if kind == "pretrained":
        return layers(wn.decoupled_weights(teacher, [INPUTS] * (count - 1), 1.0, key=seed).matrices)
    law = {"orthogonal": wn.initializers.orthogonal(), "Gaussian": wn.initializers.normal()}[kind]
    own = jax.random.split(jax.random.key(seed), count)
    shapes = [(INPUTS, INPUTS)] * (count - 1) + [(INPUTS, OUTPUTS)]
    return layers([law(key, shape) for key, shape in zip(own, shapes, strict=True)])


def learning_times(run: Run, size: Size) -> Iterator[Outcome]:
    """Steps to learn at the best rate, by depth and initialization, and what the theory says of decoupled weights."""
    teacher = teacher_of(run.seed, 1.0, 0.8)
    steps = {}
    cells = [(kind, count) for count in size.depths for kind in ("orthogonal", "pretrained", "Gaussian")]
    for kind, count in progress(cells, "learning times"):
        rates = RATES / speed(count, 1.0)
        given = [drawn(kind, count, teacher, 1000 * run.seed + i) for i in range(size.seeds)]
        small = jnp.asarray(teacher, jnp.float32)
        found = [[int(steps_to_learn(w, small, rate, cap=CAP)) for rate in rates] for w in given]
        steps[kind, count] = np.array(found).min(axis=1)
    draw_learning_times(run, size, steps)
    for kind, claim in FLAT.items():
        means = [steps[kind, count].mean() for count in size.depths if count >= DEEP]
        yield claim.check(max(means) / min(means), note=told(kind, steps))
    ratios = {count: flow_time(teacher, count, run.seed) for count in size.depths}
    note = ", ".join(f"{ratio:.3f} of {count} matrices" for count, ratio in ratios.items())
    yield FLOW.check(max(ratios.values(), key=lambda ratio: abs(ratio - 1)), note=note)
    first, last = (steps["Gaussian", count].mean() for count in (size.depths[0], size.depths[-1]))
    yield GROWS.check(last / first, note=f"{told('Gaussian', steps)}; at most {CAP} were tried")


def flow_time(teacher: np.ndarray, count: int, seed: int) -> float:
    """Time of descent with a small rate, from pretrained weights, over that of the exact curves."""
    rate, target = FIXED / speed(count, 1.0), np.linalg.svd(teacher, compute_uv=False)
    small = jnp.asarray(teacher, jnp.float32)
    times = np.arange(CAP)[:, None] * rate
    left = np.sum((target - wn.mode_curve(target, 1.0, times, matrices=count)) ** 2, axis=1)
    expected = times[np.argmax(left <= LEARNED * np.sum(target**2)), 0]
    return float(steps_to_learn(drawn("pretrained", count, teacher, seed), small, rate, cap=CAP) * rate / expected)


def told(kind: str, steps: dict[tuple[str, int], np.ndarray]) -> str:
    """Mean steps by depth."""
    return "steps " + ", ".join(f"{found.mean():.0f} at {n}" for (name, n), found in steps.items() if name == kind)


def draw_learning_times(run: Run, size: Size, steps: dict[tuple[str, int], np.ndarray]) -> None:
    """Steps of networks; and times of a mode in theory, in units of the largest stable rate."""
    figure, axes = panels(2, width=4.8, height=3.9)
    for colour, kind in zip(COLOURS, ("orthogonal", "pretrained", "Gaussian"), strict=False):
        found = np.array([steps[kind, count] for count in size.depths])
        spread = found.std(axis=1, ddof=1)
        axes[0].errorbar(size.depths, found.mean(1), spread, fmt="o-", color=colour, label=kind, capsize=3)
    axes[0].set_yscale("log")
    axes[0].set_xscale("log", base=2)
    axes[0].set_xticks(size.depths, [str(count) for count in size.depths])
    axes[0].set(xlabel="matrices", ylabel="steps at the best rate", title=f"networks, {size.seeds} each")
    depths = np.arange(2, 33)
    for colour, (name, start) in zip(
        COLOURS[3:], (("$u_0 = 0.9$", 0.9), ("$u_0 = 0.1$", 0.1), ("$u_0 = 0.01$", 0.01)), strict=False
    ):
        times = [n * wn.learning_time(1.0, start, 0.99, matrices=int(n)) for n in depths]
        axes[1].semilogy(depths, times, color=colour, label=name)
    shrinking = [n * wn.learning_time(1.0, 0.8**n, 0.99, matrices=int(n)) for n in depths]
    axes[1].semilogy(depths, shrinking, "--", color=COLOURS[6], label=r"$u_0 = 0.8^N$: small layers")
    axes[1].set(xlabel="matrices $N$", ylabel="$N t$ to 99 % of $s = 1$", title="theory, decoupled weights")
    for ax in axes:
        ax.legend()
    save(figure, run, "learning_times")


def products(run: Run, size: Size) -> Iterator[Outcome]:
    """Singular values of products of Gaussian and of orthogonal matrices."""
    n = size.product_width
    figure, axes = panels(len(size.products), width=3.4, height=3.4)
    bins = np.arange(-5, 1.01, 0.15)
    fine = np.linspace(-5, 1, 240)
    shares, largest, off = {}, {}, 0.0
    for ax, count in zip(axes, progress(size.products, "products"), strict=True):
        found = {kind: singular_values(kind, count, n, size.draws, run.seed) for kind in ("normal", "orthogonal")}
        values = found["normal"]
        spectrum = wn.jacobian_spectrum(wn.zoo.mlp(wn.identity, count - 1, sigma_w=1.0))
        off = max(off, float(np.abs(found["orthogonal"] - 1).max()))
        if count <= n // 10:
            above = np.linspace(-1, 1, 400)
            shares[count] = np.mean(values < 0.1) / (1 - np.trapezoid(log_density(spectrum, above), above))
        if count <= n // 30:
            largest[count] = np.max(values**2, axis=1).mean() / spectrum.upper_edge
        ax.hist(np.log10(values.ravel()), bins, density=False, weights=np.full(values.size, 1 / values.size / 0.15))
        ax.plot(fine, log_density(spectrum, fine), color=COLOURS[1])
        ax.axvline(0.0, color=COLOURS[2], ls="--")
        ax.set(xlabel=r"$\log_{10}$ singular value", title=f"{count} {'matrix' if count == 1 else 'matrices'}")
        ax.set_xlim(-5, 1)
    axes[0].set_ylabel("density")
    labels = [f"Gaussian, {size.draws} products, n = {n}", "infinite width", "orthogonal: all are 1"]
    handles = [axes[0].patches[0], axes[0].lines[0], axes[0].lines[1]]
    figure.legend(handles, labels, loc="outside lower center", ncols=3)
    save(figure, run, "products")
    for claim, ratios in ((SHARES, shares), (LARGEST, largest)):
        note = ", ".join(f"{ratio:.3f} of {count}" for count, ratio in ratios.items())
        yield claim.check(max(ratios.values(), key=lambda ratio: abs(ratio - 1)), note=f"{note} matrices, n = {n}")
    yield ISOMETRY.check(off)


def log_density(spectrum: Any, logs: np.ndarray) -> np.ndarray:
    """The density of the decimal logarithms of singular values."""
    return 10**logs * np.log(10) * spectrum.singular_density(10**logs)


def singular_values(kind: str, count: int, n: int, draws: int, seed: int) -> np.ndarray:
    """Singular values of products of random matrices `[draws, n]`."""
    law = getattr(wn.initializers, kind)()
    values = []
    for i in range(draws):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), i), count)
        made = np.eye(n)
        for key in keys:
            made = made @ np.asarray(law(key, (n, n)), np.float64)
        values.append(np.linalg.svd(made, compute_uv=False))
    return np.array(values)


if __name__ == "__main__":
    sys.exit(run(main, __file__))
