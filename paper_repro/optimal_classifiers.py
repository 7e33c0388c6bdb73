"""Wide and deep neural networks achieve optimality for classification (Radhakrishnan, Belkin, Uhler; PNAS 2023).

Paper: radhakrishnan2023
Figure: the taxonomy, the singular kernels, the experiments with normalized Dirichlet data on S^1, S^2, S^4 and S^8
Claim: the NTK of an infinitely deep network is a majority vote, the nearest neighbour or a singular kernel
    |x - z|^-alpha, depending on three numbers of its activation, and it is optimal on S^d if alpha = d
Expected: alpha = d for the paper's seven optimal activations; as accurate as the Hilbert estimate, better than 1-NN
Minutes: 3 (full, 2 cores), 0.4 (--quick, 2 cores)
Command: python paper_repro/optimal_classifiers.py [--quick] [--out DIR] [--seed N]

Inputs have norm 1 and E phi(u)^2 = 1.  With the dual D(c) = E[phi(u) phi(v)] at correlation c: A = E phi,
A'^2 = D'(0), B' = D'(1).  If A = 0 and 0 < A'^2 < 1 < B', NNGP and NTK tend, up to a scale, to Koenigs' function
g(c) = lim D(...D(c)) / A'^(2 L), of the order of |x - z|^-alpha, alpha = -2 ln A'^2 / ln B'; the classifier tends to
the sign of sum_i y_i g(x . x_i), because the Gram matrix becomes its diagonal.  If A = A' = 0 it is the nearest
neighbour; if A != 0 and B' >= 1 the majority.
As in the paper: activations, depths, Dirichlet parameters, the prior 0.4 of one class, 10000 training and test points,
the deep NNGP in place of the NTK where there are many points, relu at depth 50000 with 100 points.
What is expected: alpha follows from the theory; the figures and the tolerances of accuracies are our own.
Found: for the sines g is a power times a periodic function of ln |x - z|, at a = 13.8 far from constant (right panel of
singular_kernels).  At depth L the NTK is steeper, |x - z|^-(alpha + 2), below distances of L^-1/2, so it comes to its
limit much later than the NNGP.  On S^1 erf, whose alpha is 0.89, is better than alpha = 1 at these sizes: the paper's
optimality is that of infinitely many points, and this alpha is too close to d to tell with 10000.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from math import asin, factorial, log, sinh, sqrt, tanh
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from matplotlib.axes import Axes
from numpy.polynomial import hermite_e
from scipy.spatial import cKDTree
from scipy.stats import dirichlet

import widenet as wn
from widenet.activations import Activation, dual
from widenet.precision import float64
from widenet.predict import gp, relative_noise
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save

ONE: Any = 1.0  # the variance of the signal
PRIOR = 0.4  # of the class +1
REPEATS = 10
ROWS = 64  # test points at a time
NODES = np.linspace(np.log(1e-16), np.log(2.0), 2**15)  # ln |x - z|^2, where kernels are tabulated
NOISE = 1e-10  # of the mean diagonal: shallow kernels of smooth functions are singular to rounding


@dataclass(frozen=True)
class Deep:
    """An activation with E phi(u)^2 = 1, and the depth at which its limit is read."""

    name: str
    phi: Activation
    depth: int


@dataclass(frozen=True)
class Sphere:
    """The data on S^d, from two Dirichlet distributions, and the activations that are tried on it."""

    d: int
    first: tuple[float, ...]
    second: tuple[float, ...]
    optimal: tuple[Deep, ...]
    others: tuple[Deep, ...]  # alpha < d, then alpha > d if there is one


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    spheres: int
    train: tuple[int, ...]
    test: int
    depths: tuple[int, ...]
    points: tuple[int, int]  # training and test points where networks of these depths are computed


FULL = Size(4, (100, 300, 1000, 3000, 10000), 10000, (1, 2, 4, 8, 12, 16, 32, 64), (500, 2000))
QUICK = Size(3, (100, 300, 1000), 2000, (2, 64), (200, 500))


def hermites(weights: dict[int, float]) -> Activation:
    """sum_k sqrt(weights[k]) h_k, whose dual is sum_k weights[k] c^k."""
    series = [sqrt(weights.get(k, 0.0) / factorial(k)) for k in range(max(weights) + 1)]
    return wn.polynomial(tuple(hermite_e.herme2poly(series).tolist()))


def optimal_polynomial(d: int) -> Activation:
    """The paper's polynomial for S^d, d >= 2: A'^2 = 2^(-d/2), B' = 2."""
    edge = 2 ** (-d / 2)
    return hermites({1: edge, 2: 1 - 2 * edge, 3: edge})


def normal_sine(a: float) -> Activation:
    """A multiple of sin(sqrt(a) u), whose dual is sinh(a c) / sinh(a)."""
    return wn.sine(sqrt(2 / -np.expm1(-2 * a)), sqrt(a))


CIRCLE = Deep(r"$(h_1 + h_7)/\sqrt{2}$", hermites({1: 0.5, 7: 0.5}), 100)
POLYNOMIAL = {d: Deep(f"polynomial for $S^{d}$", optimal_polynomial(d), 100) for d in (2, 4, 8)}
SINE = {d: Deep(f"sine, a = {a:g}", normal_sine(a), 200 // d) for d, a in ((2, 2.676), (4, 6.13539), (8, 13.8258))}
SINE_1 = Deep("sine, a = 1", normal_sine(1.0), 100)
ERF = Deep("erf", wn.scaled_erf((2 / np.pi * np.arcsin(2 / 3)) ** -0.5), 200)
OPTIMAL = {1: (CIRCLE,), **{d: (POLYNOMIAL[d], SINE[d]) for d in (2, 4, 8)}}
SQUARE = Deep("$h_2$", wn.hermite(2), 30)
GAUSSIAN = Deep("random Fourier", wn.rbf(1.0), 64)  # its dual is exp(2 (c - 1)): A^2 = e^-2, B' = 2
RELU = wn.abrelu(0.0, sqrt(2))
RELU_DEPTH, RELU_TRAIN = 50000, 100
SHALLOW, DEEP = 8, 12  # depths up to which h_2's kernels of near points, of the nearest ones, do not underflow
SMALLEST = 1e-300  # for what underflowed, as coordinates from Dirichlet(0.1) do now and then

SPHERES = (
    Sphere(1, (1, 2), (2, 1), OPTIMAL[1], (ERF, POLYNOMIAL[4])),
    Sphere(2, (0.5, 0.5, 2.5), (2.5, 0.1, 0.5), OPTIMAL[2], (ERF, POLYNOMIAL[8])),
    Sphere(4, (3, 1, 2, 1, 1), (1, 2, 2, 2, 3), OPTIMAL[4], (CIRCLE, POLYNOMIAL[8])),
    Sphere(8, (1, 2, 1, 2, 1, 1, 1, 1, 1), (1, 1, 1, 2, 3, 4, 2, 2, 1), OPTIMAL[8], (CIRCLE,)),
)

ALPHAS = Claim("taxonomy", "largest |alpha - d| of the paper's 7 optimal activations", at_most(1e-3))
ARC = asin(2 / 3)  # the dual of erf is asin(2 c / 3) / ARC, that of sin sinh(c) / sinh(1): optimal on no sphere
ALPHA_ERF = Claim("taxonomy", "alpha of erf", about(2 * log(1.5 * ARC) / log(2 / sqrt(5) / ARC), 1e-9))
ALPHA_SINE = Claim("taxonomy", "alpha of sin", about(-2 * log(sinh(1)) / log(tanh(1)), 1e-9))
SLOPES = Claim("singular kernels", "largest relative error of the slope of log g against -alpha", at_most(0.005))
RECURSION = Claim("singular kernels", "largest relative difference of wn.nngp, 5 layers, to the duals", at_most(1e-9))
NEAREST = Claim("taxonomy", "share of test points where the NTK of h_2, 30 layers, agrees with 1-NN", at_least(0.995))
MAJORITY = Claim("taxonomy", "share of test points where the NTK of rbf, 64 layers, is the majority", at_least(1.0))
RELU_MAJORITY = Claim("taxonomy", "the same for that of relu, 50000 layers, 100 training points", at_least(1.0))
NNGP = Claim("taxonomy", "share where the NNGP of the sine for S^2, 64 layers, agrees with its g", at_least(0.998))
NTK = Claim("taxonomy", "the same for the NTK of this sine", at_least(0.95))


def main(run: Run) -> Iterator[Outcome]:
    """The taxonomy, the singular kernels, the experiments, and a verdict a claim."""
    size = QUICK if run.quick else FULL
    draw_taxonomy(run)
    yield from singular_kernels(run)
    yield from regimes(run, size)
    yield from experiments(run, size)


@lru_cache
def alpha(phi: Activation) -> float:
    """The exponent of the singular kernel, -2 ln A'^2 / ln B'."""
    with float64():
        low, high = (dual.slope(phi, ONE, ONE, c) for c in (0 * ONE, ONE))
        return float(-2 * jnp.log(low) / jnp.log(high))


@partial(jax.jit, static_argnames="depth")
def composed(phi: Activation, c: Any, depth: int) -> Any:
    """The dual applied `depth` times to correlations c: the NNGP of a network whose variance is 1 at every layer.

    In wn.nngp rounding would grow with depth, because variance 1 is an unstable fixed point of these polynomials.
    """

    def layer(c: Any, _: Any) -> tuple[Any, None]:
        return jnp.minimum(dual.dual(phi, ONE, ONE, c), 1.0), None  # 1 repels: rounding above it would grow

    return jax.lax.scan(layer, c, length=depth)[0]


@partial(jax.jit, static_argnames="depth")
def koenigs(phi: Activation, c: Any, depth: int) -> Any:
    """g(c), read at `depth`."""
    return composed(phi, c, depth) / dual.slope(phi, ONE, ONE, 0 * ONE) ** depth


def singular_kernels(run: Run) -> Iterator[Outcome]:
    """The exponents, from the three numbers of an activation and from the kernels themselves."""
    optimal = [(d, deep) for d, members in OPTIMAL.items() for deep in members]
    note = ", ".join(f"{alpha(deep.phi):.4f}" for _, deep in optimal)
    yield ALPHAS.check(max(abs(alpha(deep.phi) - d) for d, deep in optimal), note=note)
    yield ALPHA_ERF.check(alpha(ERF.phi))
    yield ALPHA_SINE.check(alpha(SINE_1.phi))
    members = (ERF, SINE_1, *(deep for _, deep in optimal))
    gap = np.geomspace(1e-7, 1e-2, 51)
    with float64():
        curves = [np.asarray(koenigs(deep.phi, 1 - gap, deep.depth)) for deep in members]
    slopes = [np.polyfit(np.log(2 * gap) / 2, np.log(g), 1)[0] for g in curves]
    errors = [abs(slope / alpha(deep.phi) + 1) for slope, deep in zip(slopes, members, strict=True)]
    draw_kernels(run, gap, dict(zip(members, curves, strict=True)))
    yield SLOPES.check(max(errors), note=", ".join(f"{slope:.3f}" for slope in slopes))
    angle = np.linspace(0.1, 1.5, 20)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    with float64():
        expected = [np.asarray(composed(deep.phi, x[:, 0], 5)) for deep in members[::2]]
    found = [wn.nngp(network(deep.phi, 5, 2))(x, np.eye(2)[:1])[:, 0] for deep in members[::2]]
    yield RECURSION.check(np.max(np.abs(np.divide(found, expected) - 1)))


def network(phi: Activation, depth: int, dimension: int) -> Any:
    """`depth` hidden layers after a dense layer that gives inputs of unit norm the variance 1."""
    return wn.serial(wn.dense(sigma_w=sqrt(dimension)), wn.repeat(wn.serial(phi, wn.dense()), depth))


def draw_kernels(run: Run, gap: np.ndarray, curves: dict[Deep, np.ndarray]) -> None:
    """Koenigs' functions near 1 with the slopes that are expected, and their local exponents."""
    (figure, (left, right)), distance = panels(2, width=5.2, height=4.2), np.sqrt(2 * gap)
    for colour, deep in zip(COLOURS, (deep for members in OPTIMAL.values() for deep in members), strict=True):
        g, exponent = curves[deep] / curves[deep][-1], alpha(deep.phi)
        left.loglog(distance, g, color=colour, label=deep.name)
        right.semilogx(distance, -np.gradient(np.log(g), np.log(distance)), color=colour)
        left.loglog(distance, (distance / distance[-1]) ** -exponent, "k:", lw=1)
        right.axhline(exponent, color="k", ls=":", lw=1)
    left.set(title=r"Koenigs' function, dotted $|x - z|^{-\alpha}$", xlabel="$|x - z|$", ylabel=r"$g / g(0.14)$")
    title = r"its exponent $-d \ln g \; / \; d \ln |x - z|$, dotted $\alpha$"
    right.set(title=title, xlabel="$|x - z|$", ylabel="exponent")
    left.legend()
    save(figure, run, "singular_kernels")


def draw_taxonomy(run: Run) -> None:
    """How a point votes by its distance, at several depths, in the three regimes."""
    figure, axes = panels(3, height=3.6, sharey=True)
    angle = np.geomspace(1e-2, np.pi / 2, 200)
    regimes = {"majority vote": GAUSSIAN, "nearest neighbour": SQUARE, "singular": POLYNOMIAL[2]}
    for ax, (title, deep) in zip(axes, regimes.items(), strict=True):
        for colour, depth in zip(COLOURS, (1, 4, 8, 32), strict=False):
            with float64():
                k = np.asarray(composed(deep.phi, np.cos(np.append(angle, 0.3)), depth))
            ax.loglog(angle, np.where(k > 0, k, np.nan)[:-1] / k[-1], color=colour, label=f"depth {depth}")
        ax.set(title=f"{title}: {deep.name}", xlabel="angle / radians", ylim=(1e-3, 1e4))
    axes[2].loglog(angle, (angle / 0.3) ** -2.0, "k:", label=r"$|x - z|^{-2}$")
    axes[0].set_ylabel("kernel, relative to angle 0.3")
    axes[1].text(0.02, 3e-3, "depth 32 underflows")
    axes[2].legend()
    save(figure, run, "taxonomy")


def sample(rng: np.random.Generator, sphere: Sphere, n: int) -> tuple[np.ndarray, np.ndarray]:
    """n points on the sphere, normalized draws of one of two Dirichlet distributions, and which one, +-1."""
    y = np.where(rng.random(n) < PRIOR, 1.0, -1.0)
    x = np.where(y[:, None] > 0, rng.dirichlet(sphere.first, n), rng.dirichlet(sphere.second, n))
    return x / np.linalg.norm(x, axis=1, keepdims=True), y


def scores(weights: Any, x: np.ndarray, train: np.ndarray, votes: np.ndarray) -> np.ndarray:
    """sum_i votes[i] weights(|x - x_i|^2); votes `[train]` or `[train, sets]`."""
    of_rows = jax.jit(lambda rows: weights(jnp.sum((rows[:, None] - train) ** 2, axis=-1)) @ votes)
    with float64():
        return np.concatenate([np.asarray(of_rows(x[i : i + ROWS])) for i in range(0, len(x), ROWS)])


def kernel_weights(deep: Deep) -> Any:
    """The deep kernel as a function of squared distance: linear between 2^15 logarithmic nodes, to 2e-5."""
    with float64():
        table = koenigs(deep.phi, 1 - np.exp(NODES) / 2, deep.depth)

    def weights(squared: Any) -> Any:
        position = (jnp.log(jnp.maximum(squared, np.exp(NODES[0]))) - NODES[0]) / (NODES[1] - NODES[0])
        return map_coordinates(table, [position], order=1, mode="nearest")

    return weights


def nearest(x: np.ndarray, train: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The label of the nearest training point."""
    return y[cKDTree(train).query(x)[1]]


def regimes(run: Run, size: Size) -> Iterator[Outcome]:
    """Deep networks against the classifiers that they become, on S^2."""
    rng = np.random.default_rng(run.seed)
    (train, y), (x, labels) = (sample(rng, SPHERES[1], n) for n in size.points)
    data = f"{len(train)} points on S^2"
    draw_depth(run, size, (train, y, x, labels))
    yield NEAREST.check(agreement(squares(x, train) @ y, nearest(x, train, y)), data)
    limit = scores(kernel_weights(SINE[2]), x, train, y)
    sine = network(SINE[2].phi, 64, 3)
    yield NNGP.check(agreement(regression(wn.nngp(sine), train, y, x), limit), data)
    yield NTK.check(agreement(regression(wn.ntk(sine), train, y, x), limit), data)
    yield MAJORITY.check(agreement(regression(wn.ntk(network(GAUSSIAN.phi, 64, 3)), train, y, x), y.sum()), data)
    if run.quick:
        return (yield RELU_MAJORITY.skip("needs the full run"))
    relu, few = wn.ntk(network(RELU, RELU_DEPTH, 3)), slice(0, RELU_TRAIN)
    yield RELU_MAJORITY.check(agreement(regression(relu, train[few], y[few], x[:500]), y[few].sum()))


def squares(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """NTKs of h_2 relative to that of the nearest point, with logarithms: a layer squares the kernel, up to a scale."""
    k = wn.ntk(network(SQUARE.phi, SHALLOW, x.shape[1]))(x, train)
    logs = 2.0 ** (SQUARE.depth - SHALLOW) * np.log(np.maximum(k, SMALLEST))
    return np.exp(logs - logs.max(axis=1, keepdims=True))


def agreement(scores: np.ndarray, other: Any) -> float:
    """How often two classifiers agree."""
    return float(np.mean(np.sign(scores) == np.sign(other)))


def regression(kernel: Any, train: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Regression with a kernel, without a ridge but for rounding: with the NTK, the trained infinite network."""
    k = kernel(train)
    return gp(k, y, kernel(x, train), noise=relative_noise(k, NOISE)).mean


def draw_depth(run: Run, size: Size, data: tuple[np.ndarray, ...]) -> None:
    """Accuracy of the NTK by depth, and the classifiers of infinite depth."""
    train, y, x, labels = data
    curves = {"sine, a = 2.676: singular": SINE[2].phi, "$h_2$: nearest neighbour": SQUARE.phi}
    curves |= {"random Fourier: majority": GAUSSIAN.phi, "relu: majority, slowly": RELU}
    figure, (ax,) = panels(1, width=6.4, height=4.2)
    for name, phi in progress(list(curves.items()), "depth"):
        depths = [depth for depth in size.depths if depth <= DEEP or phi is not SQUARE.phi]
        found = [regression(wn.ntk(network(phi, depth, 3)), train, y, x) for depth in depths]
        ax.semilogx(depths, [agreement(f, labels) for f in found], "o-", ms=4, label=name)
    limits = {"1-NN": nearest(x, train, y), "Hilbert": scores(lambda squared: 1 / squared, x, train, y)}
    limits |= {"majority": np.full(len(x), y.sum()), "Bayes": log_odds(SPHERES[1], x)}
    for (name, values), style in zip(limits.items(), ("--", "-.", ":", "-"), strict=True):
        ax.axhline(agreement(values, labels), color="k", ls=style, lw=1, label=name)
    ax.set(title=f"NTK regression, {len(train)} points on $S^2$", xlabel="depth", ylabel="test accuracy")
    ax.set_xticks(size.depths, size.depths)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, run, "depth")


def log_odds(sphere: Sphere, x: np.ndarray) -> np.ndarray:
    """ln of the odds of the first class given x: the Bayes rule is its sign."""
    p = np.maximum(x, SMALLEST)
    simplex = (p / p.sum(axis=1, keepdims=True)).T  # the draw before it was normalized
    first, second = (dirichlet(a).logpdf(simplex) for a in (sphere.first, sphere.second))
    return first - second + np.log(PRIOR / (1 - PRIOR))


def experiments(run: Run, size: Size) -> Iterator[Outcome]:
    """Accuracy against the number of training points, a panel a sphere."""
    spheres = SPHERES[: size.spheres]
    figure, axes = panels(len(spheres), width=3.9, height=4.6)
    for sphere, ax in zip(spheres, axes, strict=True):
        found = accuracies(np.random.default_rng((run.seed, sphere.d)), sphere, size)
        draw_accuracies(ax, sphere, found, size.train)
        yield from verdicts(sphere, found, size.train)
    axes[0].set_ylabel("test accuracy")
    figure.set_layout_engine("constrained", w_pad=0.15)
    save(figure, run, "experiments")


def accuracies(rng: np.random.Generator, sphere: Sphere, size: Size) -> dict[str, np.ndarray]:
    """Accuracy of every classifier by the number of training points, mean of up to ten disjoint training sets."""
    (train, y), (x, labels) = sample(rng, sphere, size.train[-1]), sample(rng, sphere, size.test)
    parts = [(n, slice(i, i + n)) for n in size.train for i in range(0, min(len(y), REPEATS * n) - n + 1, n)]
    votes = np.zeros((len(y), len(parts)))
    for column, (_, part) in enumerate(parts):
        votes[part, column] = y[part]
    rules = {deep.name: kernel_weights(deep) for deep in (*sphere.optimal, *sphere.others)}
    rules["Hilbert"] = lambda squared: squared ** (-sphere.d / 2)
    found = {name: np.sign(scores(weights, x, train, votes)) for name, weights in rules.items()}
    found["1-NN"] = np.stack([nearest(x, train[part], y[part]) for _, part in parts], axis=1)
    found["majority"] = np.broadcast_to(np.sign(votes.sum(0)), found["1-NN"].shape)
    found["Bayes"] = np.tile(np.sign(log_odds(sphere, x))[:, None], len(parts))
    right = {name: np.mean(values == labels[:, None], axis=0) for name, values in found.items()}
    sizes = np.array([n for n, _ in parts])
    return {name: np.array([share[sizes == n].mean() for n in size.train]) for name, share in right.items()}


def verdicts(sphere: Sphere, found: dict[str, np.ndarray], train: tuple[int, ...]) -> Iterator[Outcome]:
    """The claims for one sphere, with the most training points."""
    where, last = f"experiments, S^{sphere.d}", {name: values[-1] for name, values in found.items()}
    optimal, data = [last[deep.name] for deep in sphere.optimal], f"{train[-1]} points on S^{sphere.d}"
    bayes = Claim(where, "accuracy of the Bayes rule - largest accuracy of another", at_least(0.0))
    yield bayes.check(last["Bayes"] - max(value for name, value in last.items() if name != "Bayes"), data)
    note = ", ".join(f"{name} {value:.4f}" for name, value in last.items())
    hilbert = Claim(where, "largest |accuracy at alpha = d - that of the Hilbert estimate|", at_most(0.01))
    yield hilbert.check(max(abs(value - last["Hilbert"]) for value in optimal), data, note)
    for name, other in (("1-NN", "1-NN"), *((deep.name, f"alpha = {alpha(deep.phi):.2g}") for deep in sphere.others)):
        claim = Claim(where, f"smallest accuracy at alpha = d - that of {other}", at_least(0.0))
        lead = min(optimal) - last[name]
        few = name == ERF.name and (sphere.d == 1 or train != FULL.train)
        reason = f"{lead:.4f} with {train[-1]} points, too few to tell this alpha from d"
        yield claim.skip(reason) if few else claim.check(lead, data)
    growth, curve = Claim(where, "growth of accuracy at alpha = d", at_least(0.0)), found[sphere.optimal[0].name]
    yield growth.check(curve[-1] - curve[0], data, f"{curve[0]:.4f} with {train[0]} points")


def draw_accuracies(ax: Axes, sphere: Sphere, found: dict[str, np.ndarray], train: tuple[int, ...]) -> None:
    """Accuracy against training points; optimal ones in full."""
    for colour, deep in zip(COLOURS, (*sphere.optimal, *sphere.others), strict=False):
        style = "s--" if deep in sphere.others else "o:" if deep in sphere.optimal[1:] else "o-"
        label = rf"{deep.name}, $\alpha$ = {alpha(deep.phi):.2g}"
        ax.semilogx(train, found[deep.name], style, color=colour, ms=4, label=label)
    ax.semilogx(train, found["Hilbert"], "kx", ms=7, label="Hilbert estimate")
    ax.semilogx(train, found["1-NN"], "k-.", lw=1, label="1-NN")
    ax.axhline(found["Bayes"][0], color="k", lw=1, label="Bayes")
    ax.set(title=f"$S^{sphere.d}$ (majority: {found['majority'][-1]:.2f})", xlabel="training points")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))


if __name__ == "__main__":
    sys.exit(run(main, __file__))
