"""Deep neural network initialization with sparsity inducing activations (Price et al.; ICLR 2024).

Paper: price2024
Figure: variance maps; V' and V'' by the clipping level; variances of deep networks; training
Claim: on the edge of chaos the shifted relu and the soft threshold have V'(q*) = 1 and V''(q*) > 0, so that the
    variance of a deep network runs away; clipped at m they have V'(q*) < 1, and networks with 85 % of zeros train
Expected: the table of V' and V'' in ROWS; at depth 100 the clipped variance within 25 % of q*, the other above 10 q*
Minutes: 6 (full, 2 cores), 0.4 (--quick, 2 cores)
Command: python paper_repro/sparse_activations.py [--quick] [--out DIR] [--seed N]

As in the paper: activations, the edge of chaos at q* = 1, Gaussian weights, depth 100 and width 300 for the variances.
Not as in the paper: networks of 30 layers and width 128 are trained, in place of 100 and 300, by 3000 steps of descent
with momentum on 10000 digits; the clipping levels, rates and tolerances are our own.
What is expected: the numbers of ROWS and LARGER were computed once by quadrature; that clipped networks stay within
25 % and keep their share of zeros within 0.04 was chosen before the run.
Found: at 85 % clipped networks train, unclipped ones diverge at once; but in so few steps the clipped ones come nowhere
near the accuracy at 70 %, and CST ends with 72 % of zeros.  At 70 % V'' = 0.3 is too small for 30 layers: two of
three unclipped networks train.  Near V' = 1 (CReLU, 85 %, m = 2) a width of 128 is as bad as no clipping.
Data: MNIST, if the folder WIDENET_DATA has it; else scikit-learn's digits, which leave the claims on training open.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from math import inf
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.ticker import PercentFormatter

import widenet as wn
from widenet.datasets import mnist_or_digits
from widenet.initializers import normal, sparse_crelu, sparse_cst
from widenet.precision import float64
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, at_least, at_most, panels, run, save

ROWS = (  # the activation, and sigma_w^2, sigma_b^2, V', V'' at q* = 1
    (("CReLU", 0.7, 1.0), (4.2320, 0.4783, 0.4717, -0.3665)),
    (("CReLU", 0.7, 2.0), (3.3990, 0.3486, 0.8879, -0.0619)),
    (("CReLU", 0.7, inf), (3.3333, 0.3328, 1.0, 0.3039)),
    (("CReLU", 0.85, 0.5), (11.3916, 0.7526, 0.3020, -0.1709)),
    (("CReLU", 0.85, 1.0), (7.7431, 0.6213, 0.6116, -0.0711)),
    (("CReLU", 0.85, 1.5), (6.9252, 0.5634, 0.8339, 0.2450)),
    (("CReLU", 0.85, 2.0), (6.7203, 0.5433, 0.9466, 0.5522)),
    (("CReLU", 0.85, inf), (6.6667, 0.5368, 1.0, 0.8055)),
    (("CReLU", 0.9, 1.0), (11.2686, 0.6714, 0.6670, 0.1872)),
    (("CST", 0.7, 1.0), (3.8716, 0.6213, 0.6116, -0.0711)),
    (("CST", 0.85, 1.0), (7.3913, 0.6991, 0.6991, 0.3944)),
)
LARGER = {0.5: 0.804, 1.0: 0.612, 2.0: 0.436, 4.0: 0.302}  # V'(q*) by q* for CReLU, 85 %, m = 1
MAPS = (("CReLU", 0.7), ("CReLU", 0.85), ("CST", 0.85))
CLIPS = (0.5, 1.0, 2.0, inf)
START = 1.2  # variance of the first layer of the deep networks, in units of q*
READ = (10, 30, 100)
STEP = 1e-3  # of the finite difference


class Kind(NamedTuple):
    """An activation of the paper, on the edge of chaos at q*."""

    name: str
    sparsity: float
    m: float

    def __str__(self) -> str:
        return f"{self.name}, {100 * self.sparsity:.0f} %, m = {'∞' if self.m == inf else f'{self.m:g}'}"


@cache
def made(kind: Kind, q: float = 1.0) -> Any:
    """The activation, the initializers of its layers, V' and V''."""
    return (sparse_crelu if kind.name == "CReLU" else sparse_cst)(kind.sparsity, kind.m, q=q)


@cache
def mean_field(kind: Kind) -> Any:
    """The maps of its layers."""
    point = made(kind).layer.point
    return wn.maps(wn.serial(wn.dense(sigma_w=point.sigma_w, sigma_b=point.sigma_b), made(kind).activation))


DEEP = (Kind("CReLU", 0.85, 1.0), Kind("CReLU", 0.85, 1.5), Kind("CST", 0.85, 1.0))
DEEP_UNCLIPPED = (Kind("CReLU", 0.85, inf), Kind("CST", 0.85, inf))
TRAINED = (Kind("CReLU", 0.7, 2.0), Kind("CReLU", 0.85, 1.5), Kind("CST", 0.85, 1.0))
UNCLIPPED = (Kind("CReLU", 0.7, inf), Kind("CReLU", 0.85, inf), Kind("CST", 0.85, inf))


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    networks: int
    clipped: int  # how many of DEEP
    width: int
    inputs: int
    depth: int  # of the networks that are trained
    train: int
    epochs: int
    seeds: int


FULL = Size(networks=10, clipped=3, width=300, inputs=10, depth=30, train=10_000, epochs=30, seeds=3)
QUICK = Size(networks=6, clipped=1, width=300, inputs=10, depth=30, train=1_200, epochs=2, seeds=1)
TRAINED_WIDTH, TEST, BATCH, MOMENTUM = 128, 2000, 100, 0.9
RATE, SLOWER = 3e-3, 3e-4
MNIST = "MNIST"

TABLE = Claim("variance maps", "sigma_w^2, sigma_b^2, V', V'' less those of the table, at worst", at_most(1e-4))
SLOPE = Claim("variance maps", "V' of the closed form less that of the kernel, at worst", at_most(1e-8))
CURVE = Claim("variance maps", "V'' of the closed form less a difference of V' of the kernel, at worst", at_most(1e-5))
LARGER_Q = Claim("variance maps", "V' at larger q*, 85 %, m = 1, less the table, at worst", at_most(1e-3))
STABLE = Claim("depth 100", "|q/q* - 1| of clipped activations at layers 10, 30, 100, at worst", at_most(0.25))
UNSTABLE = Claim("depth 100", "q/q* of unclipped activations at layer 100, at least", at_least(10.0))
ZEROS = Claim("depth 100", "share of zeros of clipped activations less the target, at worst", at_most(0.04))
GOOD = Claim("training", "test accuracy of CReLU, 70 %, clipped, in points", at_least(85.0))
BETTER = Claim("training", "85 %: accuracy clipped less unclipped, worse of CReLU and CST, in points", at_least(20.0))
GOOD_85 = Claim("training", "85 %: test accuracy of the worse of CReLU and CST, clipped, in points", at_least(60.0))
FAILS = Claim("training", "85 %: test accuracy of the best unclipped activation at two rates, in points", at_most(20.0))
SPARSE = Claim("training", "share of zeros after training less the target, clipped, at worst", at_most(0.04))


def main(run: Run) -> Iterator[Outcome]:
    """The maps, what they do to deep networks, and whether those train."""
    size = QUICK if run.quick else FULL
    yield from variance_maps(run)
    yield from deep(run, size)
    yield from training(run, size)


def variance_maps(run: Run) -> Iterator[Outcome]:
    """V and its slopes at the fixed point: closed forms, the kernel, the table."""
    draw_maps(run)
    draw_slopes(run)
    off, slopes, curves = [], [], []
    for kind, expected in ROWS:
        sparse, maps = made(Kind(*kind)), mean_field(Kind(*kind))
        point = sparse.layer.point
        off.append(np.subtract((point.sigma_w**2, point.sigma_b**2, sparse.slope, sparse.curvature), expected))
        slopes.append(sparse.slope - maps.chi_par(1.0))
        above, below = (maps.chi_par(1.0 + side * STEP) for side in (1, -1))
        curves.append(sparse.curvature - (above - below) / (2 * STEP))
    yield TABLE.check(np.abs(off).max(), note=f"{len(ROWS)} activations")
    yield SLOPE.check(np.abs(slopes).max())
    yield CURVE.check(np.abs(curves).max())
    found = {q: made(Kind("CReLU", 0.85, 1.0), q).slope for q in LARGER}
    note = ", ".join(f"{slope:.3f} at q* = {q:g}" for q, slope in found.items())
    yield LARGER_Q.check(max(abs(found[q] - LARGER[q]) for q in LARGER), note=note)


def draw_maps(run: Run) -> None:
    """V(q) by clipping level."""
    figure, axes = panels(len(MAPS), sharey=True)
    q = np.linspace(0.02, 3, 150)
    for ax, (name, sparsity) in zip(axes, MAPS, strict=True):
        for colour, m in zip(COLOURS, CLIPS, strict=False):
            kind = Kind(name, sparsity, m)
            label = f"m = {'∞' if m == inf else f'{m:g}'}, V' = {made(kind).slope:.2f}"
            ax.plot(q, mean_field(kind).q(q), color=colour, label=label)
        ax.plot(q, q, "k--", lw=1, label="q")
        ax.plot(1, 1, "ko", ms=5, label="q*")
        ax.set(xlabel="q", title=f"{name}, {100 * sparsity:.0f} % zeros at q* = 1", ylim=(0, 4))
        ax.legend(loc="upper left")
    axes[0].set_ylabel("V(q)")
    save(figure, run, "variance_maps")


def draw_slopes(run: Run) -> None:
    """V' and V'' at q* by clipping level: lines from the closed form, points from the kernel."""
    figure, axes = panels(2, width=4.8, height=3.8)
    fine, coarse = np.linspace(0.2, 4, 40), np.linspace(0.4, 4, 7)
    for colour, sparsity in zip(COLOURS, (0.5, 0.7, 0.85, 0.9), strict=False):
        closed = [sparse_crelu(sparsity, float(m)) for m in fine]
        label = f"{100 * sparsity:.0f} % zeros"
        axes[0].plot(fine, [sparse.slope for sparse in closed], color=colour, label=label)
        axes[1].plot(fine, [sparse.curvature for sparse in closed], color=colour, label=label)
        maps = [mean_field(Kind("CReLU", sparsity, float(m))) for m in coarse]
        sides = [[one.chi_par(1.0 + side * STEP) for one in maps] for side in (1, -1)]
        axes[0].plot(coarse, [one.chi_par(1.0) for one in maps], "o", color=colour, ms=4)
        axes[1].plot(coarse, np.subtract(*sides) / (2 * STEP), "o", color=colour, ms=4)
    for ax, name in zip(axes, ("V'(q*)", "V''(q*)"), strict=True):
        ax.plot([], [], "ko", ms=4, label="of the kernel")
        ax.set(xlabel="m", title=f"{name} of CReLU, q* = 1")
    axes[0].legend(loc="lower right")
    axes[1].axhline(0, color="k", lw=0.8)
    save(figure, run, "slopes")


@partial(jax.jit, static_argnames=("sparse", "width", "depth"))
def propagate(sparse: Any, key: Any, x: Any, width: int, depth: int) -> tuple[Any, Any]:
    """Mean squares of preactivations of the layers 2, 3, ... and shares of zeros before them, of x `[n, width]`."""

    def step(z: Any, key: Any) -> tuple[Any, Any]:
        h, (w, b) = sparse.activation(z), jax.random.split(key)
        z = h @ sparse.layer.kernel(w, (width, width), x.dtype) + sparse.layer.bias(b, (width,), x.dtype)
        return z, (jnp.mean(z**2), jnp.mean(h == 0))

    return jax.lax.scan(step, x, jax.random.split(key, depth - 1))[1]


def deep(run: Run, size: Size) -> Iterator[Outcome]:
    """Variances and zeros in deep networks, started a fifth above the fixed point."""
    depth, clipped = READ[-1], DEEP[: size.clipped]
    found = {
        kind: deep_networks(run.seed, kind, size, depth) for kind in progress((*clipped, *DEEP_UNCLIPPED), "depth 100")
    }
    figure, axes = panels(2, width=5.2, height=4.0)
    layers = np.arange(1, depth + 1)
    for colour, (kind, (q, zeros)) in zip(COLOURS, found.items(), strict=False):
        axes[0].semilogy(layers, q.T, color=colour, lw=0.7, alpha=0.6)[0].set_label(str(kind))
        axes[0].semilogy(layers, theory(kind, depth), "--", color=colour, lw=1.8)
        axes[1].plot(layers[:-1], zeros.mean(0), color=colour)
    axes[0].plot([], [], "k--", label="infinite width")
    axes[1].axhline(0.85, color="k", ls="--", lw=1, label="target")
    axes[0].set(xlabel="layer", ylabel="q / q*", title=f"variance, {size.networks} networks, width {size.width}")
    axes[0].set_ylim(0.2, 1e8)
    axes[0].legend(loc="center", bbox_to_anchor=(0.58, 0.6))
    axes[1].set(xlabel="layer", title="share of zeros, colours as on the left", ylim=(0.4, 1.0))
    axes[1].legend(loc="upper right")
    save(figure, run, "depth")
    at = [layer - 1 for layer in READ]
    squares = {kind: found[kind][0].mean(0)[at] for kind in clipped}
    note = "; ".join(f"{kind}: {', '.join(f'{q:.2f}' for q in qs)}" for kind, qs in squares.items())
    yield STABLE.check(max(np.abs(qs - 1).max() for qs in squares.values()), note=note)
    last = {kind: np.exp(np.log(found[kind][0][:, -1]).mean()) for kind in DEEP_UNCLIPPED}
    yield UNSTABLE.check(min(last.values()), note="; ".join(f"{kind}: {q:.1e}" for kind, q in last.items()))
    shares = {kind: found[kind][1].mean() for kind in clipped}
    note = "; ".join(f"{kind}: {share:.3f}" for kind, share in shares.items())
    yield ZEROS.check(max(abs(share - kind.sparsity) for kind, share in shares.items()), note=note)


def deep_networks(seed: int, kind: Kind, size: Size, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean squares `[networks, depth]` and shares of zeros `[networks, depth - 1]`."""
    squares, zeros = [], []
    with float64():  # the variances leave the range of float32
        for key in jax.random.split(jax.random.key(seed), size.networks):
            x = jax.random.normal(key, (size.inputs, size.width), jnp.float64)
            x *= np.sqrt(START) / jnp.sqrt(jnp.mean(x**2, axis=1, keepdims=True))
            q, zero = propagate(made(kind), key, x, size.width, depth)
            squares.append(np.concatenate([[START], q]))
            zeros.append(np.asarray(zero))
    return np.array(squares), np.array(zeros)


def theory(kind: Kind, depth: int) -> np.ndarray:
    """The variances at infinite width."""
    maps, q = mean_field(kind), [START]
    while len(q) < depth and q[-1] < 1e12:
        q.append(float(maps.q(q[-1])))
    return np.array(q + [np.nan] * (depth - len(q)))


class Curve(NamedTuple):
    """What became of some networks, `[epochs, networks]`: training loss, test accuracy in points, share of zeros."""

    loss: np.ndarray
    points: np.ndarray
    zeros: np.ndarray


class Data(NamedTuple):
    """Images whose pixels have mean 0 and variance 1 in every image, and labels."""

    x: Any
    y: Any
    x_test: Any
    y_test: Any

    @classmethod
    def of(cls, train: int, seed: int) -> tuple[Data, str]:
        """A random part of MNIST or of the digits, and its name."""
        split = mnist_or_digits(seed).drawn(train, TEST, seed)
        images = [x.reshape(len(x), -1) for x in (split.x_train, split.x_test)]
        scaled = [(x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) for x in images]
        x, x_test = (jnp.asarray(x, jnp.float32) for x in scaled)
        return cls(x, jnp.asarray(split.y_train), x_test, jnp.asarray(split.y_test)), split.name


def drawn(sparse: Any, depth: int, inputs: int, key: Any) -> dict[str, Any]:
    """Weights of a network whose first layer has variance q* = 1."""
    n, keys = TRAINED_WIDTH, jax.random.split(key, 4)
    hidden, biases = (jax.random.split(one, depth - 1) for one in keys[1:3])
    return {
        "first": normal()(keys[0], (inputs, n)),
        "w": jax.vmap(lambda k: sparse.layer.kernel(k, (n, n)))(hidden),
        "b": jax.vmap(lambda k: sparse.layer.bias(k, (n,)))(biases),
        "last": normal()(keys[3], (n, 10)),
    }


def forward(phi: Any, params: Any, x: Any) -> tuple[Any, Any]:
    """Logits, and the share of zeros in all hidden layers."""

    def step(z: Any, layer: Any) -> tuple[Any, Any]:
        h = phi(z)
        return h @ layer[0] + layer[1], jnp.mean(h == 0)

    z, zeros = jax.lax.scan(step, x @ params["first"], (params["w"], params["b"]))
    return phi(z) @ params["last"], jnp.mean(zeros)


def trained(sparse: Any, data: Data, size: Size, seed: int, rate: float) -> Curve:
    """Descent with momentum in batches of 100, the rate falling to zero as a cosine, for several networks at once."""
    batches, inputs = len(data.x) // BATCH, data.x.shape[1]

    def loss(params: Any, x: Any, y: Any) -> Any:
        logits = jax.nn.log_softmax(forward(sparse.activation, params, x)[0])
        return -jnp.mean(jnp.take_along_axis(logits, y[:, None], axis=1))

    def epoch(state: Any, key: Any, rate: Any) -> tuple[Any, Any]:
        def step(state: Any, chosen: Any) -> tuple[Any, Any]:
            params, speed = state
            value, slope = jax.value_and_grad(loss)(params, data.x[chosen], data.y[chosen])
            speed = jax.tree.map(lambda v, g: MOMENTUM * v + g, speed, slope)
            return (jax.tree.map(lambda p, v: p - rate * v, params, speed), speed), value

        order = jax.random.permutation(key, len(data.x))[: batches * BATCH].reshape(batches, BATCH)
        state, values = jax.lax.scan(step, state, order)
        logits, zeros = forward(sparse.activation, state[0], data.x_test)
        return state, (jnp.mean(values), 100 * jnp.mean(jnp.argmax(logits, axis=1) == data.y_test), zeros)

    keys = jax.random.split(jax.random.key(seed), size.seeds)
    params = jax.vmap(lambda key: drawn(sparse, size.depth, inputs, key))(keys)
    state, several, path = (params, jax.tree.map(jnp.zeros_like, params)), jax.jit(jax.vmap(epoch, (0, 0, None))), []
    for i, now in enumerate(rate * np.cos(np.pi / 2 * np.arange(size.epochs) / size.epochs) ** 2):
        state, found = several(state, jax.vmap(lambda key, i=i: jax.random.fold_in(key, i))(keys), now)
        path.append(np.array(found))
        if np.isnan(path[-1][0]).all():
            path += [path[-1]] * (size.epochs - len(path))
            break
    return Curve(*np.moveaxis(path, 1, 0))


def training(run: Run, size: Size) -> Iterator[Outcome]:
    """Which of the deep networks train."""
    data, name = Data.of(size.train, run.seed)
    kinds = progress((*TRAINED, *UNCLIPPED), "training")
    found = {kind: trained(made(kind), data, size, run.seed, RATE) for kind in kinds}
    draw_training(run, size, found, name)
    if run.quick or name != MNIST:
        yield from (claim.skip(f"needs {MNIST}, the full run") for claim in (GOOD, BETTER, GOOD_85, FAILS, SPARSE))
        return
    told = {kind: f"{kind}: {c.points[-1].mean():.1f} +- {c.points[-1].std(ddof=1):.1f}" for kind, c in found.items()}
    end = {kind: curve.points[-1].mean() for kind, curve in found.items()}
    yield GOOD.check(
        end[TRAINED[0]], name, f"{size.seeds} networks, mean and deviation; {told[TRAINED[0]]}; chance is 10"
    )
    pairs = list(zip(TRAINED[1:], UNCLIPPED[1:], strict=True))
    yield BETTER.check(min(end[one] - end[other] for one, other in pairs), name)
    yield GOOD_85.check(min(end[one] for one, _ in pairs), name, "; ".join(told[one] for one, _ in pairs))
    slower = [trained(made(kind), data, size, run.seed, SLOWER).points[-1].mean() for _, kind in pairs]
    note = f"a network whose loss is nan counts as it predicts; {told[UNCLIPPED[0]]}"
    yield FAILS.check(max(*slower, *(end[kind] for _, kind in pairs)), name, note)
    note = "; ".join(f"{kind}: {found[kind].zeros[-1].mean():.3f}" for kind in TRAINED)
    yield SPARSE.check(max(abs(found[kind].zeros[-1].mean() - kind.sparsity) for kind in TRAINED), name, note)


def draw_training(run: Run, size: Size, found: dict[Kind, Curve], name: str) -> None:
    """Losses, accuracies and zeros by epoch."""
    figure, axes = panels(3, width=4.4, height=3.8)
    epochs = np.arange(1, size.epochs + 1)
    for colour, (kind, curve) in zip(COLOURS, found.items(), strict=False):
        style = "--" if kind.m == inf else "-"
        for ax, values in zip(axes, (curve.loss, curve.points, curve.zeros), strict=True):
            ax.plot(epochs, values, style, color=colour, lw=1, alpha=0.8)[0].set_label(str(kind))
    axes[0].set(xlabel="epochs", title=f"training loss, {len(found)} activations ({name})")
    axes[1].set(xlabel="epochs", title="test accuracy (%)", ylim=(0, 100))
    axes[2].set(xlabel="epochs", title="share of zeros on test data", ylim=(0.6, 1.08))
    axes[2].yaxis.set_major_formatter(PercentFormatter(1.0))
    axes[2].legend(loc="upper right")
    save(figure, run, "training")


if __name__ == "__main__":
    sys.exit(run(main, __file__))
