"""On the initialization of graph neural networks (Li et al.; ICML 2023).

Paper: li2023
Figure: variances forward and backward by layer; the assumptions on paths; accuracy of GCNs by depth
Claim: weights whose variances are those of the graph and the mean feature (Virgo) keep signals and gradients of deep
    graph networks, so that these reach higher accuracies, with less variance, than after Glorot's or He's law
Expected: the variances of the authors' code on a path of 3 nodes; on random graphs the ordering Glorot, He, Virgo
Minutes: 5 (full, 2 cores), 0.5 (--quick, 2 cores)
Command: python paper_repro/virgo.py [--quick] [--out DIR] [--seed N]

As in the paper: the rules, uniform weights, graph convolutions with relu, Cora and Citeseer with their usual split.
Not as in the paper: of its models and tasks only GCNs for node classification; without dropout, biases and weight
decay, width 32, 80 steps of Adam at rate 0.01, tested where validation is best.  The random graphs are our own: three
communities of 200 nodes, and preferential attachment, with features of 16 channels, binary or Gaussian around means of
the communities.  Beside Virgo stands the exact rule of infinite width (I21), also with 256 random features for kernels.
What is expected: the variances of the path were computed by the authors' code; shares of signal after six layers (0.6
of He, 0.009 of Glorot) by a second implementation on other graphs of these kinds; signs in training are the paper's.
A path of length 1 is left out of its claim: its state does depend on its one weight, by 1/sqrt(channels), here 1/4.
Found: 2.8 points over Glorot at depth 8, two standard errors; He and the exact rule do as well as Virgo within errors.
Data: Planetoid's files, if the folder WIDENET_DATA has them; else training is on the communities, without verdict.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

import widenet as wn
from widenet.datasets import planetoid
from widenet.datasets.graphs import Graph
from widenet.initializers import (
    GraphWeights,
    graph_nngp,
    graph_signal,
    virgo_arithmetic,
    virgo_backward,
    virgo_forward,
    virgo_harmonic,
)
from widenet.initializers.laws import Uniform
from widenet.progress import progress
from widenet.repro import COLOURS, Claim, Outcome, Run, about, at_least, at_most, panels, run, save

PATH = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]])
GOLDEN = {  # variances of a network of widths 4, 8, 8, 3 on the path, m = (1, 0, 0)
    virgo_forward: (0.5, 0.3284672, 0.2700986),
    virgo_backward: (0.2500018, 0.2500656, 0.5047210),
    virgo_harmonic: (0.3333350, 0.2839540, 0.3518869),
    virgo_arithmetic: (0.3750009, 0.2892664, 0.3874098),
}
NODES, CLASSES, CHANNELS = 600, 3, 16
WITHIN, BETWEEN, ATTACHED = 0.036, 0.0045, 4  # probabilities of edges; edges of a new node
WIDTH, LAYERS = 256, 8
HIDDEN, DEPTHS, RATE, B1, B2 = 32, (2, 4, 8), 0.01, 0.9, 0.999


@dataclass(frozen=True)
class Size:
    """How much of it is computed."""

    networks: int
    settings: int  # pairs of a graph and features
    paths: int
    graphs: tuple[str, ...]
    steps: int
    seeds: int


FULL = Size(10, 4, 200_000, ("cora", "citeseer"), 80, 5)
QUICK = Size(3, 2, 50_000, (), 20, 2)

GOLD = Claim("the rules", "variances on the path of 3 nodes less those of the authors' code, at worst", at_most(1e-6))
GLOROT = Claim(
    "signal", "Glorot: layer 7 over layer 1 at infinite width, geometric mean of settings", about(0.009, 0.004)
)
HE = Claim("signal", "He: the same", about(0.6, 0.2))
BINARY = Claim("signal", "Virgo forward over He, the same with binary features", about(1.0, 0.15))
ORDER = Claim("signal", "least factor of Glorot, He, Virgo harmonic, Virgo forward in this order", at_least(0.99))
EXACT = Claim(
    "signal", "exact rule: layer 7 over layer 1, finite networks, geometric mean of settings", about(1.0, 0.25)
)
FEATURES = Claim("signal", "variances by 256 random features over exact ones, less 1, at worst", at_most(0.05))
THEORY = Claim("signal", "finite networks over infinite width, less 1, at worst, in layer 7", at_most(0.4))
BACK = Claim("gradient", "layer 1 over layer 7: exact rule over He, geometric mean of settings", at_least(1.5))
ACTIVE = Claim("assumptions", "share of active paths over 2^-l, l = 1 to 5, less 1, at worst", at_most(0.2))
WEIGHTS = Claim(
    "assumptions", "|correlation| of a path's state and its weights' product, l = 2 to 5, at worst", at_most(0.1)
)
ONE_MASK = Claim("assumptions", "share of channels in the same state at two nodes, layer 7", at_least(0.9))
DEEP_GAIN = Claim("training", "depth 8: test accuracy of Virgo less Glorot, in points, mean of graphs", at_least(0.0))
GAIN = Claim("training", "all depths: the same, mean of graphs and depths", at_least(0.0))
STEADY = Claim("training", "deviation between seeds, Virgo over Glorot, root mean square of all", at_most(1.0))


def main(run: Run) -> Iterator[Outcome]:
    """The rules, what they do to signals and gradients, what they assume, and training."""
    size = QUICK if run.quick else FULL
    off = [
        np.subtract(rule(PATH, np.array([1.0, 0, 0]), (4, 8, 8, 3)).variances, known) for rule, known in GOLDEN.items()
    ]
    yield GOLD.check(np.abs(off).max(), "a path of 3 nodes")
    settings = [
        random_graph(name, binary, run.seed) for name in ("communities", "power law") for binary in (True, False)
    ]
    yield from signals(run, size, settings[: size.settings])
    yield from assumptions(run, size, settings[0])
    yield from training(run, size, settings[0])


def random_graph(name: str, binary: bool, seed: int) -> Graph:
    """A graph of 600 nodes in three classes, with features around the means of classes."""
    rng, y = np.random.default_rng(seed), np.arange(NODES) * CLASSES // NODES
    if name == "communities":
        edges = np.triu(rng.random((NODES, NODES)) < np.where(y[:, None] == y, WITHIN, BETWEEN), 1)
    else:
        edges, ends = np.zeros((NODES, NODES), bool), list(range(ATTACHED))
        for node in range(ATTACHED, NODES):
            for other in set(rng.choice(ends, ATTACHED)):
                edges[node, other] = True
                ends += [node, int(other)]
    adjacency = scipy.sparse.csr_array((edges | edges.T).astype(float))
    if binary:
        x = (rng.random((NODES, CHANNELS)) < np.where(rng.random((CLASSES, CHANNELS)) < 0.2, 0.3, 0.05)[y]).astype(
            float
        )
    else:
        x = rng.normal(size=(NODES, CHANNELS)) + 0.5 * rng.normal(size=(CLASSES, CHANNELS))[y]
    order = rng.permutation(NODES)
    parts = order[:60], order[60:200], order[200:]
    return Graph(adjacency, x, y, f"{name}, {'binary' if binary else 'Gaussian'}", *parts)


def glorot(_: Graph, widths: tuple[int, ...]) -> GraphWeights:
    """Variance 2/(n_in + n_out)."""
    return GraphWeights(tuple(2 / (a + b) for a, b in pairwise(widths)), widths, Uniform())


def he(_: Graph, widths: tuple[int, ...]) -> GraphWeights:
    """Variance 2/n_in."""
    return GraphWeights(tuple(2 / a for a in widths[:-1]), widths, Uniform())


def exact(graph: Graph, widths: tuple[int, ...], features: int | None = None) -> GraphWeights:
    """The rule of infinite width."""
    found = graph_nngp(wn.gcn_operator(graph.adjacency), graph.x, widths, features=features)
    return GraphWeights(found.variances, widths, Uniform())


Rule = Callable[[Graph, tuple[int, ...]], GraphWeights]
RULES: dict[str, Rule] = {
    "Glorot": glorot,
    "He": he,
    "Virgo harmonic": lambda graph, widths: virgo_harmonic(graph.adjacency, graph.x, widths),
    "Virgo forward": lambda graph, widths: virgo_forward(graph.adjacency, graph.x, widths),
    "exact": exact,
}
TRAINED: dict[str, Rule] = {
    "Glorot": glorot,
    "He": he,
    "Virgo harmonic": RULES["Virgo harmonic"],
    "exact, 256 features": partial(exact, features=256),
}


def drawn(weights: GraphWeights, key: Any) -> list[Any]:
    """One network."""
    keys = jax.random.split(key, len(weights.variances))
    parts = zip(weights.initializers(), keys, pairwise(weights.widths), strict=True)
    return [draw(k, shape, jnp.float32) for draw, k, shape in parts]


def forward(operator: Callable[[Any], Any], mixed: Any, params: list[Any], moves: Any = None) -> list[Any]:
    """Preactivations of all layers; `mixed` is the operator's product with the features, `moves` are added to them."""
    found = []
    for layer, w in enumerate(params):
        z = (operator(jax.nn.relu(found[-1])) if found else mixed) @ w
        found.append(z if moves is None else z + moves[layer])
    return found


def entropy(logits: Any, y: Any) -> Any:
    """The mean of -log softmax at the labels."""
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1))


@jax.jit
def squares(operator: Any, mixed: Any, y: Any, params: list[Any]) -> tuple[Any, Any]:
    """Mean squares of preactivations, and of the gradients in them, by layer."""

    def loss(moves: Any) -> tuple[Any, Any]:
        z = forward(lambda h: operator @ h, mixed, params, moves)
        return entropy(z[-1], y), jnp.stack([jnp.mean(one**2) for one in z])

    slopes, signal = jax.grad(loss, has_aux=True)([jnp.zeros((len(mixed), w.shape[1])) for w in params])
    return signal, jnp.stack([jnp.mean(one**2) for one in slopes])


def signals(run: Run, size: Size, settings: list[Graph]) -> Iterator[Outcome]:
    """Signals and gradients of the rules by layer, in networks and at infinite width."""
    widths = (CHANNELS, *[WIDTH] * (LAYERS - 1), CLASSES)
    figures = [panels(len(settings), width=3.8, sharey=True) for _ in range(2)]
    limits, nets, backs, features = ({name: [] for name in RULES} for _ in range(4))
    for place, graph in enumerate(progress(settings, "random graphs")):
        operator = wn.gcn_operator(graph.adjacency)
        dense = jnp.asarray(operator.toarray(), jnp.float32)
        mixed, y = jnp.asarray(operator @ graph.x, jnp.float32), jnp.asarray(graph.y)
        for colour, (name, rule) in zip(COLOURS, RULES.items(), strict=False):
            weights = rule(graph, widths)
            limit = graph_signal(operator, graph.x, weights)[:-1]
            keys = jax.random.split(jax.random.key(run.seed), size.networks)
            found = [squares(dense, mixed, y, drawn(weights, key)) for key in keys]
            signal, slope = (np.mean([np.asarray(one[i], float) for one in found], axis=0)[:-1] for i in (0, 1))
            layers = np.arange(1, LAYERS)
            figures[0][1][place].semilogy(layers, limit / limit[0], color=colour, label=name)
            figures[0][1][place].semilogy(layers, signal / signal[0], "o", color=colour, ms=4)
            figures[1][1][place].semilogy(layers, slope / slope[-1], "o-", color=colour, ms=4, label=name)
            limits[name].append(limit[-1] / limit[0])
            nets[name].append(signal[-1] / signal[0])
            backs[name].append(slope[0] / slope[-1])
        by_features = [exact(graph, widths, features=256).variances, exact(graph, widths).variances]
        features["exact"].append(np.abs(np.divide(*by_features) - 1).max())
    told = ("mean square, layer l / layer 1", "gradient's mean square, layer l / layer 7")
    for (figure, axes), name, what in zip(figures, ("signals", "gradients"), told, strict=True):
        for ax, graph in zip(axes, settings, strict=True):
            ax.set(xlabel="layer l", title=graph.name)
        if name == "signals":
            axes[0].plot([], [], "ko", ms=4, label=f"{size.networks} networks, width {WIDTH}")
        axes[0].set_ylabel(what)
        axes[0].legend(loc="lower left" if name == "signals" else "lower right", fontsize=8)
        save(figure, run, name)
    yield GLOROT.check(mean_factor(limits["Glorot"]), note=told_of(limits["Glorot"], settings))
    yield HE.check(mean_factor(limits["He"]), note=told_of(limits["He"], settings))
    binary = [i for i, graph in enumerate(settings) if "binary" in graph.name]
    yield BINARY.check(mean_factor([limits["Virgo forward"][i] / limits["He"][i] for i in binary]))
    names = list(RULES)[:4]
    factors = [np.divide(limits[b], limits[a]).min() for a, b in pairwise(names)]
    yield ORDER.check(min(factors), note="Virgo forward: " + told_of(limits["Virgo forward"], settings))
    yield EXACT.check(mean_factor(nets["exact"]), note=told_of(nets["exact"], settings))
    yield FEATURES.check(max(features["exact"]))
    yield THEORY.check(max(np.abs(np.divide(nets[name], limits[name]) - 1).max() for name in RULES))
    yield BACK.check(mean_factor(np.divide(backs["exact"], backs["He"])), note=told_of(backs["exact"], settings))


def mean_factor(values: Any) -> float:
    """The geometric mean."""
    return float(np.exp(np.mean(np.log(values))))


def told_of(values: list[float], settings: list[Graph]) -> str:
    """A number for each setting."""
    return "; ".join(f"{graph.name}: {value:.3g}" for graph, value in zip(settings, values, strict=True))


def assumptions(run: Run, size: Size, graph: Graph) -> Iterator[Outcome]:
    """What Virgo assumes of paths through relus, measured in He's networks."""
    operator, rng = wn.gcn_operator(graph.adjacency), np.random.default_rng(run.seed)
    params = drawn(he(graph, (CHANNELS, *[WIDTH] * (LAYERS - 1), CLASSES)), jax.random.key(run.seed))
    z = forward(lambda h: operator @ np.asarray(h), operator @ graph.x, [np.asarray(w) for w in params])
    on = [np.asarray(one) > 0 for one in z[:-1]]
    steps = np.cumsum(operator.toarray() / operator.sum(axis=1)[:, None], axis=1)
    node, channel = rng.integers(NODES, size=size.paths), rng.integers(CHANNELS, size=size.paths)
    active, product, shares, linear, square = np.ones(size.paths, bool), np.ones(size.paths), [], [], []
    for layer in range(5):
        node = np.minimum((rng.random(size.paths)[:, None] > steps[node]).sum(axis=1), NODES - 1)
        after = rng.integers(WIDTH, size=size.paths)
        product *= np.asarray(params[layer])[channel, after] / np.std(params[layer])
        active, channel = active & on[layer][node, after], after
        shares.append(active.mean())
        linear.append(np.corrcoef(active, product)[0, 1])
        square.append(np.corrcoef(active, product**2)[0, 1])
    pairs = rng.integers(NODES, size=(2, 2000))
    same = [np.mean(one[pairs[0]] == one[pairs[1]]) for one in on]
    figure, axes = panels(3)
    depth = np.arange(1, 6)
    axes[0].semilogy(depth, shares, "o-", label="measured")
    axes[0].semilogy(depth, 0.5**depth, "k--", label="$2^{-l}$")
    axes[0].set(xlabel="length l", title="share of active paths")
    axes[1].plot(depth, linear, "o-", label="with the product of weights")
    axes[1].plot(depth, square, "s-", label="with its square")
    axes[1].axhline(0, color="k", lw=0.8)
    axes[1].set(xlabel="length l", title="correlation of a path's state", ylim=(-0.3, 0.3))
    axes[2].plot(range(1, LAYERS), same, "o-", label="measured")
    axes[2].axhline(1, color="k", ls="--", label="one mask, as Virgo assumes")
    axes[2].axhline(0.5, color="k", ls=":", label="independent masks")
    axes[2].set(xlabel="layer", title="channels in the same state at two nodes", ylim=(0.45, 1.05))
    for ax in axes:
        ax.legend()
    save(figure, run, "assumptions")
    yield ACTIVE.check(np.abs(shares * 2.0**depth - 1).max(), graph.name, ", ".join(f"{s:.4f}" for s in shares))
    note = f"{linear[0]:.3f} at l = 1"
    yield WEIGHTS.check(np.abs([linear[1:], square[1:]]).max(), graph.name, note)
    yield ONE_MASK.check(same[-1], graph.name, f"{same[0]:.2f} in layer 1")


class Task(NamedTuple):
    """What a network is trained on: the operator as edges, the mixed features, labels, and nodes."""

    edges: tuple[Any, Any, Any]
    mixed: Any
    y: Any
    parts: tuple[Any, Any, Any]

    @classmethod
    def of(cls, graph: Graph) -> Task:
        """Of a graph, its features scaled to sum 1 at a node."""
        operator = wn.gcn_operator(graph.adjacency).tocoo()
        edges = jnp.asarray(operator.row), jnp.asarray(operator.col), jnp.asarray(operator.data, jnp.float32)
        x = graph.x / np.maximum(np.abs(graph.x).sum(axis=1, keepdims=True), 1e-12)
        known = graph.test[graph.y[graph.test] >= 0]
        parts = tuple(map(jnp.asarray, (graph.train, graph.validation, known)))
        return cls(edges, jnp.asarray(operator @ x, jnp.float32), jnp.asarray(graph.y), parts)


@partial(jax.jit, static_argnames="steps")
def adam(task: Task, several: list[Any], steps: int) -> Any:
    """Accuracies after each step on validation and test nodes, `[steps, 2, networks]`, of networks trained by Adam."""
    (row, column, value), train = task.edges, task.parts[0]

    def mix(h: Any) -> Any:
        return jax.ops.segment_sum(value[:, None] * h[column], row, len(task.y))

    def logits(params: list[Any]) -> Any:
        return forward(mix, task.mixed, params)[-1]

    def loss(params: list[Any]) -> Any:
        return entropy(logits(params)[train], task.y[train])

    def step(state: Any, t: Any) -> tuple[Any, Any]:
        params, first, second = state
        slope = jax.vmap(jax.grad(loss))(params)
        first = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, first, slope)
        second = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g**2, second, slope)
        rate = RATE * jnp.sqrt(1 - B2**t) / (1 - B1**t)
        params = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), params, first, second)
        right = jnp.argmax(jax.vmap(logits)(params), axis=-1) == task.y
        return (params, first, second), jnp.stack([right[:, part].mean(axis=1) for part in task.parts[1:]])

    zeros = jax.tree.map(jnp.zeros_like, several)
    return jax.lax.scan(step, (several, zeros, zeros), jnp.arange(1.0, steps + 1))[1]


def training(run: Run, size: Size, communities: Graph) -> Iterator[Outcome]:
    """Test accuracies of GCNs by depth and rule."""
    try:
        graphs = [planetoid(name) for name in size.graphs] or [communities]
    except FileNotFoundError:
        graphs = [communities]
    figure, axes = panels(len(graphs), width=4.8, height=3.8)
    found = {}
    cases = [(graph, depth) for graph in graphs for depth in DEPTHS]
    for graph, depth in progress(cases, "training"):
        task, widths = Task.of(graph), (graph.x.shape[1], *[HIDDEN] * (depth - 1), int(graph.y.max()) + 1)
        for name, rule in TRAINED.items():
            weights = rule(graph, widths)
            nets = [drawn(weights, key) for key in jax.random.split(jax.random.key(run.seed), size.seeds)]
            path = np.asarray(adam(task, [jnp.stack(ws) for ws in zip(*nets, strict=True)], size.steps))
            best = path[:, 0].argmax(axis=0)
            found[graph.name, depth, name] = 100 * path[best, 1, np.arange(size.seeds)]
    for ax, graph in zip(axes, graphs, strict=True):
        for i, (colour, name) in enumerate(zip(COLOURS, TRAINED, strict=False)):
            points = np.array([found[graph.name, depth, name] for depth in DEPTHS])
            at = np.arange(len(DEPTHS)) + 0.15 * (i - 1.5)
            ax.plot(at, points, ".", color=colour, ms=4)
            ax.errorbar(at, points.mean(1), points.std(1, ddof=1), fmt="_", ms=12, color=colour, label=name, capsize=3)
        ax.set_xticks(range(len(DEPTHS)), [f"depth {depth}" for depth in DEPTHS])
        ax.set(title=f"{graph.name}, {size.seeds} seeds", ylabel="test accuracy (%)")
    axes[0].legend(loc="lower left")
    save(figure, run, "training")
    claims = DEEP_GAIN, GAIN, STEADY
    if graphs[0] is communities:
        yield from (claim.skip("needs Planetoid, the full run") for claim in claims)
        return
    data = " and ".join(graph.name for graph in graphs)
    mean, spread = ({key: f(points) for key, points in found.items()} for f in (np.mean, partial(np.std, ddof=1)))
    gains = {(g.name, d): mean[g.name, d, "Virgo harmonic"] - mean[g.name, d, "Glorot"] for g, d in cases}
    note = "; ".join(
        f"{g.name}, depth {d}: "
        + ", ".join(f"{n} {mean[g.name, d, n]:.1f} +- {spread[g.name, d, n]:.1f}" for n in TRAINED)
        for g, d in cases
    )
    yield DEEP_GAIN.check(np.mean([gain for (_, depth), gain in gains.items() if depth == DEPTHS[-1]]), data, note)
    yield GAIN.check(np.mean(list(gains.values())), data)
    rms = {n: np.sqrt(np.mean([spread[g.name, d, n] ** 2 for g, d in cases])) for n in TRAINED}
    note = ", ".join(f"{n} {r:.2f}" for n, r in rms.items())
    yield STEADY.check(rms["Virgo harmonic"] / rms["Glorot"], data, note)


if __name__ == "__main__":
    sys.exit(run(main, __file__))
