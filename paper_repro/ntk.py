"""Neural tangent kernel: convergence and generalization in neural networks (Jacot, Gabriel, Hongler; NeurIPS 2018).

Paper: jacot2018
Figure: 1, 2, 3a, 3b, 3c
Claim: the NTK of a wide network is nearly deterministic and nearly constant in training, trained networks have the
    Gaussian distribution of the limit, and gradient descent moves along kernel principal components, one rate each
Expected: eigenvalues 0.0457, 0.00108, 0.00078 of 512 MNIST digits; deviation from the straight line 0.14 at width 100
Minutes: 6 (full, 4 cores), 0.7 (--quick, 2 cores)
Command: python paper_repro/ntk.py [--quick] [--out DIR] [--seed N]

As in the paper: ReLU without a gain, beta = 0.1 (sigma_w = 1, sigma_b = 0.1), full-batch gradient descent on
C = |f - f*|^2 / (2 N), all widths equal.  "L = 4" is read as 3 hidden layers in figures 1 and 2 and as 4 in figure 3:
only so do the limit's range in figure 1 and its eigenvalues in figure 3 come out.
Not as in the paper: width 10000 is replaced by 2000; the learning rate is 1 in figures 1 and 2 but about 7 in figure
3, where t = steps x rate (at width 100, rate 1 gives the same curves to 0.003); the 100 inputs of figure 1, the four
points of figure 2 (x1 x2 on the circle) and the batches of 512 digits are our own draws.  The tolerances of the
eigenvalues are two standard deviations between batches.
What is expected: the eigenvalues are printed in the paper, 0.14 and all orderings are read off its figures; the rest
follows from the theory (the limit, its percentiles, width^-0.5) or was measured by a second implementation, in numpy
(1.17, 1.03, 1.13).
Data: MNIST, if the folder WIDENET_DATA has it; else scikit-learn's digits, which leave the claims on MNIST unchecked.
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
from matplotlib.axes import Axes

import widenet as wn
from widenet.datasets import mnist_or_digits
from widenet.predict import gradient_flow, kernel_pca
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_most, panels, run, save

BETA = 0.1
HIDDEN = wn.serial(wn.dense(sigma_w=1.0, sigma_b=BETA), wn.relu)
READOUT = wn.dense(sigma_w=1.0, sigma_b=BETA, width=1)
CIRCLE_NET = wn.serial(*[HIDDEN] * 3, READOUT)
DIGIT_NET = wn.serial(*[HIDDEN] * 4, READOUT)

ANGLES = np.linspace(-np.pi, np.pi, 121)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1)
ORIGIN = np.array([[1.0, 0.0]])
KERNEL_STEPS, KERNEL_POINTS = 200, 100
SPREAD_NETWORKS = 40  # of which some are trained
FOUR_ANGLES = np.array([-2.4, -0.8, 0.5, 1.7])
FUNCTION_STEPS = 1000
NORMAL_P90 = 1.2815515655446004
DIGITS = 512
JUMP = 0.5  # the target of figure 3 is f_0 + 0.5 f^(2)
LINE_TIME, LINE_POINTS = 4000.0, 100
LINE_CAUTION = (
    6  # narrow networks have larger kernels: so much below the largest stable rate of the limit, 2 / lambda_1
)
MNIST = "MNIST"


@dataclass(frozen=True)
class Size:
    """How much of it is computed: widths from narrow to wide, networks of each."""

    kernel_widths: tuple[int, ...]
    trained_kernels: int
    function_widths: tuple[int, ...]
    function_networks: int
    line_widths: tuple[int, ...]
    line_networks: int
    batches: int  # of digits


FULL = Size((500, 2000), 10, (50, 1000), 30, (100, 1000, 2000), 2, 8)
QUICK = Size((100, 400), 10, (50, 200), 30, (100, 400), 2, 4)

LIMIT_AT_0 = Claim("fig. 1", "limit NTK on the circle at angle 0", about(0.2825, 1e-4))
LIMIT_AT_PI = Claim("fig. 1", "limit NTK on the circle at angle pi", about(0.0644, 1e-4))
MEAN_KERNEL = Claim("fig. 1", "largest |mean NTK - limit| at t = 0, widest nets, in standard errors", at_most(4.0))
VARIANCE = Claim("fig. 1", "exponent of width in the spread of the NTK between networks", about(-0.5, 0.3))
INFLATION = Claim("fig. 1", "growth of NTK(x0, x0) in 200 steps at width 500", about(1.17, 0.1))
FIXED = Claim("fig. 1", "growth - 1 of the NTK in training, widest over narrowest nets", at_most(0.5))
SPREAD = Claim("fig. 2", "spread of f(T) over that of the limit, widest nets", about(1.03, 0.2))
NARROW_SPREAD = Claim("fig. 2", "spread of f(T) over that of the limit, narrowest nets", about(1.13, 0.3))
COVERAGE = Claim("fig. 2", "share of f(T) between the limit's P10 and P90, widest nets", about(0.8, 0.1))
FITTED = Claim("fig. 2", "largest training error at T of any network", at_most(1e-3))
EIGENVALUES = (
    Claim("fig. 3a", "1st eigenvalue of the NTK of 512 digits", about(0.0457, 0.0006)),
    Claim("fig. 3a", "2nd eigenvalue of the NTK of 512 digits", about(0.00108, 0.00016)),
    Claim("fig. 3a", "3rd eigenvalue of the NTK of 512 digits", about(0.00078, 0.00010)),
)
CONSTANT = Claim("fig. 3a", "1st principal component: spread over mean", at_most(0.2))
DEVIATION = Claim("fig. 3b", "largest deviation from the straight line at width 100", about(0.14, 0.03))
STRAIGHTER = Claim("fig. 3b", "largest deviation from the line, widest over narrowest nets", at_most(0.9))
NARROW_FASTER = Claim("fig. 3c", "what is left of the jump at t = 1/lambda_2, narrowest over widest nets", at_most(0.9))
EXPONENTIAL = Claim("fig. 3c", "largest gap to 0.5 exp(-lambda_2 t), widest over narrowest nets", at_most(0.9))


def main(run: Run) -> Iterator[Outcome]:
    """Figures 1, 2 and 3, and a verdict a claim."""
    size = QUICK if run.quick else FULL
    yield from figure_1(run, size)
    yield from figure_2(run, size)
    yield from figure_3(run, size)


def keys(seed: int, figure: int, width: int, networks: int) -> list[Any]:
    """One key a network, the same ones whatever else is run."""
    return list(jax.random.split(jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), figure), width), networks))


@partial(jax.jit, static_argnames=("net", "steps", "every"))
def descend(net: Any, params: Any, x: Any, y: Any, rate: float, *, steps: int, every: int) -> tuple[Any, Any]:
    """Full-batch gradient descent on |f - y|^2 / (2 N): the last parameters, and f(x) after `every` so many steps."""

    def loss(p: Any) -> Any:
        return jnp.mean((wn.apply(net, p, x)[:, 0] - y) ** 2) / 2

    def step(p: Any, _: Any) -> tuple[Any, None]:
        return jax.tree.map(lambda w, g: w - rate * g, p, jax.grad(loss)(p)), None

    def stretch(p: Any, _: Any) -> tuple[Any, Any]:
        p, _ = jax.lax.scan(step, p, length=every)
        return p, wn.apply(net, p, x)[:, 0]

    return jax.lax.scan(stretch, params, length=steps // every)


def figure_1(run: Run, size: Size) -> Iterator[Outcome]:
    """The NTK on the circle, before and after training, at two widths."""
    limit = wn.kernel(CIRCLE_NET)(ORIGIN, CIRCLE).ntk[0]
    curves = {n: kernels_of_width(run.seed, n, size.trained_kernels) for n in size.kernel_widths}
    draw_kernels(run, curves, limit)
    data, at_0, at_pi = f"{KERNEL_POINTS} draws of N(0, I_2)", len(ANGLES) // 2, 0
    yield LIMIT_AT_0.check(limit[at_0])
    yield LIMIT_AT_PI.check(limit[at_pi])
    yield MEAN_KERNEL.check(deviation(curves[size.kernel_widths[-1]][0], limit))
    spreads = [float(np.linalg.norm(start.std(0, ddof=1))) for start, _ in curves.values()]
    yield VARIANCE.check(exponent(size.kernel_widths, spreads), note=f"{SPREAD_NETWORKS} networks a width")
    growth = [end[:, at_0].mean() / start[: len(end), at_0].mean() for start, end in curves.values()]
    yield INFLATION.skip("needs the full run") if run.quick else INFLATION.check(growth[0], data)
    note = ", ".join(f"x {g:.3f} at width {n}" for g, n in zip(growth, curves, strict=True))
    yield FIXED.check((growth[1] - 1) / (growth[0] - 1), data, note)


def kernels_of_width(seed: int, width: int, trained: int) -> tuple[np.ndarray, np.ndarray]:
    """NTK(x0, circle) of networks at t = 0 `[40, angles]`, and of the first ones after training `[trained, angles]`."""
    draws = keys(seed, 1, width, SPREAD_NETWORKS)
    x = jax.random.normal(jax.random.key(seed), (KERNEL_POINTS, 2), jnp.float32)
    start = [np.asarray(kernel_at_start(key, width)) for key in progress(draws, f"figure 1, width {width}")]
    draws = progress(draws[:trained], f"figure 1, width {width}, trained")
    end = [np.asarray(kernel_at_end(key, x, width)) for key in draws]
    return np.array(start, np.float64), np.array(end, np.float64)


@partial(jax.jit, static_argnames="width")
def kernel_at_start(key: Any, width: int) -> Any:
    """NTK(x0, circle) of a random network."""
    return circle_ntk(wn.init(CIRCLE_NET, key, CIRCLE.shape, width, dtype=jnp.float32))


@partial(jax.jit, static_argnames="width")
def kernel_at_end(key: Any, x: Any, width: int) -> Any:
    """NTK(x0, circle) of the same network after training on x1 x2."""
    start = wn.init(CIRCLE_NET, key, x.shape, width, dtype=jnp.float32)
    return circle_ntk(descend(CIRCLE_NET, start, x, x[:, 0] * x[:, 1], 1.0, steps=KERNEL_STEPS, every=KERNEL_STEPS)[0])


def circle_ntk(params: Any) -> Any:
    """NTK(x0, x) of one network for x on the circle."""
    x0, circle = (jnp.asarray(x, jnp.float32) for x in (ORIGIN, CIRCLE))
    return wn.empirical_ntk(CIRCLE_NET, params)(x0, circle)[0]


def exponent(widths: tuple[int, ...], values: list[float]) -> float:
    """The power of width that goes through the narrowest and the widest."""
    return float(np.log(values[-1] / values[0]) / np.log(widths[-1] / widths[0]))


def deviation(samples: np.ndarray, mean: np.ndarray) -> float:
    """How far the mean of `samples` is from `mean`, at worst, in standard errors."""
    return float(np.max(np.abs(samples.mean(0) - mean) / (samples.std(0, ddof=1) / np.sqrt(len(samples)))))


def draw_kernels(run: Run, curves: dict[int, Any], limit: np.ndarray) -> None:
    """A panel a width: the trained networks at t = 0 and t = 200, and the limit."""
    figure, axes = panels(len(curves), sharey=True)
    for ax, (width, (start, end)) in zip(axes, curves.items(), strict=True):
        for networks, colour, t in ((start[: len(end)], COLOURS[0], 0), (end, COLOURS[1], KERNEL_STEPS)):
            ax.plot(ANGLES, networks.T, color=colour, lw=0.9, alpha=0.6)[0].set_label(f"t = {t}")
        ax.plot(ANGLES, limit, "k--", lw=1.8, label="limit")
        ax.set(title=f"width {width}, {len(end)} networks", xlabel=r"angle $\gamma$")
        mark_angles(ax)
    axes[0].set_ylabel(r"NTK$(x_0, x(\gamma))$")
    axes[0].legend(loc="upper left")
    save(figure, run, "fig1_kernel")


def mark_angles(ax: Axes) -> None:
    """Ticks at multiples of pi / 2."""
    ax.set_xticks(np.pi * np.array([-1, -0.5, 0, 0.5, 1]), [r"$-\pi$", r"$-\pi/2$", "0", r"$\pi/2$", r"$\pi$"])


def figure_2(run: Run, size: Size) -> Iterator[Outcome]:
    """Trained networks on the circle against the Gaussian process of the limit."""
    x = np.stack([np.cos(FOUR_ANGLES), np.sin(FOUR_ANGLES)], axis=1)
    y = x[:, 0] * x[:, 1]
    mean, spread = limit_functions(x, y)
    found = {n: trained_functions(run.seed, n, size.function_networks, x, y) for n in size.function_widths}
    functions, errors = ({n: part[i] for n, part in found.items()} for i in (0, 1))
    draw_functions(run, functions, mean, spread, y)
    data = f"{len(x)} points on the circle"
    narrow, wide = (functions[n] for n in size.function_widths)
    yield SPREAD.check(relative_spread(wide, spread), data)
    yield NARROW_SPREAD.check(relative_spread(narrow, spread), data)
    yield COVERAGE.check(np.mean(np.abs(wide - mean) <= NORMAL_P90 * spread), data)
    yield FITTED.check(max(error.max() for error in errors.values()), data)


def limit_functions(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation on the circle, at time T, of networks of infinite width."""
    train, cross, test = (wn.kernel(CIRCLE_NET)(*pair) for pair in ((x,), (CIRCLE, x), (CIRCLE,)))
    flow = gradient_flow(train.ntk, y)
    covariance = flow.covariance(cross.ntk, train.nngp, cross.nngp, test.nngp, FUNCTION_STEPS)
    return flow.mean(cross.ntk, FUNCTION_STEPS), np.sqrt(np.maximum(np.diag(covariance), 0.0))


def trained_functions(seed: int, width: int, networks: int, x: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Trained networks on the circle `[networks, angles]`, and their largest training errors `[networks]`."""
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    draws = progress(keys(seed, 2, width, networks), f"figure 2, width {width}")
    found = [jax.device_get(trained_function(key, x, y, width)) for key in draws]
    return np.array([f for f, _ in found]), np.array([error for _, error in found])


@partial(jax.jit, static_argnames="width")
def trained_function(key: Any, x: Any, y: Any, width: int) -> tuple[Any, Any]:
    """One trained network on the circle, and its largest training error."""
    start = wn.init(CIRCLE_NET, key, x.shape, width, dtype=jnp.float32)
    end, fit = descend(CIRCLE_NET, start, x, y, 1.0, steps=FUNCTION_STEPS, every=FUNCTION_STEPS)
    return wn.apply(CIRCLE_NET, end, jnp.asarray(CIRCLE, jnp.float32))[:, 0], jnp.max(jnp.abs(fit[-1] - y))


def relative_spread(functions: np.ndarray, spread: np.ndarray) -> float:
    """Standard deviation over networks, root mean square on the circle, relative to that of the limit."""
    return float(np.sqrt(np.mean(functions.var(0, ddof=1)) / np.mean(spread**2)))


def draw_functions(run: Run, functions: dict[int, np.ndarray], mean: Any, spread: Any, y: np.ndarray) -> None:
    """Ten networks a width, with the percentiles of the limit."""
    figure, axes = panels(len(functions), sharey=True)
    for ax, colour, (width, networks) in zip(axes, COLOURS, functions.items(), strict=False):
        p10, p90 = mean - NORMAL_P90 * spread, mean + NORMAL_P90 * spread
        ax.fill_between(ANGLES, p10, p90, color="0.85", label="limit, P10 to P90")
        ax.plot(ANGLES, mean, "k--", lw=1.8, label="limit, P50")
        lines = ax.plot(ANGLES, networks[:10].T, color=colour, lw=0.9, alpha=0.7)
        lines[0].set_label("10 networks")
        ax.plot(FOUR_ANGLES, y, "ko", ms=5)
        ax.set(title=f"width {width}, after {FUNCTION_STEPS} steps", xlabel=r"angle $\gamma$")
        mark_angles(ax)
        ax.legend(loc="lower right")
    axes[0].set_ylabel(r"$f(\cos\gamma, \sin\gamma)$")
    save(figure, run, "fig2_function")


def figure_3(run: Run, size: Size) -> Iterator[Outcome]:
    """Kernel principal components of digits, and gradient descent along the second."""
    images, labels, _, _, data = mnist_or_digits()
    inputs, count = images.reshape(len(images), -1), min(size.batches, len(images) // DIGITS)
    batches = np.random.default_rng(run.seed).permutation(len(images))[: count * DIGITS].reshape(count, DIGITS)
    spectra = [components(inputs[batch]) for batch in progress(batches, "figure 3, batches of digits")]
    values, vectors = spectra[0]
    draw_components(run, values, vectors, labels[batches[0]], data)
    yield from eigenvalue_claims(np.stack([values for values, _ in spectra]), data)
    yield CONSTANT.check(np.std(vectors[:, 0]) / np.abs(np.mean(vectors[:, 0])), data)
    yield from straight_lines(run, size, inputs[batches[0]], values, vectors[:, 1], data)


def components(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first three eigenvalues of the NTK, as an operator on functions of the data, and eigenfunctions of norm 1."""
    values, vectors = kernel_pca(wn.ntk(DIGIT_NET)(x), 3)
    signs = np.sign(vectors[np.argmax(np.abs(vectors), axis=0), range(3)])  # a machine chooses either
    return values, vectors * signs * np.sqrt(len(x))


def eigenvalue_claims(values: np.ndarray, data: str) -> Iterator[Outcome]:
    """The paper's eigenvalues, which are of one batch, against the mean of ours."""
    for claim, mean, spread in zip(EIGENVALUES, values.mean(0), values.std(0, ddof=1), strict=True):
        note = f"mean of {len(values)} batches, which differ by {spread:.2g}"
        yield claim.check(mean, data, note) if data == MNIST else claim.skip(f"needs {MNIST}")


def draw_components(run: Run, values: np.ndarray, vectors: np.ndarray, labels: np.ndarray, data: str) -> None:
    """Second against third component, a colour a digit."""
    figure, (ax,) = panels(1, width=5.2, height=4.2)
    for digit in range(10):
        ax.plot(vectors[labels == digit, 1], vectors[labels == digit, 2], ls="", marker=f"${digit}$", ms=6, mew=0.2)
    ax.set_xlabel(rf"$f^{{(2)}}(x)$, $\lambda_2$ = {values[1]:.5f}")
    ax.set_ylabel(rf"$f^{{(3)}}(x)$, $\lambda_3$ = {values[2]:.5f}")
    ax.set_title(f"{DIGITS} digits ({data}) under the limit NTK")
    save(figure, run, "fig3a_components")


def straight_lines(run: Run, size: Size, x: Any, values: Any, component: Any, data: str) -> Iterator[Outcome]:
    """Descent towards f_0 + 0.5 f^(2): what leaves the line, and how fast the rest goes along it."""
    times, value = np.linspace(0, LINE_TIME, LINE_POINTS + 1), values[1]
    every = int(np.ceil(times[1] * values[0] * LINE_CAUTION / 2))
    draws = {n: keys(run.seed, 3, n, size.line_networks) for n in size.line_widths}
    paths = {n: lines_of_width(draws[n], x, component, n, every) for n in size.line_widths}
    draw_lines(run, times, paths, value, data)
    worst = [float(h.max(axis=1).mean()) for h, _ in paths.values()]
    left = [np.interp(1 / value, times, gs.mean(0)) for _, gs in paths.values()]
    gap = [np.abs(gs.mean(0) - JUMP * np.exp(-value * times)).max() for _, gs in paths.values()]
    notes = [", ".join(f"{v:.3g} at {n}" for n, v in zip(paths, vs, strict=True)) for vs in (worst, left, gap)]
    by_width = dict(zip(paths, worst, strict=True))
    yield DEVIATION.check(by_width[100], data) if data == MNIST else DEVIATION.skip(f"needs {MNIST}")
    note = f"{notes[0]}: width^{exponent(size.line_widths, worst):.2f}"
    yield STRAIGHTER.check(worst[-1] / worst[0], data, note)
    yield NARROW_FASTER.check(left[0] / left[-1], data, f"{notes[1]}; {JUMP / np.e:.3g} in the limit")
    yield EXPONENTIAL.check(gap[-1] / gap[0], data, notes[2])


def lines_of_width(draws: list[Any], x: Any, component: Any, width: int, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Norms in time `[networks, times]` of what leaves the straight line, and of what is left of the jump along it."""
    x, direction = jnp.asarray(x, jnp.float32), jnp.asarray(component, jnp.float32)
    networks = progress(draws, f"figure 3, width {width}")
    moved = np.array([np.asarray(displacement(key, x, direction, width, every)) for key in networks], np.float64)
    along = np.mean(moved * component, axis=2)
    h = moved - along[:, :, None] * component
    return np.sqrt(np.mean(h**2, axis=2)), np.abs(JUMP - along)


@partial(jax.jit, static_argnames=("width", "every"))
def displacement(key: Any, x: Any, direction: Any, width: int, every: int) -> Any:
    """f_t - f_0 of one network that is trained towards f_0 + 0.5 `direction`, `[times, digits]`."""
    steps = LINE_POINTS * every
    start = wn.init(DIGIT_NET, key, x.shape, width, dtype=jnp.float32)
    f0 = wn.apply(DIGIT_NET, start, x)[:, 0]
    _, f = descend(DIGIT_NET, start, x, f0 + JUMP * direction, LINE_TIME / steps, steps=steps, every=every)
    return jnp.concatenate([f0[None], f]) - f0


def draw_lines(run: Run, times: np.ndarray, paths: dict[int, Any], value: float, data: str) -> None:
    """Deviation from the line (b) and what is left along it (c), a colour a width."""
    figure, (left, right) = panels(2)
    for colour, (width, networks) in zip(COLOURS, paths.items(), strict=False):
        for ax, norms in zip((left, right), networks, strict=True):
            ax.plot(times, norms.T, color=colour)[0].set_label(f"width {width}")
    right.plot(times, JUMP * np.exp(-value * times), "k--", lw=1.8, label=r"limit, $0.5\,e^{-\lambda_2 t}$")
    left.set(title=f"deviation from the line ({data})", xlabel="time t", ylabel=r"$\|h_t\|$")
    right.set(title="along the second component", xlabel="time t", ylabel=r"$\|g_t\|$")
    left.legend()
    right.legend()
    save(figure, run, "fig3bc_line")


if __name__ == "__main__":
    sys.exit(run(main, __file__))
