"""Beyond IID weights: sparse and low-rank deep networks are also Gaussian processes (Nait-Saada et al.; ICLR 2024).

Paper: naitsaada2024
Figure: marginals of one neuron and joint laws of two inputs at widths 3, 30, 300; the edge of chaos; a CNN
Claim: with orthogonal, low-rank or permuted block-sparse weights, fully connected and convolutional networks converge
    to the same Gaussian process as with independent ones, so their edge of chaos is the same
Expected: distances to the limit that fall with width; the correction of order 1/width of each ensemble within 10 %
Minutes: 3 (full, 2 cores), 0.5 (--quick, 2 cores)
Command: python paper_repro/pseudo_iid.py [--quick] [--out DIR] [--seed N]

As in the paper: seven layers of tanh, the first one Gaussian, widths 3, 30 and 300, 10000 networks, two inputs.
Not as in the paper: the edge of chaos at sigma_b^2 = 0.1, rank n/3 (7 at width 20, 13 at 40, which moves V from the two
up by some percent), density 0.3 in blocks of 2 x 2; at width 300, 100 networks; all neurons are used, at all widths.
What is expected: the limits are the kernel of the library; V, the coefficient of 1/width in the covariance of z_i^2 and
z_j^2, is that of `wn.finite_width` (W2), less what its orthogonal or low-rank first layer does there.  The fourth
cumulant of one neuron is 3 V/n, and for block-sparse weights of density r and blocks b x b more by
3 sigma_w^4 (1/r - 1) (<phi^4> + (b - 1) <phi^2>^2)/n: what the random number of its inputs adds in the last layer.
Found: at order 1/width the law of a neuron differs from N(0, K) as much by its variance as by its fourth cumulant.
Orthogonal weights are not the fastest here: |V| is 0.82, 0.43 of independent ones.  On the edge of chaos without biases
they are: 1.8 K^2 and 3.6 K^2.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.patches import Ellipse
from scipy.stats import kstest, norm

import widenet as wn
from widenet.activations.dual import mean, second_moment
from widenet.initializers import bias, block_sparse, critical, low_rank, normal, orthogonal
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, at_least, at_most, panels, run, save

DEPTH, DENSITY, BLOCK, RANK = 7, 0.3, 2, 1 / 3
POINT = critical(wn.tanh, sigma_b=0.1**0.5).point
SIGMA_W, SIGMA_B = POINT.sigma_w, POINT.sigma_b
LAWS = {
    "iid": normal(),
    "orthogonal": orthogonal(),
    "low rank": low_rank(RANK),
    "block sparse": block_sparse(DENSITY, BLOCK),
}
CUMULANT = {"iid": "iid", "orthogonal": "orthogonal", "low rank": wn.LowRank(RANK), "block sparse": "iid"}
NET = wn.zoo.mlp(wn.tanh, DEPTH - 1, sigma_w=SIGMA_W, sigma_b=SIGMA_B)
INPUTS = np.array([[1.0, 0.0, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0]]) * 2  # of mean square 1 and cosine 0.6
CHAOS = {"ordered": 1.0, "edge": SIGMA_W**2, "chaotic": 4.0}  # sigma_w^2
CHAOS_DEPTH = 20
WINDOW, PIXELS, CNN_DEPTH = 3, 6, 4
STEP = 1e-3  # of the finite difference
FOURTH_POWER = wn.activation(lambda u: jnp.tanh(u) ** 4)
FULL_RUN = "needs the full run"


@dataclass(frozen=True)
class Size:
    """How much of it is computed: networks by width."""

    marginals: dict[int, int]
    cumulants: dict[int, int]  # two widths
    chaos_width: int
    chaos_networks: int
    cnn: dict[int, int]


FULL = Size({3: 10_000, 30: 10_000, 300: 100}, {20: 25_000, 40: 25_000}, 200, 40, {3: 4_000, 12: 2_000, 48: 400})
QUICK = Size({3: 4_000, 30: 2_000}, {3: 6_000, 30: 6_000}, 30, 500, {})

COVARIANCE = Claim("widths", "covariance of two inputs less the kernel, at worst, widest nets, relative", at_most(0.1))
FALLS = Claim("widths", "KS distance to N(0, K) at width 30 over width 3, at worst", at_most(0.5))
CLOSE = Claim("widths", "KS distance to N(0, K) of the widest nets, at worst", at_most(0.01))
ORDER = Claim("V", "differences orthogonal < iid < low rank in standard errors, at least", at_least(3.0))
WITHIN = Claim(
    "V", "V of orthogonal and low-rank weights, from two widths, over theory, less 1, at worst", at_most(0.1)
)
SPARSE = Claim("V", "block sparse less iid, in standard errors", at_most(3.0))
SAME = Claim("V", "V of the four ensembles, from two widths, less theory in standard errors, at worst", at_most(3.5))
KURTOSIS = Claim("V", "the same of n times the fourth cumulant of a neuron", at_most(3.5))
EDGE = Claim("edge of chaos", "largest |correlation - limit| in 20 layers, three phases, four ensembles", at_most(0.1))
CNN = Claim("CNN", "KS distance of a pixel to N(0, K), low rank, widest nets", at_most(0.015))
CNN_FALLS = Claim("CNN", "the same over that of the narrowest", at_most(0.5))
CNN_PIXELS = Claim("CNN", "covariance of two pixels less the kernel, relative to K, widest nets", at_most(0.1))


def main(run: Run) -> Iterator[Outcome]:
    """Marginals and joint laws by width, the correction of order 1/width, the edge of chaos, a CNN."""
    size = QUICK if run.quick else FULL
    yield from by_width(run, size)
    yield from corrections(run, size)
    yield from edge_of_chaos(run, size)
    yield from convolutional(run, size)


class Scales(NamedTuple):
    """Standard deviations of weights and biases."""

    sigma_w: float = SIGMA_W
    sigma_b: float = SIGMA_B


@partial(jax.jit, static_argnames=("law", "width"))
def layer(law: Any, keys: Any, h: Any, width: int, scales: Scales) -> Any:
    """A layer of several networks, h `[networks, 2, channels]`."""

    def one(key: Any, h: Any) -> Any:
        w, b = jax.random.split(key)
        weight = law(w, (h.shape[1], width), jnp.float32)
        return scales.sigma_w * h @ weight + scales.sigma_b * bias(1.0)(b, (width,), jnp.float32)

    return jax.vmap(one)(keys, h)


def preactivations(name: str, keys: Any, width: int, depth: int, scales: Scales) -> list[Any]:
    """Those of every layer, `[networks, 2, width]`, of networks whose first layer is Gaussian."""
    each = jax.vmap(partial(jax.random.split, num=depth), out_axes=1)(keys)
    h = jnp.broadcast_to(jnp.asarray(INPUTS, jnp.float32), (len(keys), *INPUTS.shape))
    found = [layer(normal(), each[0], h, width, scales)]
    for key in each[1:]:
        found.append(layer(LAWS[name], key, jnp.tanh(found[-1]), width, scales))
    return found


def outputs(name: str, seed: int, width: int, networks: int) -> np.ndarray:
    """Preactivations of the last layer, `[networks, 2, width]`."""
    block = min(networks, 500 if width < 100 else 20)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), width), networks)
    parts = [keys[i : i + block] for i in range(0, networks, block)]
    shown = progress(parts, f"{name}, width {width}") if networks * width**2 > 2e7 else parts
    return np.concatenate([np.asarray(preactivations(name, p, width, DEPTH, Scales())[-1]) for p in shown])


def distance(z: np.ndarray, variance: float) -> float:
    """That of Kolmogorov and Smirnov between z and N(0, variance)."""
    return float(kstest(z.ravel(), norm(scale=np.sqrt(variance)).cdf).statistic)


def by_width(run: Run, size: Size) -> Iterator[Outcome]:
    """Marginals and joint laws of the outputs."""
    limit = np.asarray(wn.nngp(NET)(INPUTS))
    found = {name: {n: outputs(name, run.seed, n, many) for n, many in size.marginals.items()} for name in LAWS}
    draw_marginals(run, found, limit)
    draw_joint(run, found["low rank"], limit)
    far = {name: [distance(z[:, 0], limit[0, 0]) for z in by.values()] for name, by in found.items()}
    draw_distances(run, size, far, limit)
    widest = {name: list(by.values())[-1] for name, by in found.items()}
    products = {name: np.einsum("nai,nbi->ab", z, z) / z[:, 0].size for name, z in widest.items()}
    note = "; ".join(f"{name}: {np.abs(product / limit - 1).max():.3f}" for name, product in products.items())
    yield COVARIANCE.check(max(np.abs(product / limit - 1).max() for product in products.values()), note=note)
    note = "; ".join(f"{name}: {', '.join(f'{d:.4f}' for d in ds)}" for name, ds in far.items())
    yield FALLS.check(max(ds[1] / ds[0] for ds in far.values()), note=note)
    wide = max(ds[-1] for ds in far.values())
    yield CLOSE.skip(FULL_RUN) if run.quick else CLOSE.check(wide, note="width 300")


def draw_marginals(run: Run, found: dict[str, dict[int, np.ndarray]], limit: np.ndarray) -> None:
    """Histograms of one input's neurons by width, a panel an ensemble."""
    figure, axes = panels(len(found), width=3.6, sharey=True)
    edges = np.linspace(-4, 4, 81)
    for ax, (name, by) in zip(axes, found.items(), strict=True):
        for colour, (width, z) in zip(COLOURS, by.items(), strict=False):
            label = f"width {width}, {len(z)} nets"
            ax.hist(z[:, 0].ravel(), edges, density=True, histtype="step", color=colour, lw=1.3, label=label)
        ax.plot(edges, norm(scale=limit[0, 0] ** 0.5).pdf(edges), "k--", label="N(0, K)")
        ax.set(xlabel="preactivation of layer 7", title=name, ylim=(0, 1.3))
        ax.legend(loc="upper center", fontsize=8)
    axes[0].set_ylabel("density")
    save(figure, run, "marginals")


def draw_joint(run: Run, by: dict[int, np.ndarray], limit: np.ndarray) -> None:
    """One neuron for two inputs, with the limit's ellipses of 50, 90 and 99 %."""
    figure, axes = panels(len(by), width=3.8, height=3.8, sharey=True)
    values, vectors = np.linalg.eigh(limit)
    angle = np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1]))
    for ax, (width, z) in zip(axes, by.items(), strict=True):
        pairs = z[:, :, :8].transpose(0, 2, 1).reshape(-1, 2)[:2500]
        ax.plot(*pairs.T, ".", ms=1.5, alpha=0.5, color=COLOURS[0], label=f"{len(pairs)} neurons")
        for share in (0.5, 0.9, 0.99):
            radius = np.sqrt(-2 * np.log(1 - share))
            size = 2 * radius * np.sqrt(values[::-1])
            ax.add_patch(Ellipse((0, 0), *size, angle=angle, fill=False, color=COLOURS[1], lw=1.5))
        ax.plot([], [], color=COLOURS[1], label="50, 90, 99 % of the limit")
        ax.set(xlabel="for x1", title=f"low rank, width {width}", xlim=(-4, 4), ylim=(-4, 4), aspect="equal")
        ax.legend(loc="upper left")
    axes[0].set_ylabel("for x2")
    save(figure, run, "joint")


def draw_distances(run: Run, size: Size, far: dict[str, list[float]], limit: np.ndarray) -> None:
    """KS distances by width, and those of the law to order 1/width."""
    figure, (ax,) = panels(1, width=6.0, height=4.4)
    widths, k = np.array(list(size.marginals)), limit[0, 0]
    wide, z = np.geomspace(10, widths[-1], 20), np.linspace(-6, 6, 4001) * np.sqrt(k)
    for colour, (name, found) in zip(COLOURS, far.items(), strict=False):
        ax.loglog(widths, found, "o-", color=colour, label=name)
        _, fourth, square = theory(name)
        excess = [wn.edgeworth(z, k + square / n, fourth / n) - wn.edgeworth(z, k, 0.0) for n in wide]
        ax.loglog(wide, [np.abs(np.cumsum(e)).max() * (z[1] - z[0]) for e in excess], "--", color=colour, lw=1.2)
    noise = [0.87 / np.sqrt(n * networks) for n, networks in size.marginals.items()]
    ax.loglog(widths, noise, "k:", label="of as many independent normals")
    ax.plot([], [], "k--", label="theory, order 1/width")
    ax.set(xlabel="width", ylabel="KS distance to N(0, K)", title="marginals of layer 7")
    ax.legend(loc="lower left")
    save(figure, run, "distance")


class Theory(NamedTuple):
    """Coefficients of 1/width in layer 7, of networks with a Gaussian first layer."""

    pairs: float  # V
    fourth: float  # of the fourth cumulant of a neuron
    square: float  # of E z^2


@cache
def theory(name: str) -> Theory:
    """E z^2 moves by V'(K) times its change in the layer before, and by V''(K)/6 times the fourth cumulant there."""
    found = wn.finite_width(NET, ensemble=CUMULANT[name])
    maps = wn.maps(wn.serial(wn.dense(sigma_w=SIGMA_W, sigma_b=SIGMA_B), wn.tanh))
    slopes, above, below = (np.asarray(maps.chi_par(found.K + side)) for side in (0, STEP, -STEP))
    v = found.V - found.V[0] * np.cumprod([1, *slopes[:-1] ** 2])
    fourth, square, k = 3 * v, 0.0, jnp.asarray(found.K[:-1])
    if name == "block sparse":
        high, low = np.asarray(mean(FOURTH_POWER, k)), np.asarray(second_moment(wn.tanh, k))
        fourth[1:] += 3 * SIGMA_W**4 * (1 / DENSITY - 1) * (high + (BLOCK - 1) * low**2)
    for slope, bend, cumulant in zip(slopes[:-1], (above - below)[:-1] / (2 * STEP), fourth, strict=False):
        square = slope * square + bend * cumulant / 6
    return Theory(float(v[-1]), float(fourth[-1]), float(square))


class Measured(NamedTuple):
    """A number and its standard error."""

    value: float
    error: float


def measured(z: np.ndarray) -> tuple[Measured, Measured]:
    """n times the covariance of z_i^2 and z_j^2, i != j, and n times the fourth cumulant, of z `[networks, n]`."""
    n, squares = z.shape[1], z.astype(float) ** 2
    k, total = squares.mean(), squares.sum(1)
    pairs = (total**2 - (squares**2).sum(1)) / (n * (n - 1)) - 2 * k * (total / n - k)  # linear part of k^2 taken off
    single = (squares**2).mean(1) - 6 * k * (total / n - k)
    return tuple(  # type: ignore[return-value]
        Measured(n * (s.mean() - least), n * s.std(ddof=1) / np.sqrt(len(s)))
        for s, least in ((pairs, k**2), (single, 3 * k**2))
    )


def corrections(run: Run, size: Size) -> Iterator[Outcome]:
    """V and the fourth cumulant at two widths against theory."""
    draws = size.cumulants.items()
    found = {name: {n: measured(outputs(name, run.seed + 1, n, m)[:, 0]) for n, m in draws} for name in LAWS}
    limits = {name: [extrapolated({n: at[i] for n, at in by.items()}) for i in (0, 1)] for name, by in found.items()}
    known = {name: theory(name) for name in LAWS}
    draw_corrections(run, size, found, limits, known)
    v = {name: limit[0] for name, limit in limits.items()}
    steps = [z_score(v[b], v[a]) for a, b in (("orthogonal", "iid"), ("iid", "low rank"))]
    note = "; ".join(f"{name}: {limit.value:.3f} +- {limit.error:.3f}" for name, limit in v.items())
    yield ORDER.check(min(steps), note=note)
    if run.quick:
        yield from (claim.skip(FULL_RUN) for claim in (WITHIN, SPARSE, SAME, KURTOSIS))
        return
    yield WITHIN.check(max(abs(v[name].value / known[name][0] - 1) for name in ("orthogonal", "low rank")))
    yield SPARSE.check(abs(z_score(v["block sparse"], v["iid"])))
    for i, claim in enumerate((SAME, KURTOSIS)):
        off = [(limit[i].value - known[name][i]) / limit[i].error for name, limit in limits.items()]
        yield claim.check(np.abs(off).max(), note="theory " + "; ".join(f"{n}: {k[i]:.3f}" for n, k in known.items()))


def extrapolated(by: dict[int, Measured]) -> Measured:
    """The limit of infinite width, by a line in 1/width through two of them."""
    (small, one), (large, other) = by.items()
    share = large / (large - small)
    return Measured(
        share * other.value + (1 - share) * one.value, float(np.hypot(share * other.error, (1 - share) * one.error))
    )


def z_score(one: Measured, other: Measured) -> float:
    """The difference in standard errors."""
    return float((one.value - other.value) / np.hypot(one.error, other.error))


def draw_corrections(run: Run, size: Size, found: Any, limits: Any, known: Any) -> None:
    """Both cumulants by 1/width, and the theory at 0."""
    figure, axes = panels(2, width=4.8, height=4.0)
    inverse = np.array([1 / n for n in size.cumulants])
    for colour, name in zip(COLOURS, LAWS, strict=False):
        for i, ax in enumerate(axes):
            values, errors = np.array([at[i] for at in found[name].values()]).T
            ax.errorbar(inverse, values, 2 * errors, fmt="o", color=colour, ms=4, label=name)
            ax.plot([0, *inverse[::-1]], [limits[name][i].value, *values[::-1]], color=colour, lw=1)
            ax.plot(0, known[name][i], "*", color=colour, ms=11)
    for ax, title in zip(axes, ("V: covariance of $z_i^2$ and $z_j^2$", "fourth cumulant of $z_i$"), strict=True):
        ax.plot([], [], "k*", ms=11, label="theory, infinite width")
        ax.set(xlabel="1 / width", ylabel="times width", title=title)
    axes[0].legend(loc="center", bbox_to_anchor=(0.5, 0.6))
    save(figure, run, "corrections")


def edge_of_chaos(run: Run, size: Size) -> Iterator[Outcome]:
    """Correlations of two inputs in deep networks of the ensembles against the limit."""
    figure, axes = panels(len(CHAOS), sharey=True)
    layers, worst = np.arange(1, CHAOS_DEPTH + 1), {}
    keys = jax.random.split(jax.random.key(run.seed), size.chaos_networks)
    for ax, (phase, square) in zip(axes, CHAOS.items(), strict=True):
        scales = Scales(float(np.sqrt(square)), SIGMA_B)
        limit = correlations(scales)
        for colour, mark, name in zip(COLOURS, "osD^", LAWS, strict=False):
            z = np.stack(preactivations(name, keys, size.chaos_width, CHAOS_DEPTH, scales), 1).astype(float)
            (q1, k), (_, q2) = np.moveaxis(np.einsum("nlai,nlbi->abnl", z, z), (0, 1), (0, 1))
            c = (k / np.sqrt(q1 * q2)).mean(0)
            ax.plot(layers, c, mark, color=colour, ms=4, mfc="none", label=name)
            worst[f"{phase}, {name}"] = float(np.abs(c - limit).max())
        ax.plot(layers, limit, "k--", lw=1.2, label="limit")
        ax.set(xlabel="layer", title=f"{phase}: $\\sigma_w^2$ = {square:.2f}, $\\sigma_b^2$ = {SIGMA_B**2:.1f}")
    for ax in axes:
        ax.set_xticks(range(0, CHAOS_DEPTH + 1, 5))
    axes[0].set_ylabel(f"correlation, width {size.chaos_width}")
    axes[0].legend(loc="lower right")
    save(figure, run, "edge_of_chaos")
    at = max(worst, key=worst.__getitem__)
    note = f"in {at}; {size.chaos_networks} networks of width {size.chaos_width}"
    yield EDGE.skip(FULL_RUN) if run.quick else EDGE.check(worst[at], note=note)


def correlations(scales: Scales) -> np.ndarray:
    """Those of the limit, by layer."""
    k = scales.sigma_w**2 * INPUTS @ INPUTS.T / INPUTS.shape[1] + scales.sigma_b**2
    maps, q, c = wn.maps(wn.serial(wn.tanh, wn.dense(*scales))), k[0, 0], k[0, 1] / k[0, 0]
    found = [c]
    while len(found) < CHAOS_DEPTH:
        q, c = float(maps.q(q)), float(maps.c(min(c, 1.0), q=q))
        found.append(c)
    return np.array(found)


@partial(jax.jit, static_argnames="width")
def images(keys: Any, x: Any, width: int) -> Any:
    """Preactivations `[networks, pixels, pixels, width]` of CNNs, low-rank after the first layer."""

    def layer(h: Any, key: Any, law: Any) -> Any:
        w, b = jax.random.split(key)
        weight = SIGMA_W * law(w, (WINDOW, WINDOW, h.shape[-1], width), jnp.float32)
        padded = jnp.pad(h, ((WINDOW // 2, WINDOW // 2),) * 2 + ((0, 0),), mode="wrap")
        z = jax.lax.conv_general_dilated(
            padded[None], weight, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        return z[0] + SIGMA_B * bias(1.0)(b, (width,), jnp.float32)

    def one(key: Any) -> Any:
        first, *rest = jax.random.split(key, CNN_DEPTH)
        z = layer(x, first, normal())
        for k in rest:
            z = layer(jnp.tanh(z), k, LAWS["low rank"])
        return z

    return jax.vmap(one)(keys)


def convolutional(run: Run, size: Size) -> Iterator[Outcome]:
    """A CNN with low-rank weights, unfolded to `[9 channels, channels]`, against the kernel of the network."""
    if run.quick:
        yield from (claim.skip(FULL_RUN) for claim in (CNN, CNN_FALLS, CNN_PIXELS))
        return
    x = np.random.default_rng(run.seed).normal(size=(PIXELS, PIXELS, 3))
    conv = wn.conv(window=WINDOW, sigma_w=SIGMA_W, sigma_b=SIGMA_B, padding="CIRCULAR")
    net = wn.serial(conv, *[wn.serial(wn.tanh, conv)] * (CNN_DEPTH - 1))
    limit = np.asarray(wn.nngp(net, positions="all")(x[None]))[0, 0]
    k, cross = limit[0, 0, 0, 0], limit[0, 0, 0, 1]
    figure, (ax,) = panels(1, width=5.2, height=3.8)
    edges, far = np.linspace(-4, 4, 81), []
    for colour, (width, networks) in zip(COLOURS, size.cnn.items(), strict=False):
        keys = jax.random.split(jax.random.key(run.seed), networks).reshape(networks // 100, 100)
        shown = progress(keys, f"CNN, {width} channels")
        z = np.concatenate([np.asarray(images(part, jnp.asarray(x, jnp.float32), width)[:, 0, :2]) for part in shown])
        far.append(distance(z[:, 0], k))
        label = f"{width} channels, {networks} nets"
        ax.hist(z[:, 0].ravel(), edges, density=True, histtype="step", color=colour, lw=1.3, label=label)
    ax.plot(edges, norm(scale=k**0.5).pdf(edges), "k--", label="N(0, K) of the kernel")
    ax.set(xlabel=f"a pixel after {CNN_DEPTH} convolutions", ylabel="density", title="CNN, low-rank weights")
    ax.legend(loc="upper right")
    save(figure, run, "cnn")
    note = ", ".join(f"{d:.4f} with {width}" for d, width in zip(far, size.cnn, strict=True))
    yield CNN.check(far[-1], note=note)
    yield CNN_FALLS.check(far[-1] / far[0])
    yield CNN_PIXELS.check(abs(np.mean(z[:, 0] * z[:, 1]) - cross) / k)


if __name__ == "__main__":
    sys.exit(run(main, __file__))
